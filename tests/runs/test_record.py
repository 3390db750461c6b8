"""The record of a run: whole at every moment, with the truth about how each stage ended."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.data.whole_files import replace_file
from socketlab.runs.record import Picture, Record, Result, Run, RunError
from socketlab.training.controls import Preempted
from socketlab.training.term_record import NonFiniteLoss


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A new run."""
    return Run(tmp_path / "mine")


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "method": "socket",
        "protocol": "held_out",
        "source": "a/rgb",
        "target": "a/depth",
        "seed": 0,
        "accuracy": 0.5,
        "balanced_accuracy": 0.25,
        "chosen_by": "last",
        "n": 8,
        "stage": "socket-0",
    }
    return Result(**(values | changes))


def status(run: Run, stage: str) -> tuple[str, str]:
    part = run.read().stages[stage]
    return part.status, part.reason


def test_a_new_run_is_running_and_says_with_which_versions(run: Run) -> None:
    raw = json.loads((run.folder / "run.json").read_text())
    assert (raw["name"], raw["status"]) == ("mine", "running")
    assert raw["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "socketlab"} <= raw["versions"].keys()
    assert raw["created"].endswith("+00:00")


def test_opening_a_run_again_changes_nothing(run: Run) -> None:
    run.put_results("socket-0", [result()])
    before = (run.folder / "run.json").read_bytes()
    again = Run(run.folder)
    assert (run.folder / "run.json").read_bytes() == before
    assert again.read().results == [result()]


def test_a_change_that_fails_halfway_leaves_the_record_as_it_was(run: Run) -> None:
    before = (run.folder / "run.json").read_bytes()

    def change(record: Record) -> None:
        record.name = "other"
        raise OSError("in the middle")

    with pytest.raises(OSError, match="in the middle"):
        run.change(change)
    assert (run.folder / "run.json").read_bytes() == before
    run.put_results("socket-0", [result()])  # the lock is free again


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.json"
    replace_file(file, b"old")
    opened = file.open("rb")  # a reader that began before the change

    def broken(_: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="disk full"):
            replace_file(file, b"new content")
    assert file.read_bytes() == b"old"
    replace_file(file, b"new content")
    with opened:
        assert opened.read() == b"old"
    assert file.read_bytes() == b"new content"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_stage_is_running_and_then_done(run: Run) -> None:
    with run.stage("work", "abc"):
        assert status(run, "work") == ("running", "")
        assert not run.is_done("work", "abc")
        time.sleep(0.02)
    assert status(run, "work") == ("done", "")
    assert run.is_done("work", "abc")
    assert not run.is_done("work", "abd")
    assert not run.is_done("other", "abc")
    assert 0.02 <= run.read().stages["work"].seconds < 5


@pytest.mark.parametrize(
    ("error", "ended", "reason"),
    [
        (ValueError("no images"), "failed", "ValueError: no images"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (GeneratorExit(), "stopped", "interrupted"),
        (NonFiniteLoss("Epoch 2, step 7: pairs = nan."), "stopped", "step 7: pairs = nan"),
        (Preempted(), "stopped", "SIGTERM: preempted; run again to go on"),
        (OSError(28, "No space left on device"), "failed", "no space left on device: OSError"),
        (MemoryError("x"), "failed", "out of memory: MemoryError: x. Set batch_size: auto"),
    ],
)
def test_a_stage_says_how_it_ended(run: Run, error: BaseException, ended: str, reason: str) -> None:
    with pytest.raises(type(error)), run.stage("work", "abc"):
        raise error
    found, why = status(run, "work")
    assert found == ended
    assert reason in why
    assert not run.is_done("work", "abc")
    record = run.read()
    assert (record.status, record.reason) == (ended, why)


def test_work_can_say_that_it_was_stopped(run: Run) -> None:
    with run.stage("work") as part:
        part.status, part.reason = "stopped", "by hand"
    assert status(run, "work") == ("stopped", "by hand")
    assert run.read().status == "stopped"


def test_work_that_was_begun_again_is_not_stopped_by_what_is_left_of_the_first(run: Run) -> None:
    """An interrupted notebook keeps the first alive in the traceback that it shows."""
    left = run.stage("work", "abc")
    left.__enter__()
    with Run(run.folder).stage("work", "abc"):
        pass
    left.gen.close()  # type: ignore[attr-defined]
    assert status(run, "work") == ("done", "")
    assert run.read().status == "running"


def test_the_time_of_an_interrupted_stage_counts_unless_it_is_another(run: Run) -> None:
    def work(fingerprint: str) -> float:
        with run.stage("work", fingerprint):
            time.sleep(0.05)
        return run.read().stages["work"].seconds

    with pytest.raises(KeyboardInterrupt), run.stage("work", "a"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert work("a") >= 0.1
    assert 0.05 <= work("b") < 0.1


def test_results_replace_those_of_the_same_stage(run: Run) -> None:
    run.put_results("socket-0", [result(accuracy=0.1), result(chosen_by="oracle")])
    run.put_results("shot-0", [result(stage="shot-0", method="shot")])
    rows = [result(accuracy=0.9), result(chosen_by="entropy", accuracy=0.3)]
    run.put_results("socket-0", rows)
    found = {(row.stage, row.chosen_by): row.accuracy for row in run.read().results}
    assert len(run.read().results) == 3
    assert found == {
        ("shot-0", "last"): 0.5,
        ("socket-0", "last"): 0.9,
        ("socket-0", "entropy"): 0.3,
    }


def test_metrics_after_a_resume_replace_the_later_epochs(run: Run) -> None:
    for epoch in range(4):
        run.add_metrics("a", epoch, 10 * epoch, {"accuracy": epoch / 10, "loss/total": 1.5})
        run.add_metrics("b", epoch, epoch, {"accuracy": 0.5})
    run.add_metrics("a", 2, 20, {"accuracy": 0.99})
    found = run.metrics("a")
    assert list(found.columns) == ["stage", "epoch", "step", "name", "value"]
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("a", 0, 0, "accuracy", 0.0),
        ("a", 0, 0, "loss/total", 1.5),
        ("a", 1, 10, "accuracy", 0.1),
        ("a", 1, 10, "loss/total", 1.5),
        ("a", 2, 20, "accuracy", 0.99),
    ]
    assert list(run.metrics("b")["epoch"]) == [0, 1, 2, 3]
    on_disk = pd.read_parquet(run.folder / "metrics.parquet")
    assert len(on_disk) == 9
    assert on_disk["epoch"].dtype == "int64"


def test_a_run_without_metrics_has_an_empty_table(run: Run) -> None:
    assert list(run.metrics("a").columns) == ["stage", "epoch", "step", "name", "value"]
    assert len(run.metrics()) == 0


@pytest.mark.parametrize("content", ["", "{", '{"name": "x"}', "[]", '{"status": "running'])
def test_a_damaged_record_is_named(run: Run, content: str) -> None:
    (run.folder / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"mine/run\.json is no record of a run"):
        run.read()
    with pytest.raises(RunError, match=r"mine/run\.json"):
        run.change(lambda record: None)
    assert (run.folder / "run.json").read_text() == content


def test_a_record_that_is_no_text_or_is_gone_is_named(run: Run) -> None:
    (run.folder / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"run\.json"):
        run.read()
    (run.folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"run\.json"):
        run.read()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"half" * 99])
def test_damaged_numbers_are_named_and_stay(run: Run, content: bytes) -> None:
    (run.folder / "metrics.parquet").write_bytes(content)
    for use in (run.metrics, lambda: run.add_metrics("a", 0, 0, {"accuracy": 1.0})):
        with pytest.raises(
            RunError, match=r"mine/metrics\.parquet does not hold .* another run name"
        ):
            use()
    assert (run.folder / "metrics.parquet").read_bytes() == content


def test_a_stage_can_be_held_again_by_the_process_that_holds_it(run: Run) -> None:
    said: list[str] = []
    left = run.working("a", said.append)
    left.__enter__()
    with Run(run.folder).working("a", said.append), run.working("b", said.append):
        assert said == []
    left.gen.close()  # type: ignore[attr-defined]


TRAINER = """
import sys
from pathlib import Path
from socketlab.data.locks import alone
with alone(Path(sys.argv[1]), print, "training a"):
    print("holding", flush=True)
    sys.stdin.readline()
"""


def test_a_stage_that_another_process_trains_is_waited_for(run: Run) -> None:
    (run.folder / "state").mkdir()
    words = [sys.executable, "-c", TRAINER, str(run.folder / "state" / ".a.lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == "holding\n"
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            other.stdin.write("\n")
            other.stdin.flush()

        with run.working("a", say):
            assert said == ["Another process is training a; waiting for it"]
            assert other.wait(60) == 0


CHANGES = 60
OTHER_PROCESS = """
import sys
from pathlib import Path
from socketlab.runs.record import Part, Run
run = Run(Path(sys.argv[1]))
(run.folder / "ready").touch()
for number in range(int(sys.argv[2])):
    run.change(lambda record: record.stages.update({f"other-{number}": Part()}))
    run.add_metrics(f"other-{number}", 0, 0, {"accuracy": number})
"""


def test_two_processes_that_write_at_once_lose_nothing(run: Run) -> None:
    words = [sys.executable, "-c", OTHER_PROCESS, str(run.folder), str(CHANGES)]
    with subprocess.Popen(words) as other:
        while not (run.folder / "ready").exists() and other.poll() is None:
            time.sleep(0.01)
        for number in range(CHANGES):
            run.put_results(f"mine-{number}", [result(stage=f"mine-{number}")])
            run.add_metrics(f"mine-{number}", 0, 0, {"accuracy": number})
            assert run.read().name == "mine"  # whole at every moment
        assert other.wait(60) == 0
    record = run.read()
    assert [row.stage for row in record.results] == [f"mine-{n}" for n in range(CHANGES)]
    assert list(record.stages) == [f"other-{n}" for n in range(CHANGES)]
    assert len(run.metrics()) == 2 * CHANGES


def test_a_figure_is_kept_listed_once_and_shown(run: Run) -> None:
    for title in ("first", "second"):
        figure = Figure(figsize=(1, 1))
        figure.add_subplot()
        shown = run.figure(figure, "05-curves", title=title, caption="c", notebook="05_transfer")
    listed = run.read().figures
    assert [(row.file, row.title) for row in listed] == [("figures/05-curves.png", "second")]
    png = (run.folder / "figures" / "05-curves.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert shown._repr_png_() == png


def test_a_pictures_text_does_not_hold_its_bytes() -> None:
    assert len(repr(Picture(b"\x89PNG" + bytes(100_000)))) < 100
