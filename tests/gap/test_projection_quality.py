"""Trustworthiness and neighbour agreement against loops over their definitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from socketlab.gap.projection_quality import plane_quality

Array = npt.NDArray[np.float32]


def _order(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """All other rows by distance, nearest first: [n, n - 1]."""
    squares = (rows**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * rows @ rows.T
    np.fill_diagonal(distance, -1)
    return np.argsort(distance, axis=1)[:, 1:]


def _groups(n: int) -> tuple[Array, Array]:
    rows = np.random.default_rng(0).standard_normal((n, 5)).astype(np.float32)
    return rows, rows[:, :2].copy()


@pytest.mark.parametrize(("n", "k"), [(12, 5), (40, 15), (1100, 15)])
def test_both_figures_match_their_definitions(n: int, k: int) -> None:
    joint, plane = _groups(n)
    # Above 1000 points: of a seeded sample, which is compared within itself for
    # trustworthiness, and with all rows for the agreement.
    sample = np.random.default_rng(3).permutation(n)[:1000]
    trust, agreement = plane_quality(joint, plane, seed=3)

    among = [_order(space[sample].astype(np.float64)) for space in (joint, plane)]
    m, penalty = len(sample), 0
    for i in range(m):
        rank = np.empty(m, dtype=int)
        rank[among[0][i]] = np.arange(1, m)
        penalty += sum(max(0, int(rank[j]) - k) for j in among[1][i, :k])
    assert trust == pytest.approx(1 - 2 / (m * k * (2 * m - 3 * k - 1)) * penalty, abs=1e-6)

    in_features, in_plane = (_order(space.astype(np.float64)) for space in (joint, plane))
    shared = sum(len(set(in_features[i, :k]) & set(in_plane[i, :k])) for i in sample)
    assert agreement == pytest.approx(shared / (m * k), abs=1e-6)


def test_a_plane_that_is_the_features_loses_nothing_and_a_shuffled_one_nearly_all() -> None:
    plane = _groups(300)[1]
    assert plane_quality(plane, plane, seed=0) == (1.0, 1.0)
    trust, agreement = plane_quality(plane, np.random.default_rng(1).permutation(plane), seed=0)
    assert trust == pytest.approx(0.5, abs=0.05)
    assert agreement == pytest.approx(15 / 299, abs=0.02)
