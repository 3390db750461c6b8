"""A sweep's file: a grid of parameters, and the runs that it asks for. Loads no torch."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from socketlab.runs.parameters import ParameterError, notebook_name
from socketlab.runs.planning import Planned, plan, read_parameter_file
from socketlab.runs.shared_parameters import Name
from socketlab.runs.sweeps.record import SweepError

LONGEST_NAME = 80  # of a run, which is also a folder

Point = dict[str, Any]
"""The values that make one run: parameter names, dotted ones for those inside a mapping."""


class Resources(BaseModel):
    """What one run is given.

    Attributes:
        cpus: cores, and threads of its libraries.
        gpus: how many, or a part of one; `auto` is one where there are some.
        memory: of the machine, in GiB; 0 asks for none in particular.
        hours: that a notebook may take. Then it is told to save and end, or killed if it hangs,
            and begun again as after a kill. None sets no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: int = Field(1, ge=1)
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    memory: float = Field(0, ge=0)
    hours: float | None = Field(None, gt=0)

    @property
    def seconds(self) -> float | None:
        """`hours`, in seconds."""
        return None if self.hours is None else 3600 * self.hours

    @model_validator(mode="after")
    def _whole_or_part(self) -> Self:
        if self.gpus != "auto" and self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus {self.gpus}: give a part of one, or a whole number")
        return self


class SweepFile(BaseModel):
    """What a sweep's file may hold.

    Attributes:
        sweep: its name; its folder is `runs_dir/<sweep>`.
        notebooks: what every run executes, in this order.
        parameters: what all runs share.
        grid: by parameter, the values that are combined with all others.
        include: runs beside those of the grid, each with its own values.
        exclude: runs of the grid that have all these values are left out.
        resources: what one run is given.
        retries: how often a run is begun again whose process died, or took too long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sweep: Name
    notebooks: list[str] = Field(["05_transfer"], min_length=1)
    parameters: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    include: list[Point] = []
    exclude: list[Point] = []
    resources: Resources = Resources()
    retries: int = Field(3, ge=0)

    @model_validator(mode="after")
    def _can_be_expanded(self) -> Self:
        for name in self.notebooks:
            try:
                notebook_name(name)
            except ParameterError as unknown:
                raise ValueError(str(unknown)) from None
        for name in ("run", "shared"):
            if any(name in values for values in (self.parameters, self.grid, *self.include)):
                raise ValueError(f"{name!r} is set by the sweep for each run; leave it out")
        if any("runs_dir" in values for values in (self.grid, *self.include)):
            raise ValueError("all runs of a sweep lie in one runs_dir; name it in `parameters`")
        if not self.grid and not self.include:
            raise ValueError("nothing to run: give `grid`, `include` or both")
        return self


def read_sweep_file(path: Path) -> SweepFile:
    """The content of a sweep's file.

    Raises:
        SweepError: naming the file, each wrong entry and the value found.
    """
    try:
        return SweepFile.model_validate(read_parameter_file(path))
    except ValidationError as error:
        lines = []
        for found in error.errors():
            where = ".".join(str(part) for part in found["loc"])
            message = str(found["msg"]).removeprefix("Value error, ")
            if found["type"] == "extra_forbidden":
                message = f"no such entry; known: {', '.join(SweepFile.model_fields)}"
            lines.append(f"{path}: {where}: {message}." if where else f"{path}: {message}.")
        raise SweepError("\n".join(lines)) from None


def points(given: SweepFile) -> list[Point]:
    """Every combination of the grid that is not excluded, then what is included beside it.

    Raises:
        SweepError: for an `exclude` that leaves nothing out, and for a run that is asked for twice.
    """
    names = list(given.grid)
    combined = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*given.grid.values())
    ]
    combined = combined if names else []
    for left_out in given.exclude:
        if not any(_matches(point, left_out) for point in combined):
            raise SweepError(
                f"exclude {left_out} matches no run of the grid, which has {', '.join(names)}. "
                "Correct it or take it out."
            )
    kept = [point for point in combined if not any(_matches(point, e) for e in given.exclude)]
    found = kept + [dict(point) for point in given.include]
    for number, point in enumerate(found):
        if point in found[:number]:
            raise SweepError(f"{point} is asked for twice. Take one of them out of `include`.")
    return found


def _matches(point: Point, values: Mapping[str, Any]) -> bool:
    return all(name in point and point[name] == value for name, value in values.items())


def run_name(point: Point) -> str:
    """`socket-a.depth-seed0`: the values of a point, so that a person finds the run.

    Numbers and switches carry the last part of their parameter's name. What a folder's name cannot
    hold, or is too long, is replaced by a digest of it.
    """
    words = [_word(name, value) for name, value in point.items()]
    name = "-".join(words)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}-{_digest(point)}"


def _word(name: str, value: Any) -> str:
    last = name.rpartition(".")[2]
    if isinstance(value, str):
        return _plain(value) or f"{last}{_digest(value)}"
    if isinstance(value, bool | int | float):
        return _plain(f"{last}{value}")
    return f"{last}{_digest(value)}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", ".", text).strip("._-")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def planned_run(
    given: SweepFile, point: Point, *, name: str, folder: str, shared: str
) -> list[Planned]:
    """The notebooks of one run, their parameters checked.

    Args:
        given: the sweep's file.
        point: the values that make this run.
        name: of the run.
        folder: the sweep's, in which the run's own lies.
        shared: the folder of the stages that all runs share.

    Raises:
        ParameterError: naming what is wrong and what is known.
    """
    steps = [notebook_name(notebook) for notebook in given.notebooks]
    own = {"run": name, "runs_dir": folder, "shared": shared}
    return plan([], {**given.parameters, "steps": steps}, {**point, **own})


def named_points(given: SweepFile) -> dict[str, Point]:
    """The points by the names of their runs.

    Raises:
        SweepError: where two runs would be called alike, naming them.
    """
    found: dict[str, Point] = {}
    for point in points(given):
        name = run_name(point)
        if name in found:
            name = f"{name}-{_digest(point)}"
        found[name] = point
    return found
