"""How a run is done once more: its notebooks with the parameters that it has recorded of itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from socketlab.runs.entries import Changed, Record
from socketlab.runs.parameters import (
    NOTEBOOKS,
    Compare,
    ParameterError,
    TrainTranslator,
    TransferParameters,
    WithMethods,
    validate,
)
from socketlab.runs.planning import Planned
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip
from socketlab.runs.steering import asked_changes, count_by_hand
from socketlab.runs.translators import translator_name

SOURCE: Final = "02_train_source"
_MAKE_SOURCES: Final = (SOURCE, "06_compare")
_NEED_SOURCES: Final = ("03_modality_gap", "04_train_translator", "05_transfer")
# What decides which source model a notebook asks for, beside the seed and the crop in pixels.
_OF_SOURCE: Final = (
    "data", "scenes_seed", "size", "protocol", "source", "sources", "backbone", "weights",
    "source_model", "source_options", "options_by_source",
)  # fmt: skip
MAY_DIFFER: Final = (
    "device", "dtype", "compile", "devices", "deterministic", "root", "data_dir",
)  # fmt: skip
"""Parameters that a repetition may be given anew: how and where it is computed, never what."""


class RepeatError(ValueError):
    """A run that cannot be repeated."""


@dataclass(frozen=True)
class RepeatPlan:
    """What is run to repeat a run.

    Attributes:
        planned: its notebooks, in their order.
        threads: how many shared a sum in it; empty where it has not recorded that.
        notes: what will not be as it was, in sentences.
    """

    planned: tuple[Planned, ...]
    threads: str
    notes: tuple[str, ...]


def check_given(given: Mapping[str, Any]) -> None:
    """Whether a repetition may be given these parameters.

    Raises:
        ParameterError: naming one that would make it another experiment, and those that may differ.
    """
    for name in given:
        if name not in MAY_DIFFER:
            raise ParameterError(
                f"A repetition cannot be given {name!r}: it would be another experiment. It may "
                f"differ in {', '.join(MAY_DIFFER)}. For all else start a run: socketlab run."
            )


def plan_repeat(
    record: Record, place: Path, given: Mapping[str, Any], shared: str | None = None
) -> RepeatPlan:
    """The notebooks of a run, to be run once more into the run folder `place`.

    Parameters are those of the record and not today's defaults. Changes that were made by hand
    become parameters, where one can say them. A notebook that needs a source model which another
    run has made is preceded by one that trains it, unless it is found in `shared`.

    Args:
        record: of the run.
        place: the folder of its repetition.
        given: parameters that differ, of `MAY_DIFFER`.
        shared: folder of the finished stages of a sweep that is repeated as a whole.

    Raises:
        RepeatError: if the run is not done, saying how to finish it, or says too little of itself.
        ParameterError: if a parameter is not known any more, or may not be given.
    """
    check_given(given)
    if record.status != "done":
        how = f" Finish it first: {record.command}" if record.command else " Finish it first."
        raise RepeatError(
            f"Run {record.name!r} is {record.status}{f' ({record.reason})' * bool(record.reason)}, "
            f"so there is nothing yet to compare with.{how}"
        )
    missing = [part for part in record.notebooks if part not in record.configuration]
    if missing or not record.notebooks:
        raise RepeatError(
            f"Run {record.name!r} has not recorded the parameters of {', '.join(missing) or 'it'}. "
            "It was made by another version; run it anew with its parameter file."
        )
    here = {"run": place.name, "runs_dir": str(place.parent), "shared": shared}
    planned = []
    for part in record.notebooks:
        notebook = _notebook_of(part)
        model = NOTEBOOKS[notebook]
        mine = {name: value for name, value in given.items() if name in model.model_fields}
        known = record.configuration[part] | here | {"tensorboard": False} | mine
        planned.append(Planned(notebook, validate(notebook, known), part))
    planned, notes = _with_changes(record, planned)
    if shared is None:
        planned = _with_sources(planned)
    return RepeatPlan(tuple(planned), record.device.get("threads", ""), tuple(notes))


def _notebook_of(part: str) -> str:
    for name in NOTEBOOKS:
        if part == name or part.startswith(f"{name}-"):
            return name
    raise RepeatError(f"{part!r} is no notebook. Known: {', '.join(NOTEBOOKS)}.")


def _with_changes(record: Record, planned: list[Planned]) -> tuple[list[Planned], list[str]]:
    """The same, which make again what was changed by hand; and what nobody can make again."""
    found, said = list(planned), set()
    for place, item in enumerate(planned):
        stage = _steered_stage(item)
        changes = record.changes.get(stage, [])
        if not _by_hand(changes, [item], stage) or _is_used_again(item, planned):
            continue
        values = item.parameters.model_dump(mode="json")
        values["changes"] = [changed.model_dump() for changed in changes]
        found[place] = replace(item, parameters=validate(item.notebook, values))
        said.add(stage)
    notes = [
        f"{count} change(s) made by hand to {stage} cannot be made again: its numbers will differ, "
        "and those of what was made of it"
        for stage, changes in record.changes.items()
        if stage not in said and (count := _by_hand(changes, planned, stage))
    ]
    return found, notes


def _by_hand(changes: Sequence[Changed], planned: Sequence[Planned], stage: str) -> int:
    asked = [
        changed
        for item in planned
        if _steered_stage(item) == stage and isinstance(item.parameters, WithMethods)
        for changed in asked_changes(item.parameters, item.parameters.used_methods()[0])
    ]
    return count_by_hand(changes, asked)


def _steered_stage(item: Planned) -> str:
    """The stage that a notebook's parameter `changes` is about; empty where it has none."""
    given = item.parameters
    if not isinstance(given, TransferParameters | TrainTranslator):
        return ""
    (name,) = given.used_methods()
    about = (given.source_domains, given.target, given.protocol, given.seed)
    return Trip(name, given.method_of(name), *about, given.options_of(name)).stage


def _is_used_again(item: Planned, planned: Sequence[Planned]) -> bool:
    """Whether another notebook asks for the same model: it would train it without the changes."""
    assert isinstance(item.parameters, WithMethods)
    (mine,) = item.parameters.used_methods()
    for other in planned:
        given = other.parameters
        if other is item or not isinstance(given, Compare | TransferParameters | TrainTranslator):
            continue
        used = given.used_methods()
        if mine in used or mine in [translator_name(given, name) for name in used]:
            return True
    return False


def _with_sources(planned: Sequence[Planned]) -> list[Planned]:
    """The same, with the training of every source model before it is needed."""
    found: list[Planned] = []
    made: set[str] = set()
    for item in planned:
        given = item.parameters
        if isinstance(given, Parameters):
            wanted = _source_keys(given)
            if item.notebook in _NEED_SOURCES and not wanted <= made:
                found.append(_training(given, [*planned, *found]))
            if item.notebook in _NEED_SOURCES + _MAKE_SOURCES:
                made |= wanted
        found.append(item)
    return found


def _source_keys(given: Parameters) -> set[str]:
    values = given.model_dump(mode="json")
    about = [values[name] for name in _OF_SOURCE] + [given.crop_pixels]
    seeds = given.seeds if isinstance(given, Compare) else [given.seed]
    return {json.dumps([*about, seed], sort_keys=True) for seed in seeds}


def _training(given: Parameters, planned: Sequence[Planned]) -> Planned:
    """Notebook 02 with what the source model of another notebook is to be, under a free name."""
    values = given.model_dump(mode="json")
    own = {name: values[name] for name in NOTEBOOKS[SOURCE].model_fields}
    taken, part, number = {item.part for item in planned}, SOURCE, 1
    while part in taken:
        number += 1
        part = f"{SOURCE}-{number}"
    return Planned(SOURCE, validate(SOURCE, own), part)
