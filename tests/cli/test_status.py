"""`socketlab status`: what it prints where, how it ends, and that it answers at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from socketlab.cli.status import status
from socketlab.cli.terminal import console
from socketlab.runs.entries import Part, Record, Try
from socketlab.runs.sweeps.record import Job, SweepRecord, write_sweep

app = typer.Typer()
app.command()(status)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all runs, in a project of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def write(folder: Path, **changes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(name=folder.name, created="", **changes)
    (folder / "run.json").write_text(record.model_dump_json())


def call(*words: str) -> tuple[int, str]:
    shown = CliRunner().invoke(app, words)
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
    return shown.exit_code, shown.output


def test_without_a_terminal_there_is_a_plain_line_per_run(runs: Path) -> None:
    write(runs / "a", status="failed", reason="ValueError: [b]no[/b] images " + "x" * 200)
    write(runs / "b", status="done", seconds=5)
    code, shown = call("a", "b")
    assert code == 1
    assert shown.splitlines() == [
        "runs: 1 of 2 done, 1 failed",
        f"a: failed, ValueError: [b]no[/b] images {'x' * 200}",
        "b: done, 5.0 s taken",
    ]
    assert "\x1b" not in shown


def test_a_sweep_is_summed_up_and_named(runs: Path) -> None:
    jobs = [Job(name=name, steps=[]) for name in ("x", "y")]
    write_sweep(runs / "night", SweepRecord(name="night", created="", jobs=jobs))
    write(runs / "night" / "x", status="done")
    code, shown = call("night")
    assert (code, shown.splitlines()) == (
        1,  # nobody is at work on it
        ["sweep night: 1 of 2 done, 1 waiting", "night/x: done", "night/y: waiting"],
    )
    assert call("night/x") == (0, "x: done\n")


def test_without_names_it_tells_what_is_not_done(runs: Path) -> None:
    assert call() == (0, "There are no runs yet. `socketlab run` begins one.\n")
    write(runs / "a", status="done")
    assert call() == (0, "a: done\n")
    write(runs / "b", status="running")
    assert call() == (3, "b: running, in a notebook?\n")


def test_an_unknown_name_is_told_with_those_that_exist(runs: Path) -> None:
    write(runs / "mine", status="done")
    shown = CliRunner().invoke(app, ["mien"])
    assert isinstance(shown.exception, ValueError)
    assert "Did you mean 'mine'?" in str(shown.exception)


def test_as_json_everything_is_there_for_programs(runs: Path) -> None:
    part = Part(seconds=10, epoch=1, epochs=4, step=25, steps=100, accuracy=0.5)
    write(
        runs / "a", stages={"socket-to-x": part}, tries=[Try(began="", host="h", pid=1, ended="x")]
    )
    code, shown = call("a", "--json")
    told = json.loads(shown)
    (group,) = told["groups"]
    (run,) = group["runs"]
    assert (code, told["exit_status"], group["at_work"]) == (3, 3, True)
    assert group["counts"] == {"running": 1}
    assert (run["state"], run["epoch"], run["epochs"], run["left"]) == ("running", 1, 4, 30)
    assert (run["accuracy"], run["host"], run["stage"]) == (0.5, "h", "socket-to-x")
    assert Path(run["folder"]).name == "a"
    assert json.loads(call("--json")[1])["exit_status"] == 3


@pytest.mark.parametrize(
    ("words", "status", "watched"),
    [
        ([], "running", True),
        (["--no-watch"], "running", False),
        ([], "failed", False),
        (["--watch"], "failed", True),
    ],
)
def test_on_a_terminal_work_is_watched(
    runs: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: str, watched: bool
) -> None:
    from socketlab.runs import status as told

    write(runs / "a", status=status)
    seen = []

    def watch(folders: list[Path], _: object) -> list[told.Group]:
        seen.append(folders)
        return told.groups(folders)

    monkeypatch.setattr(told, "watch", watch)
    monkeypatch.setattr(console, "_force_terminal", True)
    code, shown = call("a", *words)
    assert bool(seen) == watched
    assert ("● notebook?" in shown or "✗ failed" in shown) == (not watched)
    assert code == (3 if status == "running" else 1)


def test_it_answers_without_loading_what_takes_long(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "a", status="done")
    program = (
        "import sys, typer\n"
        "from socketlab.cli.status import status\n"
        "app = typer.Typer()\n"
        "app.command()(status)\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'IPython', 'ray'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "a: done\n"), done.stderr


def test_the_help_says_what_the_exit_status_means() -> None:
    shown = " ".join(call("--help")[1].split())
    for words in ("0 all runs are done", "3 some are at work", "1 a run has failed"):
        assert words in shown
