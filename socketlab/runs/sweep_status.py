"""How far runs and sweeps are: all runs of each, what is left to do, and whether all is well.

Loads no torch.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from socketlab.runs.folders import is_run, known_folders
from socketlab.runs.report_values import duration
from socketlab.runs.run_status import TROUBLE, RunStatus, State, is_held, read_status
from socketlab.runs.sweeps.record import SweepError, is_sweep, read_sweep, record_file

SWEEP_LOCK: Final = ".sweep.lock"


@dataclass(frozen=True)
class Group:
    """A sweep with all its runs, or all runs that are in none.

    Attributes:
        sweep: its name; empty for runs of their own.
        command: what starts the sweep again.
        at_work: whether somebody is at work on any of it.
        left: seconds until all of it is done, or None if unknown.
    """

    sweep: str
    runs: tuple[RunStatus, ...]
    command: str = ""
    at_work: bool = False
    left: float | None = None

    @property
    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(run.state for run in self.runs)


def status_rows(folder: Path) -> list[RunStatus]:
    """How far the run in a folder is, or every run of a sweep in the order of its jobs.

    A sweep whose own record cannot be read is one row, which says so.
    """
    if not is_sweep(folder):
        return [read_status(folder)]
    try:
        sweep = read_sweep(folder)
    except SweepError as problem:
        reason = " ".join(str(problem).split())
        return [RunStatus(folder.name, folder, "damaged", sweep=folder.name, reason=reason)]
    found = [read_status(folder / job.name, sweep.name, job) for job in sweep.jobs]
    if is_held(folder / SWEEP_LOCK):  # whoever has the sweep begins those again that were killed
        found = [_to_be_begun_again(run) for run in found]
    return [replace(run, left=_left(run, _usual_seconds(run, found))) for run in found]


def groups(folders: Iterable[Path]) -> list[Group]:
    """A group for each sweep among the folders, and before them one for all other runs."""
    folders = list(folders)
    alone = tuple(read_status(folder) for folder in folders if not is_sweep(folder))
    found = [Group("", alone, at_work=_some_run(alone))] if alone else []
    return found + [_sweep_group(folder) for folder in folders if is_sweep(folder)]


def unfinished_or_last() -> list[Path]:
    """What lies under runs/ and is not all done; if all of it is, what was written last."""
    folders = known_folders()
    unfinished = [f for f in folders if any(run.state != "done" for run in status_rows(f))]
    return unfinished or sorted(folders, key=_written)[-1:]


def exit_status(found: Sequence[Group]) -> int:
    """0: all done. 3: some are at work or waiting, and nothing went wrong. 1: something did.

    A sweep that has runs to do and on which nobody is at work went wrong, too.
    """
    runs = [run for group in found for run in group.runs]
    left_lying = any(group.counts["waiting"] and not group.at_work for group in found)
    if left_lying or any(run.state in TROUBLE for run in runs):
        return 1
    return 0 if all(run.state == "done" for run in runs) else 3


def headline(group: Group) -> str:
    """How many runs of a group are done, and how long all of it will take."""
    return f"{_done(group)}{_time_left(group)}"


def summary(group: Group) -> str:
    """The same with how many are in each other state, for a log."""
    counts = group.counts
    others = [f"{counts[s]} {s}" for s in get_args(State) if s != "done" and counts[s]]
    return f"{', '.join([_done(group), *others])}{_time_left(group)}"


def _done(group: Group) -> str:
    about = f"sweep {group.sweep}" if group.sweep else "runs"
    return f"{about}: {group.counts['done']} of {len(group.runs)} done"


def _time_left(group: Group) -> str:
    return f"; about {duration(group.left)} left" if group.left else ""


def _sweep_group(folder: Path) -> Group:
    runs = tuple(status_rows(folder))
    if any(run.folder == folder for run in runs):  # its record is damaged
        return Group(folder.name, runs)
    sweep = read_sweep(folder)
    at_work = is_held(folder / SWEEP_LOCK) or _some_run(runs)
    return Group(sweep.name, runs, sweep.command, at_work, _all_left(runs) if at_work else None)


def _to_be_begun_again(run: RunStatus) -> RunStatus:
    if run.state != "interrupted":
        return run
    return replace(run, state="waiting", reason="was killed; will be begun again")


def _some_run(runs: Iterable[RunStatus]) -> bool:
    return any(run.state == "running" for run in runs)


def _usual_seconds(run: RunStatus, runs: Iterable[RunStatus]) -> float | None:
    """The mean time of finished runs of the same kind and method, else of the same kind."""
    done = [other for other in runs if other.state == "done" and other.kind == run.kind]
    alike = [other for other in done if other.point.get("method") == run.point.get("method")]
    seconds = [other.seconds for other in alike or done]
    return sum(seconds) / len(seconds) if seconds else None


def _left(run: RunStatus, usual: float | None) -> float | None:
    """Of a run in a sweep, from what others took; never less than its training needs."""
    if run.state not in ("running", "waiting") or usual is None:
        return run.left
    return max(usual - run.seconds, run.left or 0.0)


def _all_left(runs: Sequence[RunStatus]) -> float | None:
    """With as many at work as now; unknown while nothing is known of some run."""
    lefts = [run.left for run in runs if run.state in ("running", "waiting")]
    known = [left for left in lefts if left is not None]
    if not lefts or len(known) < len(lefts):
        return 0.0 if not lefts else None
    workers = max(1, sum(run.state == "running" for run in runs))
    return max(sum(known) / workers, *known)


def _written(folder: Path) -> int:
    file = folder / "run.json" if is_run(folder) else record_file(folder)
    return file.stat().st_mtime_ns
