"""How far runs and sweeps are: told by their folders alone, whatever state they were left in."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

from socketlab.runs.entries import Part, Record, Result, Try
from socketlab.runs.finding import find_run
from socketlab.runs.folders import find_folder, known_folders, known_runs, name_of
from socketlab.runs.run_status import IN_NOTEBOOK, LOCK, read_status
from socketlab.runs.status import (
    Changes,
    RunStatus,
    exit_status,
    groups,
    line,
    status_rows,
    summary,
    table_of,
    unfinished_or_last,
    watch,
    watching,
)
from socketlab.runs.sweep_status import SWEEP_LOCK
from socketlab.runs.sweeps.record import Job, SweepRecord, write_sweep

SOCKET = "socket-to-a.depth-held_out-seed0"
HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def write(folder: Path, **changes: Any) -> Path:
    """A run's folder with this record."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(name=folder.name, created="2026-01-01T00:00:00+00:00", **changes)
    (folder / "run.json").write_text(record.model_dump_json())
    return folder


def training(**changes: Any) -> dict[str, Any]:
    """What the record of a transfer says in the middle of its third epoch of ten."""
    part = Part(seconds=30, epoch=2, epochs=10, step=25, steps=100, accuracy=0.6)
    return {
        "device": {"name": "cuda (NVIDIA H200)"},
        "notebooks": {"02_train_source": Part(status="done", seconds=12), "05_transfer": Part()},
        "stages": {"source-a.rgb-seed0": Part(status="done", seconds=9), SOCKET: part},
        "tries": [Try(began="", host="node7", pid=1, notebook="05_transfer")],
        "results": [row("source_only", 0.4, seed=1), row("source_only", 0.5)],
    } | changes


def row(method: str, accuracy: float, seed: int = 0) -> Result:
    return Result(
        method=method,
        protocol="held_out",
        source="a/rgb",
        target="a/depth",
        seed=seed,
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        chosen_by="last",
        n=8,
        stage=f"{method}-to-a.depth-held_out-seed{seed}",
    )


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """As if somebody was at work there."""
    with FileLock(lock):
        yield


def sweep(folder: Path, *names: str, **about: Any) -> Path:
    jobs = [Job(name=name, steps=[], point={"method": name.partition("-")[0]}) for name in names]
    write_sweep(folder, SweepRecord(name=folder.name, created="", jobs=jobs, **about))
    return folder


def test_a_run_at_work_says_how_far_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", **training())
    with held(folder / LOCK):
        found = read_status(folder)
    assert found == RunStatus(
        run="mine",
        folder=folder,
        state="running",
        notebook="05_transfer",
        stage=SOCKET,
        epoch=2,
        epochs=10,
        step=25,
        steps=100,
        accuracy=0.6,
        source_only=0.5,
        device="cuda (NVIDIA H200)",
        host="node7",
        seconds=39,
        left=90,
        tries=1,
    )


def test_a_run_whose_process_was_killed_is_interrupted(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", **training())
    words = [sys.executable, "-c", HOLD, str(folder / LOCK)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "held\n"
        assert read_status(folder).state == "running"
        worker.kill()
        worker.wait()
    found = read_status(folder)
    assert found.state == "interrupted"
    assert "run it again" in found.reason
    assert found.left is None


def test_asking_does_not_keep_anybody_from_working(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", **training())
    (folder / LOCK).touch()
    read_status(folder)
    with FileLock(folder / LOCK).acquire(blocking=False) as lock:
        assert lock.is_locked


def test_a_run_that_ends_while_one_asks_is_not_called_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "mine", **training())

    def ends(_: Path) -> bool:
        write(folder, status="done")
        return False

    monkeypatch.setattr("socketlab.runs.run_status.is_held", ends)
    assert read_status(folder).state == "done"


@pytest.mark.parametrize("tries", [[], [Try(began="", host="a", pid=1, ended="done")]])
def test_a_run_in_a_notebook_holds_a_lock_only_while_it_trains(
    tmp_path: Path, tries: list[Try]
) -> None:
    folder = write(tmp_path / "mine", **training(tries=tries))
    assert (read_status(folder).state, read_status(folder).reason) == ("running", IN_NOTEBOOK)
    lock = folder / "state" / f".{SOCKET}.lock"
    lock.parent.mkdir()
    with held(lock):
        assert (read_status(folder).state, read_status(folder).reason) == ("running", "")
    assert read_status(folder).state == "interrupted"


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_what_went_wrong_is_said_in_one_line(tmp_path: Path, status: str) -> None:
    stages = {SOCKET: Part(status="failed", epoch=3, epochs=10), "a": Part(status="done")}
    folder = write(
        tmp_path / "mine",
        status=status,
        reason="ValueError: no\n  images",
        **training(stages=stages),
    )
    found = read_status(folder)
    assert (found.state, found.reason) == (status, "ValueError: no images")
    assert (found.stage, found.epoch) == (SOCKET, 3)


def test_a_finished_run_shows_its_last_training_and_its_own_time(tmp_path: Path) -> None:
    parts = {name: Part(status="done", seconds=50) for name in (SOCKET, "source_only-to-x-seed0")}
    folder = write(
        tmp_path / "mine",
        status="done",
        seconds=14,
        notebooks={"05_transfer": Part(status="done", seconds=14)},
        stages=parts,
        results=[row("source_only", 0.5), row("socket", 0.7)],
    )
    found = read_status(folder)
    assert (found.stage, found.accuracy, found.source_only) == (SOCKET, 0.7, 0.5)
    assert (found.notebook, found.seconds, found.left) == ("05_transfer", 14, None)
    floor = row("source_only", 0.5)
    alone = write(
        tmp_path / "floor",
        status="done",
        stages={floor.stage: Part(status="done")},
        results=[floor],
    )
    found = read_status(alone)
    assert (found.stage, found.accuracy, found.source_only) == (floor.stage, 0.5, None)


def test_of_several_stages_that_went_wrong_the_last_is_shown(tmp_path: Path) -> None:
    stages = {name: Part(status="failed", epoch=k) for k, name in enumerate(("tent", "shot"))}
    later = {"socket": Part(status="done", epoch=7)}
    found = read_status(write(tmp_path / "mine", status="failed", stages=stages | later))
    assert (found.stage, found.epoch) == ("shot", 1)


@pytest.mark.parametrize("content", [b"", b'{"name": "mi', b"\xff\xfe", b"[]", b'{"name": "x"}'])
def test_a_damaged_record_is_shown_as_such(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "mine")
    (folder / "run.json").write_bytes(content)
    found = read_status(folder)
    assert found.state == "damaged"
    assert "run.json cannot be read" in found.reason and "\n" not in found.reason
    assert exit_status(groups([folder])) == 1


def test_a_record_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", status="failed", reason="this")
    assert read_status(folder).reason == "this"
    write(folder, status="failed", reason="that")  # as long
    os.utime(folder / "run.json", ns=(0, 0))
    assert read_status(folder).reason == "that"


def test_a_sweep_has_a_row_for_every_job(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", "socket-0", "socket-1", "shot-0", command="again")
    write(folder / "socket-0", status="done", seconds=60)
    write(folder / "socket-1", **training())
    with held(folder / SWEEP_LOCK), held(folder / "socket-1" / LOCK):
        first, second, third = status_rows(folder)
        (group,) = groups([folder])
    assert [first.state, second.state, third.state] == ["done", "running", "waiting"]
    assert (third.sweep, third.run, third.point) == ("night", "shot-0", {"method": "shot"})
    # From the one that is done: 60 - 39 s are less than the 90 s that its training needs.
    assert (second.left, third.left) == (90, 60)
    assert (group.sweep, group.command, group.at_work, group.left) == ("night", "again", True, 150)
    assert summary(group) == (
        "sweep night: 1 of 3 done, 1 running, 1 waiting; about 2 min 30 s left"
    )


def test_the_time_left_is_shared_by_those_at_work(tmp_path: Path) -> None:
    names = [f"{method}-{seed}" for method in ("socket", "shot") for seed in range(3)]
    folder = sweep(tmp_path / "night", *names)
    write(folder / "socket-0", status="done", seconds=100)
    write(folder / "shot-0", status="done", seconds=10)
    for name in ("socket-1", "shot-1"):
        write(folder / name, tries=training()["tries"])
    with held(folder / "socket-1" / LOCK), held(folder / "shot-1" / LOCK):
        (group,) = groups([folder])
    assert [run.left for run in group.runs if run.state != "done"] == [100, 100, 10, 10]
    assert group.left == 110
    for name in ("socket-2", "shot-1", "shot-2"):
        write(folder / name, status="done", seconds=10)
    with held(folder / "socket-1" / LOCK), held(folder / "shot-1" / LOCK):
        assert groups([folder])[0].left == 55  # the mean of 100 and 10 s, by one who is at work
    for name in ("socket-0", "socket-2", "shot-1", "shot-2"):
        (folder / name / "run.json").unlink()
    write(folder / "shot-1", tries=training()["tries"])
    with held(folder / "socket-1" / LOCK), held(folder / "shot-1" / LOCK):
        assert groups([folder])[0].left == 10 * 5 / 2  # the others of its kind tell


def test_no_run_is_done_before_what_is_left_of_it(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", "socket-0", "shot-0", "socket-1", "shot-1")
    for name, seconds in (("socket-0", 100), ("shot-0", 10)):
        write(folder / name, status="done", seconds=seconds)
    for name in ("socket-1", "shot-1"):
        write(folder / name, tries=training()["tries"])
    with held(folder / "socket-1" / LOCK), held(folder / "shot-1" / LOCK):
        assert groups([folder])[0].left == 100


def test_what_another_run_has_made_took_none_of_the_time(tmp_path: Path) -> None:
    stages = {"a": Part(seconds=500, taken_from="other"), SOCKET: Part(seconds=20)}
    assert read_status(write(tmp_path / "mine", **training(stages=stages))).seconds == 20


def test_the_time_left_is_not_made_up(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", "socket-0", "socket-1")
    write(folder / "socket-0", tries=training()["tries"])
    with held(folder / "socket-0" / LOCK):
        assert groups([folder])[0].left is None


def test_a_killed_run_of_a_sweep_waits_to_be_begun_again(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", "socket-0")
    write(folder / "socket-0", **training())
    with held(folder / SWEEP_LOCK):
        assert status_rows(folder)[0].state == "waiting"
        assert exit_status(groups([folder])) == 3
    assert status_rows(folder)[0].state == "interrupted"
    assert exit_status(groups([folder])) == 1


def test_a_sweep_that_cannot_be_read_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    (found,) = status_rows(tmp_path)
    assert found.state == "damaged" and "sweep.json" in found.reason
    assert exit_status(groups([tmp_path])) == 1


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["done", "done"], 0),
        (["done", "running"], 3),
        (["running", "stopped"], 1),
        (["done", "failed"], 1),
        (["running", "failed"], 1),
    ],
)
def test_the_exit_status_says_whether_all_is_well(
    tmp_path: Path, states: list[str], status: int
) -> None:
    folders = [write(tmp_path / str(n), status=state) for n, state in enumerate(states)]
    assert exit_status(groups(folders)) == status


def test_a_sweep_on_which_nobody_works_is_not_well(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", "socket-0", "socket-1", command="socketlab sweep it.yaml")
    write(folder / "socket-0", status="done")
    with held(folder / SWEEP_LOCK):
        assert exit_status(groups([folder])) == 3
    assert exit_status(groups([folder])) == 1
    assert "Go on with: socketlab sweep it.yaml" in drawn(folder, 100)
    write(folder / "socket-1", status="done")
    assert exit_status(groups([folder])) == 0


def test_names_are_found_under_runs_and_inside_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    single = write(tmp_path / "runs" / "mine")
    night = sweep(tmp_path / "runs" / "night", "socket-0")
    inside = write(night / "socket-0")
    (tmp_path / "runs" / "notes").mkdir()
    for name, folder in (("mine", single), ("night", night), ("night/socket-0", inside)):
        assert find_folder(name).resolve() == folder
        assert name_of(folder) == name_of(folder.relative_to(tmp_path)) == name
    deep = sweep(tmp_path / "runs" / "tmp" / "small", "socket-1") / "socket-1"
    assert name_of(write(deep)) == "tmp/small/socket-1"
    assert find_folder("tmp/small/socket-1").resolve() == deep
    elsewhere = write(tmp_path / "else where" / "mine")
    assert name_of(elsewhere) == str(elsewhere)
    assert find_folder(name_of(elsewhere)) == elsewhere
    assert find_folder(single) == single
    assert known_runs() == ["mine", "night/socket-0"]
    assert [folder.name for folder in known_folders()] == ["mine", "night"]
    with pytest.raises(ValueError, match=r"'nigth'. Known: mine, night, .* mean 'night'\?"):
        find_folder("nigth")


def test_a_sweep_is_no_run_but_its_runs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = write(sweep(tmp_path / "runs" / "night", "socket-0") / "socket-0")
    assert find_run("night/socket-0").folder.resolve() == inside
    with pytest.raises(ValueError, match=r"'night' is a sweep\. .* night/RUN.*: socket-0\."):
        find_run("night")
    with pytest.raises(ValueError, match=r"Known: night, night/socket-0\."):
        find_run("nigth/socket-0")


def test_without_names_what_is_not_done_is_shown_and_else_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unfinished_or_last() == []
    for number, name in enumerate(("b", "a")):
        file = write(tmp_path / "runs" / name, status="done") / "run.json"
        os.utime(file, ns=(0, 10**18 * (1 - number)))
    assert [folder.name for folder in unfinished_or_last()] == ["b"]
    sweep(tmp_path / "runs" / "night", "socket-0")
    write(tmp_path / "runs" / "c", status="failed")
    assert [folder.name for folder in unfinished_or_last()] == ["c", "night"]


def drawn(folder: Path, width: int, height: int | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table_of(groups([folder]), width, height))
    return out.getvalue()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A sweep of 60 runs: 50 done, 2 at work by their records, 3 failed, 5 waiting."""
    names = [f"socket-{number}" for number in range(60)]
    folder = sweep(tmp_path / "large", *names)
    for name in names[:50]:
        write(folder / name, status="done", seconds=10)
    for name in names[50:52]:
        write(folder / name, **training(tries=[]))
    for name in names[52:55]:
        write(folder / name, status="failed", reason=f"[b]reason[/b] of {name}")
    return folder


def test_the_table_has_every_run_and_every_reason(large: Path) -> None:
    shown = drawn(large, 140)
    assert all(f" socket-{number} " in shown for number in range(60))
    assert "sweep large: 50 of 60 done" in shown
    for words in ("2/10", "25%", "60.0%", "50.0%", "cuda", "1:30"):
        assert words in shown
    assert "socket-52: [b]reason[/b] of socket-52" in shown, "a reason was taken for markup"
    assert shown.index(" socket-50 ") < shown.index(" socket-53 ") < shown.index(" socket-57 ")
    assert shown.index(" socket-57 ") < shown.index(" socket-0 ")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (140, 30), (60, 24)])
def test_the_table_fits_the_terminal(large: Path, width: int, height: int) -> None:
    lines = drawn(large, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert "socket-50" in shown and "socket-52: [b]reason" in shown
    assert "done" in shown.partition("and ")[2]


def test_reasons_are_few_only_where_the_height_is_limited(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "night", *(f"socket-{number}" for number in range(9)))
    for number in range(9):
        write(folder / f"socket-{number}", status="failed", reason=f"reason {number}")
    assert drawn(folder, 80).count("reason ") == 9
    assert drawn(folder, 80, 30).count("reason ") == 6
    assert "and 3 more" in drawn(folder, 80, 30)


def test_a_line_says_all_that_is_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", **training())
    with held(folder / LOCK):
        assert line(read_status(folder)) == (
            f"mine: running, 05_transfer {SOCKET}, epoch 2/10, step 25/100, accuracy 60.0 % "
            "(source_only 50.0 %), cuda (NVIDIA H200) on node7, 39.0 s taken, 1 min 30 s left"
        )
    night = sweep(tmp_path / "night", "socket-0")
    assert line(status_rows(night)[0]) == "night/socket-0: waiting"


def test_only_what_is_new_is_said_again(tmp_path: Path) -> None:
    folder, changes = sweep(tmp_path / "night", "socket-0", "socket-1"), Changes()
    assert changes.lines(groups([folder])) == []
    write(folder / "socket-0", **training(tries=[]))
    assert [text.split(",")[0] for text in changes.lines(groups([folder]))] == [
        "night/socket-0: running"
    ]
    assert changes.lines(groups([folder])) == []
    write(folder / "socket-0", status="done")
    assert changes.lines(groups([folder])) == ["night/socket-0: done"]


def test_without_a_terminal_a_sweep_is_followed_in_plain_lines(tmp_path: Path) -> None:
    out, folder = io.StringIO(), tmp_path / "night"
    with watching(folder, Console(file=out, width=40), every=0.01):  # before it is there
        sweep(folder, "socket-0")
        write(folder / "socket-0", **training(tries=[]))
        while "running" not in out.getvalue():
            time.sleep(0.01)
        write(folder / "socket-0", status="failed", reason="it was [b]bad[/b] " + "x" * 60)
    first, last = out.getvalue().splitlines()
    assert first.startswith(f"night/socket-0: running, 05_transfer {SOCKET}")
    assert last == f"night/socket-0: failed, it was [b]bad[/b] {'x' * 60}"


def test_on_a_terminal_the_table_is_live_and_ends_with_how_it_was(tmp_path: Path) -> None:
    out, folder = io.StringIO(), tmp_path / "night"
    console = Console(file=out, width=90, height=20, force_terminal=True)
    with watching(folder, console, every=0.05):
        sweep(folder, "socket-0")
        write(folder / "socket-0", **training(tries=[]))
        while "socket-0" not in out.getvalue():
            time.sleep(0.01)
        console.print("a line above it")
        write(folder / "socket-0", status="done")
    shown = out.getvalue()
    assert "0 of 1 done" in shown and "a line above it" in shown
    assert "1 of 1 done" in shown[shown.rindex("a line above it") :]


def test_watching_ends_when_nobody_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write(tmp_path / "mine", **training(tries=[])), io.StringIO()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            write(folder, status="done")

    monkeypatch.setattr("socketlab.runs.status.time.sleep", wait)
    (group,) = watch([folder], Console(file=out, width=200))
    assert (group.runs[0].state, len(waits)) == ("done", 3)
    assert [text.split(",")[0] for text in out.getvalue().splitlines()] == [
        "mine: running",
        "mine: done",
    ]


def test_whoever_leaves_a_live_table_learns_how_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "mine", **training(tries=[]))

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("socketlab.runs.status.time.sleep", leave)
    assert exit_status(watch([folder], Console(file=io.StringIO()))) == 3
