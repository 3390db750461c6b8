"""Distances of two clouds against POT, torchmetrics, torch-fidelity, scikit-learn and loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ot.gaussian import bures_wasserstein_distance
from sklearn.metrics.pairwise import rbf_kernel
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_kid import mmd2
from torchmetrics.image.kid import maximum_mean_discrepancy

from socketlab.gap.distributions import (
    frechet_by_row,
    frechet_distance,
    median_distance,
    mmd,
    p_value,
    relabelled_mmd,
    uniformity,
    weighted_mmd,
    weighted_uniformity,
)

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def _naive_mmd(u: Array, v: Array, bandwidth: float) -> float:
    def mean(a: Array, b: Array, different: bool) -> float:
        values = [
            np.exp(-np.sum((p - q) ** 2) / (2 * bandwidth**2))
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (different and i == j)
        ]
        return float(np.mean(values))

    return mean(u, u, True) + mean(v, v, True) - 2 * mean(u, v, False)


def test_mmd_agrees_with_torchmetrics_and_torch_fidelity(small: Small, unit: Unit) -> None:
    x, y = small(n=60)
    u, v = unit(x), unit(y)
    pooled = np.concatenate([u, v])
    distances = [float(np.linalg.norm(p - q)) for p, q in combinations(pooled, 2)]
    found = mmd(x, y)
    assert found.bandwidth == pytest.approx(np.median(distances), rel=1e-9)
    gamma = 1 / (2 * found.bandwidth**2)
    kernels = [rbf_kernel(a, b, gamma=gamma) for a, b in ((u, u), (u, v), (v, v))]
    theirs = float(maximum_mean_discrepancy(*(torch.from_numpy(k) for k in kernels)))
    assert found.squared == pytest.approx(theirs, abs=1e-12)
    assert found.squared == pytest.approx(mmd2(*kernels), abs=1e-12)
    assert abs(theirs) > 1e-3


def test_mmd_takes_sides_of_different_length(small: Small, unit: Unit) -> None:
    x, _ = small(n=9)
    _, y = small(seed=1, n=14)
    found = mmd(x, y)
    expected = _naive_mmd(unit(x), unit(y), found.bandwidth)
    assert found.squared == pytest.approx(expected, rel=1e-10)
    assert mmd(y, x).squared == pytest.approx(expected, rel=1e-10)


def test_equal_lengths_swap_partners_and_unequal_ones_deal_anew(small: Small, unit: Unit) -> None:
    x, _ = small(n=4)
    _, y = small(seed=1, n=4)
    u, v = unit(x), unit(y)
    swapped = set()
    for swaps in product([False, True], repeat=4):
        a = np.stack([v[i] if swap else u[i] for i, swap in enumerate(swaps)])
        b = np.stack([u[i] if swap else v[i] for i, swap in enumerate(swaps)])
        swapped.add(round(_naive_mmd(a, b, 0.9), 9))
    dealt = set()
    everyone = np.concatenate([u[:3], v])
    for first in combinations(range(7), 3):
        rest = [i for i in range(7) if i not in first]
        dealt.add(round(_naive_mmd(everyone[list(first)], everyone[rest], 0.9), 9))
    for left, possible in ((u, swapped), (u[:3], dealt)):
        found = relabelled_mmd(
            torch.from_numpy(left), torch.from_numpy(v), 0.9, permutations=400, seed=0
        )
        assert found.shape == (401,)
        assert float(found[0]) == pytest.approx(_naive_mmd(left, v, 0.9), rel=1e-9)
        assert {round(float(value), 9) for value in found} == possible


def test_the_p_value_is_small_for_another_law_and_even_for_the_same(unit: Unit) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((2, 80, 6))
    assert mmd(x, y + 1).p_value == pytest.approx(1 / 201)
    assert mmd(x, y[:50] + 1).p_value == pytest.approx(1 / 201)
    left, right = (torch.from_numpy(unit(rows)) for rows in (x, y + 1))
    labellings = relabelled_mmd(left, right, 1.0, permutations=100, seed=0)
    # A relabelling swaps half of the rows, so that nothing of the shift is left.
    assert abs(float(labellings[1:].mean())) < 0.05 * float(labellings[0])
    # Coinciding partners: no relabelling is distinguished, so all are as extreme.
    assert mmd(x, x).p_value == 1
    for pairs, length in ((True, 40), (False, 40), (False, 30)):
        found = []
        for seed in range(60):
            scene, one, other = np.random.default_rng(seed).standard_normal((3, 40, 6))
            left, right = (scene + one, scene + other) if pairs else (one, other)
            found.append(mmd(left, right[:length], permutations=50, seed=seed).p_value)
        assert 0.38 < np.mean(found) < 0.62
        assert np.mean(np.array(found) <= 0.1) < 0.23


def test_the_p_value_counts_the_true_labels_and_ties() -> None:
    assert p_value(torch.tensor([2.0, 1.0, 2.0, 3.0, 0.0])) == pytest.approx(3 / 5)


def test_the_bandwidth_of_many_rows_is_that_of_a_sample(unit: Unit) -> None:
    draw = np.random.default_rng(0)
    rows = torch.from_numpy(unit(draw.standard_normal((4000, 8)) + 0.5))
    x, y = rows[:3000], rows[3000:]
    exact = float(torch.pdist(torch.cat([x[:1000], y])).median())
    assert median_distance(x, y, seed=0) == pytest.approx(exact, rel=0.01)
    assert median_distance(x, y, seed=0) != median_distance(x, y, seed=1)


def test_mmd_refuses_what_has_no_width_and_no_permutations(small: Small) -> None:
    x, y = small(n=20)
    x[2:] = y[2:] = x[0]
    with pytest.raises(ValueError, match="The median distance of all rows is 0"):
        mmd(x, y)
    with pytest.raises(ValueError, match="permutations is 0"):
        mmd(*small(), permutations=0)


def _moments(rows: Array) -> tuple[Array, Array]:
    return rows.mean(axis=0), np.cov(rows.T)


def test_frechet_distance_agrees_with_pot_and_torch_fidelity(small: Small, unit: Unit) -> None:
    x, y = small(n=60, d=7)
    for right in (y, y[:41]):
        (mean_u, cov_u), (mean_v, cov_v) = _moments(unit(x)), _moments(unit(right))
        pot = float(bures_wasserstein_distance(mean_u, mean_v, cov_u, cov_v)) ** 2
        fid = fid_statistics_to_metric(
            {"mu": mean_u, "sigma": cov_u}, {"mu": mean_v, "sigma": cov_v}, verbose=False
        )["frechet_inception_distance"]
        found = frechet_distance(x, right)
        assert found == pytest.approx(pot, rel=1e-9)
        assert found == pytest.approx(fid, rel=1e-7)
        assert found > 0.01


def test_frechet_distance_of_few_rows_and_dead_columns(small: Small, unit: Unit) -> None:
    x, y = small(n=9, d=20)
    x[:, 3] = y[:, 3] = y[:, 4] = 0
    (mean_u, cov_u), (mean_v, cov_v) = _moments(unit(x)), _moments(unit(y))
    root = np.sqrt(np.clip(np.linalg.eigvals(cov_u @ cov_v).real, 0, None)).sum()
    shift = np.sum((mean_u - mean_v) ** 2)
    expected = shift + np.trace(cov_u) + np.trace(cov_v) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x, 3 * x) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_by_hand() -> None:
    # Means 0; covariances diag(2, 0) and diag(0, 2), which share nothing: 2 + 2.
    x, y = np.array([[1.0, 0], [-1, 0]]), np.array([[0, 1.0], [0, -1]])
    assert frechet_distance(x, y) == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("side", [0, 1])
def test_frechet_moves_by_a_row_as_a_finite_difference_says(
    small: Small, unit: Unit, side: int
) -> None:
    u, v = (unit(rows) for rows in small(n=30, d=4))
    v = v[:24]
    draw = np.random.default_rng(2)
    rows = (u, v)[side]
    direction = draw.standard_normal(len(rows))
    direction -= direction.mean()

    def distance(step: float) -> float:
        weights = 1 + step * direction
        mean = weights @ rows / len(rows)
        centred = rows - mean
        moments = [_moments(u), _moments(v)]
        moments[side] = mean, (centred.T * weights) @ centred / (len(rows) - 1)
        (mean_u, cov_u), (mean_v, cov_v) = moments
        return float(bures_wasserstein_distance(mean_u, mean_v, cov_u, cov_v)) ** 2

    slope = (distance(1e-4) - distance(-1e-4)) / 2e-4
    found = frechet_by_row(torch.from_numpy(u), torch.from_numpy(v))
    assert found[0] == pytest.approx(distance(0), rel=1e-9)
    assert float(torch.from_numpy(direction) @ found[1 + side]) == pytest.approx(slope, rel=1e-4)


def test_uniformity_matches_a_loop_and_knows_a_collapse(small: Small, unit: Unit) -> None:
    x, _ = small()
    u = unit(x)
    values = [np.exp(-2 * np.sum((p - q) ** 2)) for p, q in combinations(u, 2)]
    assert uniformity(x) == pytest.approx(np.log(np.mean(values)), rel=1e-12)
    assert uniformity(np.outer(np.arange(1.0, 9), x[0])) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8, rel=1e-12)


def test_uniformity_refuses_bad_features(small: Small) -> None:
    x, _ = small()
    with pytest.raises(ValueError, match="features has 1 rows, too few: this needs 2"):
        uniformity(x[:1])
    x[3] = np.nan
    with pytest.raises(ValueError, match="features has 1 rows with NaN or infinity"):
        uniformity(x)


def test_a_weight_is_a_row_that_is_there_several_times_and_no_couple_of_itself(
    small: Small, unit: Unit
) -> None:
    u, v = (unit(rows) for rows in small(n=8, d=3))
    rows_u, rows_v = np.array([0, 0, 0, 2, 3, 5, 5, 7]), np.array([1, 1, 2, 3, 4, 4, 6, 7])
    weights = [
        torch.bincount(torch.tensor(r), minlength=8).double()[None] for r in (rows_u, rows_v)
    ]

    def couples(rows: Array, origin: npt.NDArray[np.int64], scale: float) -> float:
        values = [
            np.exp(-scale * np.sum((rows[i] - rows[j]) ** 2))
            for i in origin
            for j in origin
            if i != j
        ]
        return float(np.mean(values))

    scale = 1 / (2 * 0.8**2)
    between = np.mean([np.exp(-scale * np.sum((u[i] - v[j]) ** 2)) for i in rows_u for j in rows_v])
    expected = couples(u, rows_u, scale) + couples(v, rows_v, scale) - 2 * between
    left, right = torch.from_numpy(u), torch.from_numpy(v)
    assert float(weighted_mmd(left, right, *weights, 0.8)) == pytest.approx(expected, rel=1e-12)
    spread = np.log(couples(u, rows_u, 2))
    assert float(weighted_uniformity(left, weights[0])) == pytest.approx(spread, rel=1e-12)
