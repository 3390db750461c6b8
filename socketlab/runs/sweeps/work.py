"""One job of a sweep at work: its notebooks, in whichever process an engine has put it."""

import os
import shlex
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from socketlab.runs.notebooks import KernelDied, NotebookFailed
from socketlab.runs.parameters import validate
from socketlab.runs.planning import Planned
from socketlab.runs.record import Record, Run, RunError
from socketlab.runs.report import write_report
from socketlab.runs.running import run_all
from socketlab.runs.sweeps.record import Job, SweepError, is_sweep

LOG = "log.txt"
"""In a run's folder: what its notebooks have printed, attempt after attempt."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended, and where.

    Attributes:
        seconds: of this attempt.
        before: whether it was done already, and nothing was left to do.
    """

    name: str
    status: Literal["done", "failed", "stopped"]
    reason: str = ""
    seconds: float = 0.0
    host: str = ""
    before: bool = False


def planned_steps(job: Job) -> list[Planned]:
    """The notebooks of a job with their parameters.

    Raises:
        ParameterError: where something that they name is no longer there.
    """
    return [
        Planned(notebook, validate(notebook, values), notebook) for notebook, values in job.steps
    ]


def perform(
    job: Job,
    folder: Path,
    home: Path,
    *,
    environment: Mapping[str, str],
    warm: bool = True,
    seconds: float | None = None,
) -> Outcome:
    """Run the notebooks of a job; what they print goes to `log.txt` in the run's folder.

    A notebook that is done is passed over, an interrupted one continues.

    Args:
        job: what to run.
        folder: the sweep's.
        home: the project's folder.
        environment: variables for the kernels.
        warm: fork kernels from a process that has loaded all libraries.
        seconds: that each notebook may take.

    Raises:
        KernelDied: where a process was killed, or took too long: the engine begins it again.
        SweepError: where this machine does not see the sweep's folder.
    """
    os.chdir(home)
    host = socket.gethostname()
    if not is_sweep(folder):
        raise SweepError(
            f"{host} does not see {folder}. A sweep must lie on a file system that all nodes share."
        )
    began = time.monotonic()
    status: Literal["done", "failed", "stopped"] = "done"
    reason = ""
    log = folder / job.name / LOG
    log.parent.mkdir(exist_ok=True)
    tries = _tries(log.parent)
    try:
        with log.open("a", buffering=1) as out:
            planned = planned_steps(job)
            command = shlex.join(["socketlab", "sweep", str(folder)])
            say = partial(print, file=out)
            run_all(
                planned,
                command=command,
                environment=environment,
                warm=warm,
                seconds=seconds,
                out=out,
                say=say,
            )
    except KernelDied:
        raise
    except (NotebookFailed, RunError, OSError, ValueError) as error:
        reason = str(error)
        status = refuse(job, folder, reason).status
    before = status == "done" and _tries(log.parent) == tries
    if not before:
        try:
            write_report(log.parent)
        except (OSError, ValueError) as error:
            reason = reason or f"its report could not be written: {error}"
    return Outcome(job.name, status, reason, time.monotonic() - began, host, before)


def _tries(folder: Path) -> int:
    """How often its notebooks were begun."""
    return len(Run(folder).read().tries) if (folder / "run.json").is_file() else 0


def refuse(job: Job, folder: Path, reason: str) -> Outcome:
    """Write down why a job failed, where its own record does not say it already."""

    def change(record: Record) -> None:
        if record.status not in ("failed", "stopped") or not record.reason:
            record.status, record.reason = "failed", reason

    status: Literal["failed", "stopped"] = "failed"
    try:
        if Run(folder / job.name).change(change).status == "stopped":
            status = "stopped"  # NaN losses, or by hand: it says so itself
    except (RunError, OSError) as error:
        reason = f"{reason}; its record cannot be written: {error}"
    return Outcome(job.name, status, reason)


def lacking(job: Job, needed: Iterable[Outcome]) -> str:
    """Why a job cannot be done: what it needs failed; nothing where all is there."""
    for outcome in needed:
        if outcome.status != "done":
            return f"needs {outcome.name}, which {outcome.status}: {outcome.reason}"
    return ""
