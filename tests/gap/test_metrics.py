"""Centres, partners and relations against naive loops, ckatorch and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ckatorch.core import cka_base

from socketlab.gap.distributions import frechet_distance, mmd
from socketlab.gap.metrics import (
    alignment,
    centroid_gap,
    cka_by_row,
    linear_cka,
    pair_gap,
    relative_modality_gap,
    weighted_centroid_gap,
    weighted_pair_gap,
    weighted_rmg,
)
from socketlab.gap.neighbours import (
    mutual_neighbours,
    neighbour_mixing,
    partner_ranks,
    retrieval,
)
from socketlab.gap.separability import modality_guesses, proxy_a_distance

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def test_centroid_and_pair_gap_match_loops(small: Small, unit: Unit) -> None:
    x, y = small()
    u, v = unit(x), unit(y)
    mean_u, mean_v = [np.array([sum(f[:, j]) / len(f) for j in range(5)]) for f in (u, v)]
    centroid = sum((float(mean_u[j]) - float(mean_v[j])) ** 2 for j in range(u.shape[1]))
    total = sum(sum((u[i] - v[i]) ** 2) for i in range(len(u))) / len(u)
    shifted = [(u[i] - mean_u) - (v[i] - mean_v) for i in range(len(u))]
    gap = pair_gap(x, y)
    assert centroid_gap(x, y) == pytest.approx(np.sqrt(centroid), rel=1e-12)
    assert gap.centroid == pytest.approx(centroid, rel=1e-12)
    assert gap.total == pytest.approx(total, rel=1e-12)
    assert alignment(x, y) == pytest.approx(total, rel=1e-12)
    assert gap.residual == pytest.approx(sum(s @ s for s in shifted) / len(u), rel=1e-12)
    assert gap.total == pytest.approx(gap.centroid + gap.residual, rel=1e-12)


def test_centres_need_no_pairs(small: Small, unit: Unit) -> None:
    x, y = small()
    expected = np.linalg.norm(unit(x).mean(axis=0) - unit(y[:9]).mean(axis=0))
    assert centroid_gap(x, y[:9]) == pytest.approx(expected, rel=1e-12)


def _naive_rmg(u: Array, v: Array, origin: npt.NDArray[np.int64]) -> float:
    """RMG by loops; rows of one origin are copies of one pair and no strangers."""
    n = len(u)
    pairs = np.mean([(1 - u[i] @ v[i]) / 2 for i in range(n)])
    couples = [(i, j) for i in range(n) for j in range(n) if origin[i] != origin[j]]
    within = [np.mean([(1 - rows[i] @ rows[j]) / 2 for i, j in couples]) for rows in (u, v)]
    return float(pairs / (pairs + (within[0] + within[1]) / 2))


def test_relative_modality_gap_matches_loops(small: Small, unit: Unit) -> None:
    x, y = small()
    expected = _naive_rmg(unit(x), unit(y), np.arange(len(x)))
    assert relative_modality_gap(x, y) == pytest.approx(expected, rel=1e-12)
    assert relative_modality_gap(x, 3 * x) == pytest.approx(0, abs=1e-12)


def test_a_weight_is_a_pair_that_is_there_several_times(small: Small, unit: Unit) -> None:
    u, v = (unit(rows) for rows in small(n=8, d=3))
    rows = np.array([0, 0, 0, 2, 3, 5, 5, 7])
    weights = torch.bincount(torch.tensor(rows), minlength=8).double()[None]
    left, right = torch.from_numpy(u), torch.from_numpy(v)
    difference = u[rows] - v[rows]
    assert float(weighted_centroid_gap(left, right, weights, weights)) == pytest.approx(
        np.linalg.norm(difference.mean(axis=0)), rel=1e-12
    )
    assert float(weighted_pair_gap(left, right, weights)) == pytest.approx(
        np.mean(np.sum(difference**2, axis=1)), rel=1e-12
    )
    # Copies of one pair are no strangers to each other.
    expected = _naive_rmg(u[rows], v[rows], rows)
    assert float(weighted_rmg(left, right, weights)) == pytest.approx(expected, rel=1e-12)


def test_the_sides_of_a_centroid_gap_have_their_own_weights(small: Small, unit: Unit) -> None:
    u, v = (torch.from_numpy(unit(rows)) for rows in small(n=3))
    first, last = torch.tensor([[3.0, 0, 0]]).double(), torch.tensor([[0, 0, 3.0]]).double()
    expected = float((u[0] - v[2]).norm())
    assert float(weighted_centroid_gap(u, v, first, last)) == pytest.approx(expected, rel=1e-12)


def test_one_point_on_both_sides_has_no_relative_gap() -> None:
    one = torch.ones(4, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="All rows of x and y are one point"):
        weighted_rmg(one, one, torch.ones(1, 4, dtype=torch.float64))
    # Two points, one per side: no strangers, so partners are all the distance there is.
    assert float(weighted_rmg(one, -one, torch.ones(1, 4, dtype=torch.float64))) == 1


def test_linear_cka_matches_the_gram_form_and_ckatorch(small: Small, unit: Unit) -> None:
    x, y = small()
    u, v = unit(x), unit(y)[:, :3]
    v = unit(v)
    centre = np.eye(len(u)) - 1 / len(u)
    k, m = centre @ u @ u.T @ centre, centre @ v @ v.T @ centre
    expected = np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))
    assert linear_cka(x, y[:, :3]) == pytest.approx(expected, rel=1e-12)
    theirs = float(cka_base(torch.from_numpy(u), torch.from_numpy(v)))
    assert linear_cka(x, y[:, :3]) == pytest.approx(theirs, rel=1e-10)
    assert 0.1 < theirs < 0.99


def test_cka_moves_by_a_pair_as_a_finite_difference_says(small: Small, unit: Unit) -> None:
    u, v = (unit(rows) for rows in small(n=30, d=4))
    direction = np.random.default_rng(2).standard_normal(30)
    direction -= direction.mean()

    def cka(step: float) -> float:
        weights = 1 + step * direction
        a, b = u - weights @ u / 30, v - weights @ v / 30
        cross, of_a, of_b = [(p.T * weights) @ q for p, q in ((a, b), (a, a), (b, b))]
        return float(np.sum(cross**2) / np.linalg.norm(of_a) / np.linalg.norm(of_b))

    value, moves = cka_by_row(torch.from_numpy(u), torch.from_numpy(v))
    assert value == pytest.approx(cka(0), rel=1e-12)
    slope = (cka(1e-4) - cka(-1e-4)) / 2e-4
    assert float(torch.from_numpy(direction) @ moves) == pytest.approx(slope, rel=1e-5)


PAIRED: list[Callable[[Array, Array], object]] = [
    pair_gap,
    alignment,
    relative_modality_gap,
    modality_guesses,
    neighbour_mixing,
    partner_ranks,
    retrieval,
    linear_cka,
    mutual_neighbours,
]
UNPAIRED: list[Callable[[Array, Array], object]] = [
    centroid_gap,
    mmd,
    frechet_distance,
    proxy_a_distance,
]
ANY_WIDTH = (linear_cka, mutual_neighbours)


@pytest.mark.parametrize("measure", PAIRED + UNPAIRED)
def test_bad_input_is_refused_by_every_measure(
    small: Small, measure: Callable[[Array, Array], object]
) -> None:
    x, y = small(n=30)
    with_nan, with_zero = y.copy(), y.copy()
    with_nan[7, 1] = np.nan
    with_zero[4] = 0
    # Multiples of one row: constant only once the length is taken out.
    constant = np.outer(np.arange(1, 31), y[0]).astype(np.float32).astype(np.float64)
    cases: list[tuple[npt.NDArray[Any], str]] = [
        (with_nan, "y has 1 rows with NaN or infinity, the first is row 7"),
        (with_zero, "y has 1 zero rows, the first is row 4"),
        (constant, "y is constant: all 30 rows"),
        (y.astype(np.int64), "y holds int64, not floats"),
        (y[0], r"y has shape \(5,\)"),
    ]
    if measure in PAIRED:
        cases.append((y[:-1], "x has 30 rows and y has 29"))
    if measure not in ANY_WIDTH:
        cases.append((y[:, :4], "x has 5 columns and y has 4"))
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            measure(x, bad)
    with pytest.raises(ValueError, match="x has 1 rows, too few"):
        measure(x[:1], y[:1])
