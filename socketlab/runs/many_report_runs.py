"""The runs that a report of several is about: who they are, how far, and what they were asked."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from socketlab.runs.entries import Record
from socketlab.runs.folders import find_folder
from socketlab.runs.report_values import plain
from socketlab.runs.run_status import RunStatus
from socketlab.runs.sweep_status import status_rows
from socketlab.runs.sweeps.record import SweepRecord, is_sweep, read_sweep

DEFAULT: Final = "default"
# What a row of the results says of itself, and what decides no number.
_SAID_ELSEWHERE: Final = frozenset(
    {"method", "methods", "source", "sources", "target", "targets", "protocol", "protocols"}
    | {"seed", "seeds", "data", "run", "runs_dir", "data_dir", "shared", "root", "tensorboard"}
    | {"translator", "film"}
)


@dataclass(frozen=True)
class Member:
    """One run of a report.

    Attributes:
        name: as the report calls it: no two have the same.
        folder: where it lies; it may not be there yet.
        record: its `run.json`; an empty one where there is none that can be read.
        status: how far it is.
        parameters: by dotted name, what all its notebooks agree on, and its point in the grid.
    """

    name: str
    folder: Path
    record: Record
    status: RunStatus
    parameters: Mapping[str, Any]

    @property
    def data(self) -> str:
        """The name of its data set."""
        given = str(self.parameters.get("data", ""))
        return Path(given).stem if given.endswith((".yaml", ".yml")) else given


@dataclass(frozen=True)
class Selection:
    """What a report is about: runs, and the sweep that they are, where they are one."""

    title: str
    members: tuple[Member, ...]
    folder: Path
    sweep: SweepRecord | None = None

    @property
    def differing(self) -> tuple[str, ...]:
        """The parameters that differ between the runs and that no row says of itself."""
        asked = [m.parameters for m in self.members if m.record.results and m.status.kind == "run"]
        names = dict.fromkeys(name for given in asked for name in given)
        return tuple(
            name
            for name in names
            if name.partition(".")[0] not in _SAID_ELSEWHERE
            and len({value_of(given, name) for given in asked} - {None}) > 1
        )


def value_of(parameters: Mapping[str, Any], name: str) -> str | None:
    """A parameter in words; None where the notebooks have no such one.

    What lies inside a mapping and is not given there has its default.
    """
    if name in parameters:
        return plain(parameters[name])
    return DEFAULT if "." in name else None


def select(words: Sequence[str | Path]) -> Selection:
    """The runs of these folders or names; a sweep counts as all its runs.

    Raises:
        ValueError: for no word, and where nothing of such a name is there.
        SweepError: for the record of a sweep that cannot be read.
    """
    if not words:
        raise ValueError("No run is named. Give runs or sweeps, by name or folder.")
    folders = list(dict.fromkeys(find_folder(word).resolve() for word in words))
    inside: dict[Path, RunStatus] = {}
    for folder in folders:
        inside |= {status.folder: status for status in status_rows(folder)}
    base = Path(os.path.commonpath([folder.parent for folder in folders]))
    sweep = read_sweep(folders[0]) if len(folders) == 1 and is_sweep(folders[0]) else None
    if sweep is not None:
        base = folders[0]
    names = _names(list(inside), base)
    members = tuple(
        _member(name, status) for name, status in zip(names, inside.values(), strict=True)
    )
    title = folders[0].name if len(folders) == 1 else ", ".join(folder.name for folder in folders)
    title = title if len(title) <= 60 else f"{len(folders)} runs and sweeps"
    return Selection(title, members, folders[0] if len(folders) == 1 else base, sweep)


def _names(folders: Sequence[Path], base: Path) -> list[str]:
    """The folders' own names where these tell them apart, else from the common folder on."""
    names = [folder.name for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [folder.relative_to(base).as_posix() for folder in folders]


def _member(name: str, status: RunStatus) -> Member:
    try:
        record = Record.model_validate_json((status.folder / "run.json").read_bytes())
    except (OSError, ValidationError):  # its status says so
        record = Record(name=name, created="")
    parameters = _agreed(record.configuration.values()) | flat(status.point)
    return Member(name, status.folder, record, status, parameters)


def _agreed(configurations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the notebooks of a run have in common, by dotted name."""
    found: dict[str, Any] = {}
    refused = set()
    for given in map(flat, configurations):
        refused |= {name for name in found.keys() & given.keys() if found[name] != given[name]}
        found |= given
    return {name: value for name, value in found.items() if name not in refused}


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted name; an empty mapping and None say nothing."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}.")
        elif value is not None:
            found[f"{above}{name}"] = value
    return found
