"""Measures stay where their features are: on a device made of the CPU, which mixes with no other.

There need not be a GPU: tensors that claim to be on torch's device without memory ("meta") hold
numbers on the CPU, and an operation between them and others fails, as it does between devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from socketlab.gap import distributions, metrics, neighbours, selection, separability
from socketlab.gap.pairs import normalise
from socketlab.gap.procrustes import align
from socketlab.gap.table import gap_table
from socketlab.objectives import joint_confidence, nearest, pseudo_labels

THERE = torch.device("meta")
BETWEEN = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class There(Tensor):
    """Numbers that claim to be on another device."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> There:
        found: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, numbers.shape, strides=numbers.stride(), dtype=numbers.dtype, device=THERE
        )
        found.numbers = numbers
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of Apart")


class Apart(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it THERE is a device like any other."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in given if isinstance(tensor, There)]
        here = [tensor for tensor in given if tensor.ndim and not isinstance(tensor, There)]
        if there and here and func not in BETWEEN:
            raise RuntimeError(f"{func}: all tensors are expected to be on the same device")
        goes = bool(there)
        if kwargs.get("device") is not None:
            goes, kwargs["device"] = torch.device(kwargs["device"]) == THERE, torch.device("cpu")
        args, kwargs = tree_map(
            lambda leaf: leaf.numbers if isinstance(leaf, There) else leaf, (args, kwargs)
        )
        return tree_map(
            lambda leaf: There(leaf) if goes and isinstance(leaf, Tensor) else leaf,
            func(*args, **kwargs),
        )


def halves() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=draw)
    return x, x + 0.5 * torch.randn(40, 5, generator=draw)


def measured(x: Tensor, y: Tensor) -> list[float]:
    rows = gap_table(x, y, seeds=(0, 1), sample=30, bootstrap=20, measures="all")
    assert not [row for row in rows if row.n == 0]
    return [number for row in rows for number in (row.value, row.low, row.high)]


def unequal(x: Tensor, y: Tensor) -> list[float]:
    rows = gap_table(x, y[:35], seeds=(0,), sample=30, bootstrap=20, measures="all")
    return [number for row in rows if row.n for number in (row.value, row.low, row.high)]


def refused(x: Tensor, y: Tensor) -> list[float]:
    for wrong, said in ((x / 0, "NaN or infinity"), (x * 0, "zero rows")):
        with pytest.raises(ValueError, match=said):
            normalise(wrong)
    return []


FLOATS: dict[str, Callable[[Tensor, Tensor], float | list[float]]] = {
    "gap_table": measured,
    "gap_table of unequal numbers": unequal,
    "normalise, of bad rows": refused,
    "centroid_gap": metrics.centroid_gap,
    "pair_gap": lambda x, y: metrics.pair_gap(x, y).residual,
    "relative_modality_gap": metrics.relative_modality_gap,
    "linear_cka": metrics.linear_cka,
    "mmd": lambda x, y: distributions.mmd(x, y, permutations=9).p_value,
    "mmd of unequal numbers": lambda x, y: distributions.mmd(x, y[:30], permutations=9).squared,
    "frechet_distance": distributions.frechet_distance,
    "uniformity": lambda x, y: distributions.uniformity(x),
    "retrieval": lambda x, y: neighbours.retrieval(x, y).x_to_y.median_rank,
    "neighbour_mixing": lambda x, y: neighbours.neighbour_mixing(x, y, neighbours=4),
    "mutual_neighbours": lambda x, y: neighbours.mutual_neighbours(x, y, neighbours=4),
    "proxy_a_distance": lambda x, y: separability.proxy_a_distance(x, y[:30]),
    "align": lambda x, y: align(x, y).kept_x,
}

TENSORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "normalise": lambda x, y: normalise(x),
    "modality_guesses": separability.modality_guesses,
    "partner_ranks": neighbours.partner_ranks,
    "soft_neighbourhood_density": lambda x, y: selection.soft_neighbourhood_density(x),
    "nuclear_norm": lambda x, y: selection.nuclear_norm(x),
    "pair_retrieval": selection.pair_retrieval,
    "pair_distance": selection.pair_distance,
    "nearest": lambda x, y: nearest(x, x, 3, torch.arange(40, device=x.device)),
    "pseudo_labels": lambda x, y: pseudo_labels(x, y.softmax(1), rounds=3).labels,
    "similarity": lambda x, y: pseudo_labels(x, y.softmax(1), rounds=3).similarity,
    "joint_confidence": lambda x, y: joint_confidence(x, y.softmax(1), y.argmax(1)),
}


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no such device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


@pytest.mark.parametrize("name", FLOATS)
def test_a_measure_mixes_no_devices_and_is_the_same_number(name: str) -> None:
    x, y = halves()
    with Apart():
        found = FLOATS[name](There(x), There(y))
    assert found == pytest.approx(FLOATS[name](x, y), rel=1e-9, nan_ok=False)
    assert all(isinstance(number, float) and math.isfinite(number) for number in tree_leaves(found))


@pytest.mark.parametrize("name", TENSORS)
def test_what_has_a_number_for_every_row_stays_on_the_device(name: str) -> None:
    x, y = halves()
    with Apart():
        found = TENSORS[name](There(x), There(y))
    assert isinstance(found, There)
    torch.testing.assert_close(found.numbers, TENSORS[name](x, y))


def test_devices_that_mix_are_noticed() -> None:
    """Else the tests above would say nothing."""
    x, _ = halves()
    with Apart():
        assert isinstance(There(x) + 1, There)
        assert not isinstance(There(x).cpu(), There)
        with pytest.raises(RuntimeError, match="same device"):
            There(x).mul(x)
        with pytest.raises(RuntimeError, match="same device"):
            There(x)[torch.arange(3)]
