"""What every measure asks of features: unit rows, a chunk of cosines at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from socketlab.gap import pairs
from socketlab.gap.distributions import mmd, uniformity
from socketlab.gap.neighbours import mutual_neighbours, neighbour_mixing, retrieval
from socketlab.gap.pairs import normalise
from socketlab.objectives.chunks import BUDGET_BYTES

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def test_normalise_matches_a_loop_and_keeps_extreme_rows(small: Small, unit: Unit) -> None:
    x, _ = small()
    x[0] *= 1e-200
    x[1] *= 1e200
    expected = unit(np.concatenate([x[:1] * 1e200, x[1:2] * 1e-200, x[2:]]))
    np.testing.assert_allclose(normalise(x).numpy(), expected, rtol=1e-12)


def test_normalise_leaves_its_input_alone_and_takes_any_float_type(
    small: Small, unit: Unit
) -> None:
    x, _ = small()
    frozen = x.astype(np.float32)
    frozen.flags.writeable = False
    before = frozen.copy()
    made = normalise(frozen)
    made += 1
    np.testing.assert_array_equal(frozen, before)
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    assert not normalise(tensor).requires_grad
    np.testing.assert_allclose(normalise(tensor.bfloat16()).numpy(), unit(x), atol=0.01)


def test_chunks_do_not_change_a_number(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = small()

    def numbers() -> list[float]:
        kernel = mmd(x, y, permutations=20)
        found = retrieval(x, y)
        return [
            found.x_to_y.median_rank,
            found.y_to_x.recall_at_1,
            neighbour_mixing(x, y, neighbours=4),
            mutual_neighbours(x, y, neighbours=4),
            kernel.squared,
            kernel.p_value,
            uniformity(x),
        ]

    whole = numbers()
    monkeypatch.setitem(BUDGET_BYTES, "cpu", 4 * 3 * len(x) * 8)
    sizes = [len(chunk) for _, chunk in pairs.cosine_chunks(normalise(x), normalise(y))]
    assert sizes == [3, 3, 3, 3, 2]
    assert numbers() == pytest.approx(whole, rel=1e-12)
