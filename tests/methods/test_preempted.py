"""Every method, asked to end within an epoch, goes on from that step as if nobody had asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods import REGISTRY, method_class
from socketlab.training.controls import Preempted
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls

Begin = Callable[..., Any]
# What a method remembers within an epoch, and what the beginning of an epoch decides.
OPTIONS: dict[str, dict[str, Any]] = {
    "shot": {"elr": True, "weighting": "jmds"},
    "socket": {"statistics_gate": True, "one_pass": True, "pair_statistics": "moving"},
    "translated": {"adversary": "patches", "statistics_weight": 0.1, "information_start": 0.0},
}
TRAINED = [
    name
    for name in REGISTRY
    if method_class(name).options_model.model_fields["epochs"].annotation is int
]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", TRAINED)
def test_a_preempted_training_goes_on_from_its_step_to_the_same_weights(
    name: str, views: Views, begin: Begin, tmp_path: Path
) -> None:
    """Preempted twice: after the 2nd step of 6, in the first epoch, and after the 5th."""
    options = OPTIONS.get(name, {})
    whole = begin(name, views, **options).finish()
    state, taken = StateFile(tmp_path / "state.pt", "fingerprint"), []
    for last in (2, 5):
        controls = Controls()
        part = begin(name, views, state=state, controls=controls, **options)
        while not part.taken or part.taken[-1].step < last:
            part.taken.append(next(part.steps))
        controls.preempt()
        with pytest.raises(Preempted, match="run again to go on"):
            next(part.steps)
        taken += part.taken
        torch.manual_seed(99)
    rest = begin(name, views, state=state, **options).finish()
    taken += rest.taken
    assert [(s.kind, s.step) for s in taken] == [(s.kind, s.step) for s in whole.taken]
    for found, wanted in zip(taken, whole.taken, strict=True):
        assert {k: float(v) for k, v in found.terms.items()} == {
            k: float(v) for k, v in wanted.terms.items()
        }
        assert found.look == wanted.look and found.learning_rates == wanted.learning_rates
    assert same(rest.weights, whole.weights)
    assert same(rest.method.memory, whole.method.memory)
