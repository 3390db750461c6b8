"""One job of a sweep, without any notebook."""

from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.notebooks import KernelDied, NotebookFailed
from socketlab.runs.record import Part, Record, Run
from socketlab.runs.sweeps import work
from socketlab.runs.sweeps.record import Job, SweepError, SweepRecord, write_sweep
from socketlab.runs.sweeps.work import Outcome, lacking, perform, planned_steps, refuse

JOB = Job(name="run", steps=[("05_transfer", {"data": "scenes", "seed": 3})])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    monkeypatch.chdir(root)
    write_sweep(tmp_path, SweepRecord(name="s", created="now", jobs=[JOB]))
    return tmp_path


def runs(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def run_all(planned: Any, **how: Any) -> None:
        asked.append({"planned": planned, **how})
        act()

    monkeypatch.setattr(work, "run_all", run_all)
    return asked


def test_its_notebooks_are_run_with_its_own_values(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = runs(monkeypatch, lambda: Run(folder / "run"))
    perform(JOB, folder, root, environment={"OMP_NUM_THREADS": "3"}, warm=False, seconds=9)
    (call,) = asked
    (step,) = call["planned"]
    assert (step.notebook, step.parameters.seed) == ("05_transfer", 3)
    assert call["environment"] == {"OMP_NUM_THREADS": "3"}
    assert (call["warm"], call["seconds"]) == (False, 9)
    assert Path(call["out"].name) == folder / "run" / "log.txt"


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path, root: Path) -> None:
    with pytest.raises(SweepError, match="a file system that all nodes share"):
        perform(JOB, tmp_path / "elsewhere", root, environment={})


def test_a_notebook_that_raised_is_a_failed_run(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise NotebookFailed("05_transfer: ValueError: no")

    runs(monkeypatch, fail)
    outcome = perform(JOB, folder, root, environment={})
    assert (outcome.status, outcome.reason) == ("failed", "05_transfer: ValueError: no")
    assert Run(folder / "run").read().reason == "05_transfer: ValueError: no"
    assert (folder / "run" / "report.html").is_file()


def test_what_stopped_itself_is_not_called_failed(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        def change(record: Record) -> None:
            record.status, record.reason = "stopped", "NonFiniteLoss: total is nan"

        Run(folder / "run").change(change)
        raise NotebookFailed("05_transfer: NonFiniteLoss: total is nan")

    runs(monkeypatch, stop)
    outcome = perform(JOB, folder, root, environment={})
    assert outcome.status == "stopped"
    assert Run(folder / "run").read().reason == "NonFiniteLoss: total is nan"


def test_a_kernel_that_died_is_the_engines_to_begin_again(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KernelDied("killed")

    runs(monkeypatch, die)
    with pytest.raises(KernelDied):
        perform(JOB, folder, root, environment={})


def test_what_is_done_already_is_said_to_be(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(folder / "run")
    runs(monkeypatch, lambda: None)
    assert perform(JOB, folder, root, environment={}).before

    def begin() -> None:
        def change(record: Record) -> None:
            record.notebooks["05_transfer"] = Part()
            record.tries.append(work_try())

        run.change(change)

    runs(monkeypatch, begin)
    assert not perform(JOB, folder, root, environment={}).before


def work_try() -> Any:
    from socketlab.runs.entries import Try

    return Try(began="now", host="here", pid=1)


def test_a_parameter_that_has_gone_is_named(folder: Path, root: Path) -> None:
    job = Job(name="run", steps=[("05_transfer", {"data": "gone"})])
    outcome = perform(job, folder, root, environment={})
    assert outcome.status == "failed"
    assert "Unknown data set 'gone'" in outcome.reason


def test_steps_keep_their_notebooks_names() -> None:
    assert [step.part for step in planned_steps(JOB)] == ["05_transfer"]


def test_a_damaged_record_is_told_beside_the_reason(folder: Path) -> None:
    Run(folder / "run")
    (folder / "run" / "run.json").write_text("{")
    outcome = refuse(JOB, folder, "needs x")
    assert outcome.status == "failed"
    assert outcome.reason.startswith("needs x; its record cannot be written")
    assert (folder / "run" / "run.json").read_text() == "{"


def test_what_is_lacking() -> None:
    assert lacking(JOB, [Outcome("a", "done")]) == ""
    failed = Outcome("b", "stopped", "NaN")
    assert lacking(JOB, [Outcome("a", "done"), failed]) == "needs b, which stopped: NaN"
