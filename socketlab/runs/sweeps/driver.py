"""A sweep from its file to its end: planned, written down, executed by an engine."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from socketlab.data.locks import alone
from socketlab.data.schema import Say
from socketlab.runs.places import at_home
from socketlab.runs.report_values import duration
from socketlab.runs.sweep_status import SWEEP_LOCK
from socketlab.runs.sweeps.grid import SweepFile, read_sweep_file
from socketlab.runs.sweeps.jobs import sweep_folder
from socketlab.runs.sweeps.local import run_locally, slots
from socketlab.runs.sweeps.record import (
    Job,
    SweepRecord,
    is_sweep,
    read_sweep,
    write_sweep,
)
from socketlab.runs.sweeps.work import Outcome

Engine = Literal["local", "ray"]


def find_sweep(named: str) -> SweepFile:
    """The file of that name, or what the sweep in that folder was started with.

    Raises:
        SweepError, ParameterError: naming what is wrong.
    """
    for folder in (at_home(named), at_home("runs") / named):
        if is_sweep(folder):
            return SweepFile.model_validate(read_sweep(folder).file)
    return read_sweep_file(at_home(named))


def run_sweep(
    given: SweepFile,
    jobs: list[Job],
    *,
    engine: Engine = "local",
    address: str | None = None,
    most: int | None = None,
    expose: bool = False,
    command: str = "",
    say: Say = print,
) -> dict[str, Outcome]:
    """Run the jobs of a sweep; what is done is passed over, what was interrupted goes on.

    Started twice, the second waits for the first and then finds what is done.

    Args:
        given: the sweep's file.
        jobs: of that file, as `jobs_of` gives them.
        engine: `local`, one process a device, or `ray`.
        address: of a running Ray cluster; None starts one.
        most: runs at once, of the local engine.
        expose: whether other machines may reach a Ray cluster that is started here.
        command: that repeats it.
        say: hears a line for each run that begins and ends.

    Raises:
        SweepError: where the engine cannot do what one run asks for.
    """
    folder = sweep_folder(given)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / SWEEP_LOCK, say, f"running sweep {given.sweep!r}"):
        _write(folder, given, jobs, engine, command)
        told = _teller(jobs, say)
        if engine == "local":
            places = slots(given.resources, most)
            at_once = f"{len(places)} at once" if len(places) > 1 else "one after another"
            say(f"{len(jobs)} jobs in {folder}, {at_once}")
            return run_locally(
                jobs,
                folder,
                places=places,
                retries=given.retries,
                told=told,
                seconds=given.resources.seconds,
            )
        from socketlab.runs.sweeps.on_ray import connect, run_on_ray

        connect(address, expose=expose, say=say)
        say(f"{len(jobs)} jobs in {folder}, on Ray")
        return run_on_ray(jobs, folder, resources=given.resources, retries=given.retries, told=told)


def _write(folder: Path, given: SweepFile, jobs: list[Job], engine: str, command: str) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if is_sweep(folder):
        created = read_sweep(folder).created
    record = SweepRecord(
        name=given.sweep,
        created=created,
        command=command,
        engine=engine,
        file=given.model_dump(mode="json"),
        jobs=jobs,
    )
    write_sweep(folder, record)


def _teller(jobs: list[Job], say: Say) -> Callable[[Job, Outcome | None], None]:
    ended: list[str] = []

    def told(job: Job, outcome: Outcome | None) -> None:
        if outcome is None:
            say(f"{job.name}: running")
            return
        ended.append(job.name)
        where = f" on {outcome.host}" if outcome.host else ""
        reason = f": {outcome.reason}" if outcome.reason else ""
        time = f" in {duration(outcome.seconds)}" if outcome.seconds else ""
        how = " already" if outcome.before else f"{time}{where}{reason}"
        say(f"[{len(ended)}/{len(jobs)}] {job.name}: {outcome.status}{how}")

    return told
