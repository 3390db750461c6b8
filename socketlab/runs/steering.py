"""Changes that were made to a training by hand: written down at once, and made again."""

from collections import Counter
from collections.abc import Iterable, Sequence

from socketlab.methods import check_options, method_class
from socketlab.runs.entries import Changed
from socketlab.runs.record import Record, Run
from socketlab.runs.shared_parameters import Parameters
from socketlab.training.controls import WEIGHT, Change
from socketlab.training.steps import Step


def changes_of(run: Run, stage: str) -> list[Changed]:
    """What was changed while a stage trained, in the order of its steps."""
    return run.read().changes.get(stage, [])


def record_changes(run: Run, stage: str, changes: Sequence[Change]) -> None:
    """Add what took effect with a step to the changes of a stage."""
    added = [Changed(step=c.step, name=c.name, value=c.value) for c in changes]

    def change(record: Record) -> None:
        record.changes[stage] = [*record.changes.get(stage, []), *added]

    if added:
        run.change(change)


def forget_changes(run: Run, stage: str, begin: int) -> None:
    """Drop the changes of a stage at step `begin` and later: the training is at that step again."""

    def change(record: Record) -> None:
        kept = [changed for changed in record.changes.pop(stage, []) if changed.step < begin]
        if kept:
            record.changes[stage] = kept

    if any(changed.step >= begin for changed in changes_of(run, stage)):
        run.change(change)


def steps_before(step: Step) -> int:
    """How many steps had been taken when the loop began what `step` tells."""
    return step.step - (step.kind == "step")


def asked_changes(parameters: Parameters, name: str) -> list[Changed]:
    """The changes that the parameters ask for in the training of a method or variant `name`."""
    asked: list[Changed] = getattr(parameters, "changes", [])
    return list(asked) if name in parameters.used_methods() else []


def as_changes(asked: Iterable[Changed]) -> list[Change]:
    """The same as the loop takes them."""
    return [Change(changed.step, changed.name, changed.value) for changed in asked]


def count_by_hand(recorded: Iterable[Changed], asked: Iterable[Changed]) -> int:
    """How many of the recorded changes no parameter has asked for."""
    return (Counter(recorded) - Counter(asked)).total()


def check_changes(parameters: Parameters) -> None:
    """Whether the terms exist that the parameters ask to change; before anything is trained.

    Raises:
        ValueError: naming the unknown term, the method and the terms that it has.
    """
    for name in parameters.used_methods():
        method = parameters.method_of(name)
        asked = asked_changes(parameters, name)
        if not asked:
            continue
        found = method_class(method)
        # Made without its images, which are not there yet: the options alone decide the terms.
        unfitted = found.__new__(found)
        unfitted.options = check_options(method, parameters.options_of(name))
        terms = unfitted.term_weights()
        for changed in asked:
            term = changed.name.removeprefix(WEIGHT)
            if term != changed.name and term not in terms:
                known = ", ".join(terms) or "none"
                raise ValueError(
                    f"changes: {method!r} has no loss term {term!r} with these options. "
                    f"Known: {known}."
                )
