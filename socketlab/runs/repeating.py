"""A run, or a whole sweep, done once more from nothing and held against what it was."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from socketlab.data.locks import alone
from socketlab.data.schema import Say
from socketlab.data.whole_files import replace_file
from socketlab.runs.folders import is_run
from socketlab.runs.notebooks import NotebookFailed
from socketlab.runs.record import Run
from socketlab.runs.repeat_differences import StageCheck, compare_runs
from socketlab.runs.repeat_plan import RepeatError, RepeatPlan, check_given, plan_repeat
from socketlab.runs.repeat_reasons import environment_differences, likely_reason
from socketlab.runs.running import run_all
from socketlab.runs.sweeps.record import is_sweep, read_sweep

SUFFIX: Final = ".repeat"
DATA_NOTE: Final = (
    "The images that are prepared already are used again; their folder is named after its content."
)
_MARK: Final = "repeat.json"


@dataclass(frozen=True)
class Repeated:
    """What came of repeating a run.

    Attributes:
        run: its name.
        checks: of every stage, in the order of the run.
        environment: what about host, device and versions is another one: then and now.
        notes: what could not be as it was.
        reason: the most likely one of the first difference; nothing where all is equal.
        failed: why there is nothing to compare with; nothing where there is.
        skipped: whether that is because the run was not done itself.
    """

    run: str
    checks: tuple[StageCheck, ...] = ()
    environment: Mapping[str, tuple[str, str]] | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""
    failed: str = ""
    skipped: bool = False

    @property
    def equal(self) -> bool:
        """Whether all numbers, weights and answers that were kept came out bit for bit."""
        return self.skipped or (not self.failed and all(check.equal for check in self.checks))


def repeat(
    folder: Path, given: Mapping[str, Any], *, say: Say, keep: bool = False, command: str = ""
) -> list[Repeated]:
    """Do a run or a sweep once more in `<folder>.repeat`, from nothing, and compare.

    Nothing is taken from the run or from the stages that a sweep's runs share, but for the
    prepared images; the runs of a repeated sweep share among themselves. The kernels get as many
    threads as the run had. An interrupted repetition is continued; another one is begun anew.

    Args:
        folder: of the run or sweep.
        given: parameters that differ, see `repeat_plan.MAY_DIFFER`.
        say: is told what goes on.
        keep: keep the repetition where it came out equal; one that differs is always kept.
        command: as it was typed, for the records.

    Raises:
        RepeatError: if a run is not done, or none of a sweep is; or the folder is in use.
        ParameterError: for parameters that may not differ.
    """
    check_given(given)
    place = folder.with_name(folder.name + SUFFIX)
    with alone(folder / ".repeat.lock", say, f"repeating {folder.name}"):
        if is_sweep(folder):
            jobs = {job.name: folder / job.name for job in read_sweep(folder).jobs}
            planned, skipped = _plans(jobs, place, given)
        else:
            record = Run(folder).read()
            planned, skipped = {folder: plan_repeat(record, place, given)}, []
        _begin(place, folder, given)
        say(DATA_NOTE)
        found = [
            _repeated(run, place if run == folder else place / run.name, plan, say, command)
            for run, plan in planned.items()
        ]
        if not keep and all(one.equal for one in found):
            shutil.rmtree(place)
        else:
            say(f"The repetition is kept in {place}")
    return [*found, *skipped]


def _plans(
    jobs: Mapping[str, Path], place: Path, given: Mapping[str, Any]
) -> tuple[dict[Path, RepeatPlan], list[Repeated]]:
    """Of the runs of a sweep that are done; and what is to be said of the others."""
    plans, skipped = {}, []
    for name, run in jobs.items():
        record = Run(run).read() if is_run(run) else None
        if record is None or record.status != "done":
            why = "was never begun" if record is None else f"is {record.status}: {record.reason}"
            skipped.append(Repeated(name, failed=f"the run itself {why}", skipped=True))
            continue
        plans[run] = plan_repeat(record, place / name, given, str(place / "shared"))
    if not plans:
        raise RepeatError("No run of this sweep is done. Start the sweep again to finish it.")
    return plans, skipped


def _begin(place: Path, folder: Path, given: Mapping[str, Any]) -> None:
    """Make the folder of a repetition; one that was interrupted is continued, as it was begun."""
    mark = {"of": folder.name, "given": dict(given), "first": _created(folder)}
    if place.exists():
        try:
            earlier = json.loads((place / _MARK).read_text())
        except (OSError, ValueError):
            raise RepeatError(
                f"{place} is there and is no repetition that `socketlab repeat` has made. Move it "
                "or remove it."
            ) from None
        if earlier == mark and not _is_whole(place):
            return
        shutil.rmtree(place)
    place.mkdir()
    replace_file(place / _MARK, json.dumps(mark).encode())


def _created(folder: Path) -> str:
    return read_sweep(folder).created if is_sweep(folder) else Run(folder).read().created


def _is_whole(place: Path) -> bool:
    records = [Run(file.parent).read() for file in place.glob("**/run.json")]
    return bool(records) and all(record.status in ("done", "failed") for record in records)


def _repeated(run: Path, place: Path, plan: RepeatPlan, say: Say, command: str) -> Repeated:
    """Run the notebooks of one run again, and compare."""
    say(f"Repeating {run.name}: {', '.join(item.part for item in plan.planned)}")
    for note in plan.notes:
        say(f"Note: {note}.")
    try:
        run_all(plan.planned, command=command, environment=_threads(plan.threads), warm=True)
    except NotebookFailed as error:
        return Repeated(run.name, notes=plan.notes, failed=str(error), reason=f"{error}.")
    then, now = Run(run).read(), Run(place).read()
    checks = compare_runs(run, place)
    environment = environment_differences(then, now)
    reason = likely_reason(checks, environment, now, plan.notes)
    return Repeated(run.name, tuple(checks), environment, plan.notes, reason)


def _threads(count: str) -> dict[str, str]:
    """What gives a kernel as many threads as the run had, where that is known."""
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count} if count else {}


def total(found: Sequence[Repeated]) -> tuple[int, int]:
    """How many runs came out equal, of how many that were repeated."""
    done = [one for one in found if not one.skipped]
    return sum(one.equal for one in done), len(done)
