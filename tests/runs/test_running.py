"""Notebooks run into a folder: by one process at a time, and the truth about every try."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import pytest

from socketlab.data.locks import is_held
from socketlab.runs import mishaps, running
from socketlab.runs.entries import Try
from socketlab.runs.mishaps import LOST, RESERVE, RESERVED
from socketlab.runs.notebooks import KernelDied, NotebookFailed
from socketlab.runs.parameters import validate
from socketlab.runs.planning import Planned
from socketlab.runs.record import Record, Run
from socketlab.runs.run_status import LOCK
from socketlab.runs.running import run_all
from socketlab.runs.signals import KERNEL, Terminated
from socketlab.training.controls import PREEMPTED

NAME = "01_prepare_data"
Notebook = Callable[[Planned], None]
SetNotebook = Callable[[Notebook], list[Planned]]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """One notebook of a run."""
    return Planned(NAME, validate(NAME, {"run": "mine", "runs_dir": str(tmp_path)}), NAME)


@pytest.fixture
def folder(planned: Planned) -> Path:
    """The folder of that run."""
    return planned.parameters.folder


@pytest.fixture
def set_notebook(monkeypatch: pytest.MonkeyPatch) -> SetNotebook:
    """Puts something else in the place of papermill; what was executed is in the list it gives."""
    executed: list[Planned] = []

    def replace(notebook: Notebook) -> list[Planned]:
        def run(item: Planned, _out: TextIO, **_how: Any) -> None:
            executed.append(item)
            notebook(item)

        monkeypatch.setattr(running, "run_notebook", run)
        return executed

    return replace


def finish(item: Planned) -> None:
    """What the last cell of a notebook does."""

    def change(record: Record) -> None:
        record.notebooks[item.part].status = record.status = "done"

    Run(item.parameters.folder).change(change)


def failing(error: Exception) -> Notebook:
    def notebook(_item: Planned) -> None:
        raise error

    return notebook


def test_a_try_says_who_made_it_and_how_it_ended(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    executed = set_notebook(finish)
    assert run_all([planned], command="socketlab run") == [folder]
    record = Run(folder).read()
    (found,) = record.tries
    about = (found.host, found.pid, found.notebook, found.ended)
    assert about == (socket.gethostname(), os.getpid(), NAME, "done")
    assert (record.status, record.command) == ("done", "socketlab run")
    run_all([planned])  # nothing is left to do, so nothing is tried
    assert executed == [planned] and Run(folder).read().tries == record.tries
    run_all([planned], again=True)
    assert executed == [planned, planned] and len(Run(folder).read().tries) == 2
    assert not (folder / RESERVE).exists()


def test_papermill_is_told_how(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, Any]] = []

    def run(item: Planned, out: TextIO, **how: Any) -> None:
        told.append(how | {"out": out})
        finish(item)

    monkeypatch.setattr(running, "run_notebook", run)
    run_all([planned], environment={"A": "b"}, warm=True, seconds=9.0, out=sys.stderr)
    assert told == [{"environment": {"A": "b"}, "warm": True, "seconds": 9.0, "out": sys.stderr}]


def test_a_run_started_twice_is_run_once(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    begun, go_on, waits = threading.Event(), threading.Event(), threading.Event()

    def notebook(item: Planned) -> None:
        begun.set()
        assert go_on.wait(60)
        finish(item)

    executed, said = set_notebook(notebook), list[str]()

    def second() -> None:
        def say(text: str) -> None:
            said.append(text)
            waits.set()

        run_all([planned], say=say)

    threads = [threading.Thread(target=run_all, args=([planned],)), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(60) and is_held(folder / LOCK)
    threads[1].start()
    assert waits.wait(60) and threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert executed == [planned]
    assert said == ["Another process is running mine; waiting for it", f"{NAME}: done"]
    assert len(Run(folder).read().tries) == 1 and not is_held(folder / LOCK)


def test_what_a_killed_process_left_is_closed_and_cleaned(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    run = Run(folder)
    lost = Try(began="2026-01-01T00:00:00+00:00", host="elsewhere", pid=1, notebook=NAME)
    run.change(lambda record: record.tries.append(lost))
    (folder / "notebooks").mkdir()
    (folder / "models").mkdir()
    files = ["run.json.12.partial", f"notebooks/.{NAME}.partial.ipynb", "models/a.json.partial"]
    for name in (*files, "metrics.parquet.13.partial", "notebooks/kept.ipynb"):
        (folder / name).write_bytes(b"half")
    set_notebook(finish)
    with (folder / "metrics.parquet.13.partial").open("rb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)  # as whoever writes it does
        run_all([planned])
        assert (folder / "metrics.parquet.13.partial").exists()
    assert not [name for name in files if (folder / name).exists()]
    assert (folder / "notebooks/kept.ipynb").exists()
    assert [one.ended for one in run.read().tries] == [LOST, "done"]


def test_nothing_is_cleaned_while_somebody_trains_in_the_run(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    run = Run(folder)
    (folder / "models").mkdir()
    (folder / "models" / "a.safetensors.partial").write_bytes(b"being written")
    set_notebook(finish)
    with run.working("source", print):
        run_all([planned])
        assert (folder / "models" / "a.safetensors.partial").exists()


@pytest.mark.parametrize(
    ("error", "status", "reason", "raised"),
    [
        (NotebookFailed("ValueError: no images"), "failed", "ValueError: no images", None),
        (NotebookFailed("NonFiniteLoss: Epoch 2"), "stopped", "NonFiniteLoss: Epoch 2", None),
        (KernelDied("the kernel was killed"), "failed", "the kernel was killed", KernelDied),
        (NotebookFailed(f"Preempted: {PREEMPTED}"), "stopped", PREEMPTED, KernelDied),
        (
            NotebookFailed("OSError: [Errno 28] No space left on device: 'x'"),
            "failed",
            "no space left on device: OSError: [Errno 28] No space left on device: 'x'; free some, "
            "then run again",
            None,
        ),
    ],
)
def test_how_a_notebook_failed(
    planned: Planned,
    folder: Path,
    set_notebook: SetNotebook,
    error: Exception,
    status: str,
    reason: str,
    raised: type[Exception] | None,
) -> None:
    set_notebook(failing(error))
    with pytest.raises(NotebookFailed) as caught:
        run_all([planned])
    assert type(caught.value) is (raised or NotebookFailed)
    record = Run(folder).read()
    part = record.notebooks[NAME]
    assert (record.status, record.reason) == (part.status, part.reason) == (status, reason)
    assert [one.ended for one in record.tries] == [reason]
    assert (folder / RESERVE).stat().st_size == RESERVED  # the run is not done


def test_out_of_memory_is_said_as_its_stage_says_it(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    def notebook(item: Planned) -> None:
        with Run(folder).stage("source") as part:
            part.memory = "about 3 GiB expected"
            raise MemoryError("cannot allocate")

    def through_papermill(item: Planned) -> None:
        with pytest.raises(MemoryError):
            notebook(item)
        raise NotebookFailed("MemoryError: cannot allocate")

    set_notebook(through_papermill)
    said = r"out of memory \(about 3 GiB expected\): MemoryError: cannot .* batch_size: auto"
    with pytest.raises(NotebookFailed, match="out of memory"):
        run_all([planned])
    record = Run(folder).read()
    for reason in (record.reason, record.notebooks[NAME].reason, record.stages["source"].reason):
        assert re.match(said, reason), reason


def test_a_kernel_that_the_system_killed_for_lack_of_memory(
    planned: Planned,
    folder: Path,
    set_notebook: SetNotebook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 2\noom_kill 2\n")
    monkeypatch.setattr(mishaps, "_EVENTS", events)

    def notebook(_item: Planned) -> None:
        events.write_text("low 0\noom 3\noom_kill 3\n")
        raise KernelDied("the kernel was killed by signal 9 (SIGKILL)")

    set_notebook(notebook)
    with pytest.raises(KernelDied, match=r"out of memory: .*SIGKILL.*batch_size: auto"):
        run_all([planned])
    assert Run(folder).read().reason.startswith("out of memory: ")


def test_a_notebook_without_its_last_cell_had_a_kernel_that_died(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    set_notebook(lambda _item: None)
    with pytest.raises(KernelDied, match="ended without its last cell"):
        run_all([planned])
    assert Run(folder).read().status == "failed"


# --- SIGTERM ------------------------------------------------------------------------------------


def test_sigterm_is_handed_on_to_the_kernel_and_then_this_process_ends(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    ended: list[int] = []
    before = signal.getsignal(signal.SIGTERM)

    def notebook(_item: Planned) -> None:
        with subprocess.Popen(["sleep", "60"]) as kernel:
            (folder / KERNEL).write_text(str(kernel.pid))
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # whoever sends it may be impatient
            ended.append(kernel.wait(30))
        raise NotebookFailed("DeadKernelError: Kernel died")

    executed = set_notebook(notebook)
    other = Planned(NAME, planned.parameters, "second")
    with pytest.raises(Terminated) as caught:
        run_all([planned, other])
    assert caught.value.code == 143 and ended == [-signal.SIGTERM]
    record = Run(folder).read()
    assert (record.status, record.reason, record.tries[-1].ended) == ("stopped", *[PREEMPTED] * 2)
    assert record.notebooks[NAME].status == "stopped" and executed == [planned]
    assert signal.getsignal(signal.SIGTERM) == before and not (folder / KERNEL).exists()


def test_sigterm_before_the_kernel_is_there_ends_this_process_at_once(
    planned: Planned, folder: Path, set_notebook: SetNotebook
) -> None:
    (Run(folder).folder / KERNEL).write_text("999999999")  # of an earlier one: not asked

    def notebook(_item: Planned) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    set_notebook(notebook)
    with pytest.raises(Terminated):
        run_all([planned])
    assert Run(folder).read().reason == PREEMPTED


def test_sigterm_between_two_notebooks_begins_no_other(
    planned: Planned, folder: Path, set_notebook: SetNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notebook(item: Planned) -> None:
        Run(folder).change(lambda record: setattr(record.notebooks[item.part], "status", "done"))

    executed, as_it_is = set_notebook(notebook), Run.change

    def change(self: Run, what: Any) -> Record:
        record = as_it_is(self, what)
        if what.__name__ == "close":
            os.kill(os.getpid(), signal.SIGTERM)
        return record

    monkeypatch.setattr(Run, "change", change)
    with pytest.raises(Terminated):
        run_all([planned, Planned(NAME, planned.parameters, "second")])
    record = Run(folder).read()
    assert executed == [planned]
    assert record.notebooks[NAME].status == "done"
    assert record.notebooks["second"].status == record.status == "stopped"
    assert record.reason == record.tries[-1].ended == PREEMPTED
