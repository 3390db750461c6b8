"""What every measure asks of features: unit rows, a chunk of cosines at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from socketlab.gap import pairs
from socketlab.gap.distributions import mmd, uniformity
from socketlab.gap.neighbours import mutual_neighbours, neighbour_mixing, retrieval
from socketlab.gap.pairs import normalise

Array = npt.NDArray[np.float64]


def _unit(rows: Array) -> Array:
    return np.stack([row / np.sqrt(np.dot(row, row)) for row in rows])


def _small(seed: int = 0, n: int = 14, d: int = 5) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, d)) + 0.3
    return x, 2 * x + 0.8 * draw.standard_normal((n, d)) + 0.2


def test_normalise_matches_a_loop_and_keeps_extreme_rows() -> None:
    x, _ = _small()
    x[0] *= 1e-200
    x[1] *= 1e200
    expected = _unit(np.concatenate([x[:1] * 1e200, x[1:2] * 1e-200, x[2:]]))
    np.testing.assert_allclose(normalise(x).numpy(), expected, rtol=1e-12)


def test_normalise_leaves_its_input_alone_and_takes_any_float_type() -> None:
    x, _ = _small()
    frozen = x.astype(np.float32)
    frozen.flags.writeable = False
    before = frozen.copy()
    unit = normalise(frozen)
    unit += 1
    np.testing.assert_array_equal(frozen, before)
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    assert not normalise(tensor).requires_grad
    np.testing.assert_allclose(normalise(tensor.bfloat16()).numpy(), _unit(x), atol=0.01)


def test_chunks_do_not_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _small()

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
    monkeypatch.setattr(pairs, "CHUNK_ROWS", 3)
    sizes = [len(chunk) for _, chunk in pairs.cosine_chunks(normalise(x), normalise(y))]
    assert sizes == [3, 3, 3, 3, 2]
    assert numbers() == pytest.approx(whole, rel=1e-12)
