"""The demo page: guarded by its token, made from a finished run, and a transfer one can start."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from socketlab.cli import app
from socketlab.runs import page
from socketlab.runs.addresses import LOOPBACK, AddressError, free_port, wait_until_guarded
from socketlab.runs.demo_page import LIVE_EPOCHS, DemoPage, LiveTransfer, fresh, told_parameters
from socketlab.runs.experiment import Experiment
from socketlab.runs.page import (
    PAGE_VARIABLE,
    PageError,
    check_address,
    command,
    environment,
    needed,
)
from socketlab.runs.parameters import TransferParameters
from socketlab.runs.record import Part, Record, Run

SERVE = """
import os, sys
from pathlib import Path
from socketlab.runs.page import new_token, serve
told = os.environ | {"JUPYTER_TOKEN": new_token()}
serve(Path(sys.argv[1]), told, say=lambda address: print(address, flush=True))
"""
REFUSED = (302, 401, 403)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """The login form is no page."""


def status(address: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    try:
        with opener.open(address, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one line, and a picture beside it."""
    found = tmp_path_factory.mktemp("page")
    cell = nbformat.v4.new_code_cell("print(6 * 7)")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, found / "small.ipynb")
    (found / "secret.png").write_bytes(b"picture")
    return found


def test_a_server_shows_its_page_to_whoever_has_the_token_and_ends_with_its_parent(
    folder: Path,
) -> None:
    program = [sys.executable, "-c", SERVE, str(folder / "small.ipynb")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            bare, _, token = address.partition("?token=")
            assert bare.startswith("http://127.0.0.1:")
            assert len(token) >= 32
            paths = ("", "?token=guessed", "voila/files/secret.png", "voila/render/small.ipynb")
            for path in (*paths, "api/kernels/00000000-0000-0000-0000-000000000000"):
                assert status(bare + path) in REFUSED, path
            with urllib.request.urlopen(address, timeout=60) as answer:
                text = answer.read().decode()
            assert "42" in text
            assert "6 * 7" not in text
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    with pytest.raises(OSError):
        status(bare)


def test_a_page_that_lets_everybody_in_is_stopped(folder: Path) -> None:
    told = dict(os.environ) | {"JUPYTER_TOKEN": ""}
    port = free_port(LOOPBACK)
    open_to_all = [
        word for word in command(folder / "small.ipynb", LOOPBACK, port) if "auto" not in word
    ]
    server = subprocess.Popen(open_to_all, env=told, stderr=subprocess.DEVNULL)
    try:
        with pytest.raises(AddressError, match="voila answers 200 to somebody without the token"):
            wait_until_guarded(f"http://127.0.0.1:{port}/", server, "voila")
    finally:
        server.terminate()
        server.wait()


def test_a_port_that_is_taken_is_an_error(folder: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        words = command(folder / "small.ipynb", LOOPBACK, port)
        server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        server.wait(timeout=60)
        with pytest.raises(AddressError, match="choose another with --port"):
            wait_until_guarded(f"http://127.0.0.1:{port}/", server, "voila")


def test_a_wider_address_needs_the_flag_and_says_what_it_exposes() -> None:
    ip = "0.0.0.0"
    with pytest.raises(AddressError, match=r"start trainings on this machine.*--expose"):
        check_address(ip, expose=False)
    assert check_address(ip, expose=True) == ip


def test_the_command_refuses_a_wider_address_before_it_makes_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(page, "prepare", lambda *given, **about: made.append(given))
    with pytest.raises(AddressError, match="--expose"):
        app(["page", "--ip", "0.0.0.0"], standalone_mode=False)
    assert made == []


def test_the_token_is_told_in_the_environment_and_not_on_the_command_line() -> None:
    step = needed("notebooks/params/demo.yaml", {})[-1]
    told = environment(step, "secret")
    assert told["JUPYTER_TOKEN"] == "secret"
    assert TransferParameters.model_validate_json(told[PAGE_VARIABLE]) == step.parameters
    assert "secret" not in " ".join(command(Path("page.ipynb"), LOOPBACK, 1))


def test_a_page_is_no_headless_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    assert "SOCKETLAB_HEADLESS" not in environment(needed("notebooks/params/demo.yaml", {})[-1])


def test_it_needs_the_source_model_and_the_first_transfer_of_the_demo() -> None:
    steps = needed("notebooks/params/demo.yaml", {"run": "other"})
    assert [step.part for step in steps] == ["02_train_source", "05_transfer-a.depth"]
    assert {step.parameters.run for step in steps} == {"other"}


def test_only_what_is_missing_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = needed("notebooks/params/demo.yaml", {"runs_dir": str(tmp_path)})
    ran: list[Any] = []

    def run_all(planned: Any, command: str) -> None:
        ran.append(planned)

        def done(record: Record) -> None:
            for step in planned:
                record.notebooks[step.part] = Part(status="done", fingerprint=step.fingerprint)

        Run(planned[0].parameters.folder).change(done)

    monkeypatch.setattr("socketlab.runs.running.run_all", run_all)
    results = [subprocess.CompletedProcess([], 0)] * 2 + [subprocess.CompletedProcess([], 1)]
    mapping = SimpleNamespace(run=lambda *_, **__: results.pop(0))
    monkeypatch.setattr(page, "subprocess", mapping)
    said: list[str] = []
    page.prepare(steps, said.append)
    assert "Making 02_train_source and 05_transfer-a.depth of run 'demo' first" in said[0]
    assert "minutes" in said[0]
    said.clear()
    page.prepare(steps, said.append)
    assert "Making" not in " ".join(said)
    with pytest.raises(PageError, match="map could not be made"):
        page.prepare(steps, said.append)
    assert ran == [steps] * 3


def below(widget: Any) -> list[Any]:
    children = getattr(widget, "children", ())
    return [widget, *(found for child in children for found in below(child))]


def test_the_page_shows_the_gap_and_a_transfer_to_start(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socketlab.runs.demo_page.map_features", _straight)
    monkeypatch.setenv(PAGE_VARIABLE, adapted.parameters.model_dump_json())
    assert told_parameters() == adapted.parameters
    shown = DemoPage()
    found = below(shown.widget)
    (tabs,) = [widget for widget in found if isinstance(widget, ipywidgets.Tab)]
    assert tabs.titles == ("1 · The gap, before and after", "2 · Teach it depth, live")
    rows = {row.method: row.accuracy for row in adapted.run.read().results}
    text = " ".join(str(w.value) for w in found if type(w) is ipywidgets.HTML)
    before = next(row.accuracy for row in adapted.run.read().results if row.method == "source_only")
    assert f"<b>{before:.0%}</b> before" in text
    assert set(rows) == {"source", "source_only", "socket"}
    assert shown.points().moments == ("before", "after")
    assert shown.experiment.run.read().notebooks[shown.experiment.part].status == "done"


def _straight(experiment: Any, found: Any, *, method: str, points: int) -> Any:
    """The map without UMAP, which would take its time to compile itself."""
    from socketlab.runs.gap_views import map_features

    assert method == "umap"
    return map_features(experiment, found, method="pca", points=points)


def test_start_trains_a_fresh_model_in_a_run_of_its_own(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under IPython, whose displays the page puts under its button."""
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "0")
    monkeypatch.setattr("socketlab.runs.demo_page.LIVE_EPOCHS", 1)
    before = adapted.run.read()
    InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    transfer = LiveTransfer(adapted)
    (start,) = [w for w in below(transfer.widget) if type(w) is ipywidgets.Button]
    (output,) = [w for w in below(transfer.widget) if type(w) is ipywidgets.Output]
    said: list[str] = []
    (text,) = [w for w in below(transfer.widget) if type(w) is ipywidgets.HTML]
    text.observe(lambda change: said.append(change["new"]), names="value")

    async def click() -> None:
        start.click()
        assert start.disabled
        assert transfer.task is not None
        await transfer.task

    try:
        asyncio.run(click())
    finally:
        InteractiveShell.clear_instance()
    assert (start.disabled, start.description) == (False, "Start again")
    assert "Getting ready" in said[0]
    first = next(row for row in before.results if row.method == "source_only")
    assert said[1] == f'<span role="status">Right answers: <b>{first.accuracy:.0%}</b></span>'
    assert len(said) >= 2
    assert adapted.run.read() == before
    (made,) = (adapted.run.folder.parent / f"{adapted.run.folder.name}-live").iterdir()
    assert (made / "models" / f"{adapted.trip().stage}.safetensors").is_file()
    (board,) = output.outputs
    assert "application/vnd.jupyter.widget-view+json" in board["data"]


def test_a_fresh_run_has_the_source_model_and_not_the_transfer(adapted: Experiment) -> None:
    found = fresh(adapted)
    assert found.run.folder != adapted.run.folder
    assert found.source_model().state_dict().keys() == adapted.source_model().state_dict().keys()
    assert found.target_model(found.trip()) is None
    assert found.trip().options["epochs"] == LIVE_EPOCHS
    assert {row.method for row in found.run.read().results} == {"source"}
    started = time.monotonic()
    assert list(found.train_source()) == []
    assert time.monotonic() - started < 5


def test_what_goes_wrong_is_said_on_the_page(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Experiment:
        raise ValueError("no <disk>")

    monkeypatch.setattr("socketlab.runs.demo_page.fresh", broken)
    transfer = LiveTransfer(adapted)

    async def click() -> None:
        transfer.start()
        assert transfer.task is not None
        await transfer.task

    with pytest.raises(ValueError, match="disk"):
        asyncio.run(click())
    (text,) = [w for w in below(transfer.widget) if type(w) is ipywidgets.HTML]
    assert "It stopped: no &lt;disk&gt;" in text.value
