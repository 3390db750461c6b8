"""`sweep.json`: what a sweep is to do; how far each run is stands in that run's own folder."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from socketlab.data.whole_files import replace_file

Kind = Literal["data", "source", "translator", "run"]


class SweepError(ValueError):
    """A sweep that cannot be planned, read or run."""


class Job(BaseModel):
    """One run of a sweep: notebooks, one after another, into one run folder.

    Attributes:
        name: of the run, whose folder lies in the sweep's.
        kind: what the grid asks for is a `run`; `data`, `source` and `translator` are made once
            for all runs that need them.
        steps: notebooks with all that their parameters differ in from the notebook's own.
        after: names of the jobs that must be done before.
        point: the values of the grid that make this run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind = "run"
    steps: list[tuple[str, dict[str, Any]]]
    after: list[str] = []
    point: dict[str, Any] = {}


class SweepRecord(BaseModel):
    """What `sweep.json` holds.

    Attributes:
        file: the content of the sweep's file.
        command: as it was last started.
        engine: `local` or `ray`, as it was last started.
        created: wall clock, for people.
        jobs: all of them, in the order in which they may be done.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    created: str
    command: str = ""
    engine: str = ""
    file: dict[str, Any] = Field({})
    jobs: list[Job] = []


def record_file(folder: Path) -> Path:
    """Where the record of a sweep is."""
    return folder / "sweep.json"


def is_sweep(folder: Path) -> bool:
    """Whether that is the folder of a sweep."""
    return record_file(folder).is_file()


def read_sweep(folder: Path) -> SweepRecord:
    """The record of a sweep.

    Raises:
        SweepError: if there is none or it cannot be read, naming the file.
    """
    file = record_file(folder)
    try:
        return SweepRecord.model_validate_json(file.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise SweepError(f"{file} is no record of a sweep ({error}). Start it again.") from error


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Replace the record of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(record_file(folder), record.model_dump_json(indent=2).encode())
