"""Which notebooks are to be run with which parameters: all of it checked before any of it runs."""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socketlab.runs.parameters import NOTEBOOKS, ParameterError, notebook_name, read_yaml, validate
from socketlab.runs.places import at_home, home
from socketlab.runs.shared_parameters import RunParameters

LONGEST_WORD = 40  # of a value in a file's name


@dataclass(frozen=True)
class Planned:
    """One notebook to run: its name, its parameters, and the name of the executed copy."""

    notebook: str
    parameters: RunParameters
    part: str

    @property
    def fingerprint(self) -> str:
        """Hash of the notebook, its parameters, and the files that they name."""
        source = (home() / "notebooks" / f"{self.notebook}.ipynb").read_bytes()
        text = "".join([self.parameters.model_dump_json(), *self.parameters.contents]).encode()
        return hashlib.sha256(source + text).hexdigest()[:12]


def read_parameter_file(path: Path) -> dict[str, Any]:
    """A parameter file: values shared by all notebooks, and `steps`, a list of notebooks.

    A step is a notebook's name, or a mapping with `notebook` and what it alone is to have.

    Raises:
        ParameterError: if it is missing or holds something else.
    """
    if not path.is_file():
        raise ParameterError(f"Parameter file {str(path)!r} does not exist.")
    values = read_yaml(path.read_text(), repr(str(path)))
    if not isinstance(values, dict):
        raise ParameterError(f"{str(path)!r} must hold a mapping of parameters, found {values!r}.")
    return values


def plan(
    notebooks: Sequence[str], shared: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Planned]:
    """What is to be run, all parameters checked before anything is done.

    Args:
        notebooks: names or numbers; none means the file's steps, or else all in order.
        shared: the content of a parameter file.
        given: from the command line; they win. A dotted name reaches into a mapping.

    Raises:
        ParameterError: naming what is wrong and what is known.
    """
    values = {key: value for key, value in shared.items() if key != "steps"}
    listed = shared.get("steps", list(NOTEBOOKS))
    if not isinstance(listed, list):
        raise ParameterError(f"`steps` must be a list of notebooks, found {listed!r}.")
    steps = in_file = [_as_step(step) for step in listed]
    if notebooks:
        names = [notebook_name(name) for name in notebooks]
        chosen = [step for name in names for step in steps if step["notebook"] == name]
        missing = [name for name in names if name not in {s["notebook"] for s in chosen}]
        steps = chosen + [{"notebook": name} for name in missing]
    # One step of a file may be run alone, though the file has values for others.
    _check_known(set(values), [*steps, *in_file])
    _check_known({name.split(".")[0] for name in given}, steps)
    found: list[Planned] = []
    for step in steps:
        own = {key: value for key, value in step.items() if key != "notebook"}
        fields = NOTEBOOKS[step["notebook"]].model_fields
        usable = cell_defaults(step["notebook"])
        usable |= {key: value for key, value in values.items() if key in fields} | own
        for name, value in given.items():
            if name.split(".")[0] in fields:
                usable = _assign(usable, name.split("."), value)
        parameters = validate(step["notebook"], usable)
        found.append(Planned(step["notebook"], parameters, _part(step["notebook"], own)))
    parts = [planned.part for planned in found]
    twice = sorted({part for part in parts if parts.count(part) > 1})
    if twice:
        raise ParameterError(f"Two steps are both {twice[0]!r}: give one of them other parameters.")
    return found


def _as_step(step: Any) -> dict[str, Any]:
    if isinstance(step, str):
        return {"notebook": notebook_name(step)}
    if isinstance(step, dict) and isinstance(step.get("notebook"), str):
        return {**step, "notebook": notebook_name(step["notebook"])}
    raise ParameterError(f"A step is a notebook's name or a mapping with `notebook`, found {step}.")


def _check_known(names: set[str], steps: Sequence[Mapping[str, Any]]) -> None:
    known = {field for step in steps for field in NOTEBOOKS[step["notebook"]].model_fields}
    for name in sorted(names - known):
        # Validation words the error, with the nearest known name.
        validate(steps[0]["notebook"] if steps else "01_prepare_data", {name: None})


def _assign(values: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return values | {first: value}
    inner = values.get(first, {})
    return values | {first: _assign(inner if isinstance(inner, dict) else {}, rest, value)}


def _part(notebook: str, own: Mapping[str, Any]) -> str:
    """`05_transfer-socket-a.nir`: the notebook and the plain values that are its own.

    It names a file: what such a name cannot hold becomes a dot, and a long value keeps its end.
    """
    plain = [str(value) for value in own.values() if isinstance(value, str | int | float)]
    words = [re.sub(r"[^\w.+-]+", ".", text).strip(".")[-LONGEST_WORD:] for text in plain]
    return "-".join([notebook, *words])


def cell_defaults(notebook: str) -> dict[str, Any]:
    """The values in a notebook's own parameters cell, which a person may have changed.

    Raises:
        ParameterError: if the notebook is missing, or the cell holds more than plain values.
    """
    file = home() / "notebooks" / f"{notebook}.ipynb"
    if not file.is_file():
        raise ParameterError(
            f"Notebook {str(file)!r} does not exist. Run from the project's folder."
        )
    cells = json.loads(file.read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    values: dict[str, Any] = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body if tagged else []:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                try:
                    values[name] = ast.literal_eval(value)
                except ValueError as error:
                    raise ParameterError(
                        f"{file.name}: parameter {name!r} is not a plain value."
                    ) from error
    return values


def parse_given(pairs: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` words, each value read as plain YAML, a pattern of file names as it stands.

    Raises:
        ParameterError: naming a parameter whose value is none.
    """
    split = [pair.partition("=") for pair in pairs]
    # A pattern that begins with {id} is the beginning of a mapping to YAML.
    return {
        name: value if value.startswith("{id}") else read_yaml(value, f"Parameter {name!r}")
        for name, _, value in split
    }


def parameter_file(path: str | None) -> dict[str, Any]:
    """A parameter file's content, or nothing."""
    return read_parameter_file(at_home(path)) if path else {}
