"""The measures of the gap against naive loops, scikit-learn and their calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from socketlab.gap import pairs
from socketlab.gap.metrics import (
    centroid_gap,
    gap_table,
    linear_cka,
    modality_guesses,
    neighbour_mixing,
    normalise,
    pair_gap,
    partner_ranks,
    proxy_a_distance,
    relative_modality_gap,
    retrieval,
)

Array = npt.NDArray[np.float64]
Pair = tuple[Array, Array]


def _unit(rows: Array) -> Array:
    return np.stack([row / np.sqrt(np.dot(row, row)) for row in rows])


def _small(seed: int = 0, n: int = 14, d: int = 5) -> Pair:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, d)) + 0.3
    return x, 2 * x + 0.8 * draw.standard_normal((n, d)) + 0.2


def _calibration_case(name: str) -> Pair:
    """The four synthetic cases, n = 1000, d = 64; noise and offset in units of one column."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1000, 64))
    noise = draw.standard_normal((1000, 64))
    if name == "noise":
        return x, x + 0.3 * noise
    if name == "independent":
        return x, noise
    if name == "offset":
        offset = draw.standard_normal(64)
        return x, x + 0.05 * noise + offset * (0.75 * 8 / np.linalg.norm(offset))
    # The orthogonal factor without the sign correction that would make it uniform over all
    # rotations: it turns somewhat backwards on average, hence a residual above 2.
    return x, x @ np.linalg.qr(draw.standard_normal((64, 64)))[0]


CALIBRATION = {  # centroid, residual, RMG, PAD, mixing, R@1, CKA
    "noise": (0.01, 0.09, 0.04, 0.03, 1.00, 1.0, 0.92),
    "independent": (0.05, 1.99, 0.50, 0.07, 1.00, 0.0, 0.06),
    "offset": (0.60, 0.05, 0.20, 1.99, 0.27, 1.0, 0.99),
    "rotation": (0.05, 2.16, 0.52, 0.04, 1.00, 0.0, 1.00),
}
# PAD: two standard errors of 2000 guesses. Residual: the trace of a random rotation varies.
TOLERANCE = (0.008, 0.05, 0.008, 0.09, 0.03, 0.004, 0.008)


@pytest.mark.parametrize("name", CALIBRATION)
def test_calibration(name: str) -> None:
    x, y = _calibration_case(name)
    found = (
        centroid_gap(x, y),
        pair_gap(x, y).residual,
        relative_modality_gap(x, y),
        proxy_a_distance(x, y),
        neighbour_mixing(x, y),
        retrieval(x, y).x_to_y.recall_at_1,
        linear_cka(x, y),
    )
    for value, expected, tolerance in zip(found, CALIBRATION[name], TOLERANCE, strict=True):
        assert value == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("name", "with_partner"), [("noise", 1.05), ("offset", 0.37)])
def test_leaving_the_partner_in_would_flatter_the_mixing(name: str, with_partner: float) -> None:
    x, y = _calibration_case(name)
    rows = _unit(np.concatenate([x, y]))
    nearest = NearestNeighbors(n_neighbors=20).fit(rows).kneighbors(return_distance=False)
    kept_in = 2 * np.mean((nearest < 1000) != (np.arange(2000) < 1000)[:, None])
    assert kept_in == pytest.approx(with_partner, abs=0.01)
    assert neighbour_mixing(x, y, neighbours=20) < kept_in - 0.03


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


def test_centroid_and_pair_gap_match_loops() -> None:
    x, y = _small()
    u, v = _unit(x), _unit(y)
    mean_u, mean_v = [np.array([sum(f[:, j]) / len(f) for j in range(5)]) for f in (u, v)]
    centroid = sum((float(mean_u[j]) - float(mean_v[j])) ** 2 for j in range(u.shape[1]))
    total = sum(sum((u[i] - v[i]) ** 2) for i in range(len(u))) / len(u)
    shifted = [(u[i] - mean_u) - (v[i] - mean_v) for i in range(len(u))]
    gap = pair_gap(x, y)
    assert centroid_gap(x, y) == pytest.approx(np.sqrt(centroid), rel=1e-12)
    assert gap.centroid == pytest.approx(centroid, rel=1e-12)
    assert gap.total == pytest.approx(total, rel=1e-12)
    assert gap.residual == pytest.approx(sum(s @ s for s in shifted) / len(u), rel=1e-12)
    assert gap.total == pytest.approx(gap.centroid + gap.residual, rel=1e-12)


def _naive_rmg(u: Array, v: Array, origin: npt.NDArray[np.int64]) -> float:
    """RMG by loops; rows of one origin are copies of one pair and no strangers."""
    n = len(u)
    pairs = np.mean([(1 - u[i] @ v[i]) / 2 for i in range(n)])
    couples = [(i, j) for i in range(n) for j in range(n) if origin[i] != origin[j]]
    within = [np.mean([(1 - rows[i] @ rows[j]) / 2 for i, j in couples]) for rows in (u, v)]
    return float(pairs / (pairs + (within[0] + within[1]) / 2))


def test_relative_modality_gap_matches_loops() -> None:
    x, y = _small()
    expected = _naive_rmg(_unit(x), _unit(y), np.arange(len(x)))
    assert relative_modality_gap(x, y) == pytest.approx(expected, rel=1e-12)
    assert relative_modality_gap(x, 3 * x) == pytest.approx(0, abs=1e-12)


def test_proxy_a_distance_matches_folds_by_hand() -> None:
    x, y = _small(n=60)
    y[:, 0] += 2
    rows, label = np.concatenate([_unit(x), _unit(y)]), np.repeat([0, 1], 60)
    group = np.tile(np.arange(60), 2)
    wrong = 0
    for train, held_out in GroupKFold(5, shuffle=True, random_state=3).split(rows, label, group):
        assert not set(group[train]) & set(group[held_out])
        scaler = StandardScaler().fit(rows[train])
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(rows[train]), label[train])
        wrong += int((model.predict(scaler.transform(rows[held_out])) != label[held_out]).sum())
    expected = 2 * (1 - 2 * wrong / 120)
    assert 0 < expected < 2
    assert proxy_a_distance(x, y, seed=3) == pytest.approx(expected, abs=1e-12)


def test_both_halves_of_a_pair_are_held_out_together() -> None:
    x, _ = _small(n=40, d=30)
    # Equal partners, one classifier: exactly one of the two guesses can be right.
    assert modality_guesses(x, x).sum(dim=1).tolist() == [1] * 40
    assert proxy_a_distance(x, x) == 0


def test_neighbour_mixing_matches_loops() -> None:
    x, y = _small(n=14)
    rows, n = _unit(np.concatenate([x, y])), 14
    other = 0
    for i in range(2 * n):
        candidates = [j for j in range(2 * n) if j % n != i % n]
        cosine = {j: float(rows[i] @ rows[j]) for j in candidates}
        nearest = sorted(candidates, key=cosine.__getitem__, reverse=True)[:4]
        other += sum((j < n) != (i < n) for j in nearest)
    expected = other / (2 * n * 4) / 0.5
    assert neighbour_mixing(x, y, neighbours=4) == pytest.approx(expected, rel=1e-12)


def test_retrieval_matches_loops() -> None:
    x, y = _small(n=15, d=3)
    found = retrieval(x, y)
    u, v = _unit(x), _unit(y)
    for direction, queries, gallery in ((found.x_to_y, u, v), (found.y_to_x, v, u)):
        ranks = [1 + sum(q @ g > q @ gallery[i] for g in gallery) for i, q in enumerate(queries)]
        assert 0 < np.mean(np.array(ranks) <= 1) < 1
        assert direction.recall_at_1 == pytest.approx(np.mean(np.array(ranks) <= 1))
        assert direction.recall_at_5 == pytest.approx(np.mean(np.array(ranks) <= 5))
        assert direction.median_rank == np.median(ranks)
    assert found.x_to_y != found.y_to_x
    assert (found.chance_at_1, found.chance_at_5, found.n) == (1 / 15, 1 / 3, 15)


def test_ties_count_against_the_query() -> None:
    x, _ = _small(n=6)
    gallery = np.repeat(x[:2], 3, axis=0)
    assert partner_ranks(gallery, gallery).tolist() == [3] * 6


def test_linear_cka_matches_the_gram_form() -> None:
    x, y = _small()
    u, v = _unit(x), _unit(y)[:, :3]
    v = _unit(v)
    centre = np.eye(len(u)) - 1 / len(u)
    k, m = centre @ u @ u.T @ centre, centre @ v @ v.T @ centre
    expected = np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))
    assert linear_cka(x, y[:, :3]) == pytest.approx(expected, rel=1e-12)


def test_chunks_do_not_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _small()
    whole = retrieval(x, y), neighbour_mixing(x, y, neighbours=4)
    monkeypatch.setattr(pairs, "CHUNK_ROWS", 3)
    sizes = [len(chunk) for _, chunk in pairs.cosine_chunks(normalise(x), normalise(y))]
    assert sizes == [3, 3, 3, 3, 2]
    assert (retrieval(x, y), neighbour_mixing(x, y, neighbours=4)) == whole


MEASURES: list[Callable[[Array, Array], object]] = [
    centroid_gap,
    pair_gap,
    relative_modality_gap,
    proxy_a_distance,
    neighbour_mixing,
    retrieval,
    linear_cka,
    gap_table,
]


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_input_is_refused_by_every_measure(measure: Callable[[Array, Array], object]) -> None:
    x, y = _small(n=30)
    with_nan, with_zero = y.copy(), y.copy()
    with_nan[7, 1] = np.nan
    with_zero[4] = 0
    # Multiples of one row: constant only once the length is taken out.
    constant = np.outer(np.arange(1, 31), y[0]).astype(np.float32).astype(np.float64)
    cases: list[tuple[npt.NDArray[Any], str]] = [
        (with_nan, "y has 1 rows with NaN or infinity, the first is row 7"),
        (with_zero, "y has 1 zero rows, the first is row 4"),
        (y[:-1], "x has 30 rows and y has 29"),
        (constant, "y is constant: all 30 rows"),
        (y.astype(np.int64), "y holds int64, not floats"),
        (y[0], r"y has shape \(5,\)"),
    ]
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            measure(x, bad)
    with pytest.raises(ValueError, match="1 pairs are too few"):
        measure(x[:1], y[:1])
    if measure is not linear_cka:
        with pytest.raises(ValueError, match="x has 5 columns and y has 4"):
            measure(x, y[:, :4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": ()}, "seeds is"),
        ({"seeds": (-1,)}, "seeds is"),
        ({"sample": 3}, "sample is 3"),
        ({"bootstrap": 0}, "bootstrap is 0"),
    ],
)
def test_gap_table_refuses_meaningless_settings(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_table(*_small(n=30), **settings)  # type: ignore[arg-type]


def test_gap_table_of_all_pairs_holds_the_measures_themselves() -> None:
    x, y = _small(n=80)
    found = retrieval(x, y)
    table = {row.metric: row for row in gap_table(x, y, seeds=(4, 9), sample=None)}
    assert list(table) == ["centroid gap", "residual gap", "RMG", "PAD", "R@1"]
    expected = (
        centroid_gap(x, y),
        pair_gap(x, y).residual,
        relative_modality_gap(x, y),
        (proxy_a_distance(x, y, seed=4) + proxy_a_distance(x, y, seed=9)) / 2,
        (found.x_to_y.recall_at_1 + found.y_to_x.recall_at_1) / 2,
    )
    for row, value in zip(table.values(), expected, strict=True):
        assert row.value == pytest.approx(value, rel=1e-9)
        assert row.low < row.value < row.high
        assert (row.seeds, row.n) == (2, 80)
    assert "chance is 0.013" in table["R@1"].reads


def test_gap_table_draws_fixed_subsets_and_no_global_numbers() -> None:
    x, y = _small(n=200)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = gap_table(x, y, sample=50, bootstrap=40)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == gap_table(x, y, sample=50, bootstrap=40)
    singles = [gap_table(x, y, seeds=(s,), sample=50, bootstrap=40)[0].value for s in (0, 1, 2)]
    assert len(set(singles)) == 3
    assert first[0].value == pytest.approx(np.mean(singles))
    assert first[0].n == 50


def test_intervals_match_a_bootstrap_by_hand() -> None:
    x, y = _small(n=40)
    u, v = _unit(x), _unit(y)
    draw = np.random.default_rng(1)
    by_hand: dict[str, list[float]] = {"centroid gap": [], "residual gap": [], "RMG": []}
    for _ in range(300):
        rows = draw.integers(40, size=40)
        difference = u[rows] - v[rows]
        by_hand["centroid gap"].append(float(np.linalg.norm(difference.mean(axis=0))))
        by_hand["residual gap"].append(float(difference.var(axis=0).sum()))
        if len(by_hand["RMG"]) < 150:
            by_hand["RMG"].append(_naive_rmg(u[rows], v[rows], rows))
    table = {row.metric: row for row in gap_table(x, y, bootstrap=400)}
    for name, numbers in by_hand.items():
        row = table[name]
        low, high = np.quantile(np.array(numbers) - np.mean(numbers) + row.value, [0.025, 0.975])
        assert row.high - row.low == pytest.approx(high - low, rel=0.25)
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.25 * (high - low))


def test_intervals_cover_the_value_of_many_pairs() -> None:
    x, y = _small(n=4000)
    everyone = gap_table(x, y, sample=None, seeds=(0,), bootstrap=20)[:3]
    covered = np.zeros(3)
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(4000)[:100]
        few = gap_table(x[rows], y[rows], seeds=(0,))[:3]
        covered += [
            row.low <= true.value <= row.high for row, true in zip(few, everyone, strict=True)
        ]
    assert (covered >= 16).all(), covered
