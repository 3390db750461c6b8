"""How far one run is, as its folder tells it. Loads no torch.

`run.json` says how a run ended; whether somebody is at work, a lock says that the operating system
frees when its holder dies. Times are those that the run measured; no clock is asked.
"""

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from socketlab.runs.entries import Part, Record
from socketlab.runs.sweeps.record import Job, Kind

State = Literal["running", "failed", "stopped", "interrupted", "damaged", "waiting", "done"]
"""`interrupted`: at work by its record, and nobody is. `damaged`: its record cannot be read."""

TROUBLE: Final = ("failed", "stopped", "interrupted", "damaged")
IN_NOTEBOOK: Final = "in a notebook?"
LOCK: Final = ".working"
_KILLED: Final = "killed, or its machine went down; run it again to go on"


@dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        run: its name; `folder` is where it lies, `sweep` the name of its sweep, if any.
        kind: what it is in its sweep; a run of its own is a `run`.
        notebook, stage: what it is at work on, or was last.
        epoch, epochs, step, steps: how far that training is, and how far it is to go; 0 if none.
        accuracy: in [0, 1] at the end of that epoch; `source_only` beside it. None if not known.
        device: `cpu`, `cuda (NVIDIA H200)`; `host` is the machine.
        seconds: time taken so far, as measured; `left` what is left of it, or None if unknown.
        reason: why it is not done, in one line.
        tries: how often it was begun.
        point: the values of the sweep's grid that make this run.
    """

    run: str
    folder: Path
    state: State
    sweep: str = ""
    kind: Kind = "run"
    notebook: str = ""
    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    accuracy: float | None = None
    source_only: float | None = None
    device: str = ""
    host: str = ""
    seconds: float = 0.0
    left: float | None = None
    reason: str = ""
    tries: int = 0
    point: dict[str, Any] = field(default_factory=dict)


def read_status(folder: Path, sweep: str = "", job: Job | None = None) -> RunStatus:
    """How far the run in a folder is; with a `job`, as a part of a sweep.

    Without a record it is `waiting`; nothing that lies in the folder makes this fail.
    """
    about: dict[str, Any] = {"run": folder.name, "folder": folder, "sweep": sweep}
    if job is not None:
        about |= {"kind": job.kind, "point": job.point}
    try:
        record = _record(folder / "run.json")
        state, reason = _state(folder, record)
        if state == "interrupted" and (again := _record(folder / "run.json")) is not record:
            record, (state, reason) = again, _state(folder, again)  # it ended meanwhile
    except FileNotFoundError:
        return RunStatus(**about, state="waiting")
    except (ValidationError, OSError) as problem:
        why = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else problem
        reason = f"run.json cannot be read ({_one_line(why)}); remove the folder and run again"
        return RunStatus(**about, state="damaged", reason=reason)
    notebook, (stage, part) = _notebook(record), _stage(record)
    own = sum(part.seconds for part in record.stages.values() if not part.taken_from)
    measured = max(record.seconds, sum(part.seconds for part in record.notebooks.values()))
    last = record.tries[-1] if record.tries else None
    return RunStatus(
        **about,
        state=state,
        reason=_one_line(reason),
        notebook=notebook,
        stage=stage,
        epoch=part.epoch,
        epochs=part.epochs,
        step=part.step,
        steps=part.steps,
        accuracy=_accuracy(record, stage, part),
        source_only=_source_only(record, stage),
        device=record.device.get("name", ""),
        host=last.host if last else "",
        seconds=record.seconds if state == "done" else max(measured, own),
        left=part.seconds / part.step * (part.steps - part.step)
        if state == "running" and part.status == "running" and part.step
        else None,
        tries=len(record.tries),
    )


def _record(file: Path) -> Record:
    found = file.stat()
    return _parsed(file, (found.st_ino, found.st_mtime_ns, found.st_size))


@functools.lru_cache(maxsize=1024)
def _parsed(file: Path, stamp: tuple[int, int, int]) -> Record:
    """A live table asks every two seconds: what has not been replaced is not read again."""
    return Record.model_validate_json(file.read_bytes())


def _state(folder: Path, record: Record) -> tuple[State, str]:
    if record.status != "running":
        return record.status, record.reason
    training = [name for name, part in record.stages.items() if part.status == "running"]
    locks = [folder / "state" / f".{name}.lock" for name in training]
    if any(is_held(lock) for lock in (folder / LOCK, *locks)):
        return "running", ""
    last = record.tries[-1] if record.tries else None
    let_go = any(lock.exists() for lock in locks)
    if let_go or (last is not None and not last.ended):
        return "interrupted", _KILLED
    return "running", IN_NOTEBOOK  # its kernel holds a lock only while it trains


def is_held(lock: Path) -> bool:
    """Whether somebody holds a lock; asking takes it for a moment where nobody does."""
    if not lock.exists():
        return False
    probe = FileLock(lock)
    try:
        probe.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:  # somebody else's folder, which may not be written to
        return not os.access(lock, os.W_OK)
    probe.release()
    return False


def _notebook(record: Record) -> str:
    open_parts = [name for name, part in record.notebooks.items() if part.status != "done"]
    last = record.tries[-1].notebook if record.tries else ""
    if last in open_parts:
        return last
    return open_parts[0] if open_parts else next(reversed(record.notebooks), "")


def _stage(record: Record) -> tuple[str, Part]:
    """What is trained now; else what went wrong; else what was made last."""
    stages = list(record.stages.items())
    for wanted in ("running", "failed", "stopped"):
        for name, part in reversed(stages):
            if part.status == wanted:
                return name, part
    floors = [item for item in stages if item[0].startswith("source_only-")]
    made = [item for item in stages if item not in floors and not item[1].taken_from]
    found = made or floors or stages
    return found[-1] if found else ("", Part(status="done"))


def _accuracy(record: Record, stage: str, part: Part) -> float | None:
    if part.accuracy is not None:
        return part.accuracy
    rows = [row for row in record.results if (row.stage, row.chosen_by) == (stage, "last")]
    return rows[-1].accuracy if rows and part.status != "running" else None


def _source_only(record: Record, stage: str) -> float | None:
    """Of the same sources, target, protocol and seed, which a stage's name ends with."""
    for row in record.results:
        rest = row.stage.removeprefix("source_only")
        if row.method == "source_only" and row.stage != stage and stage.endswith(rest):
            return row.accuracy
    return None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
