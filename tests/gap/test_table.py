"""The table of the gap: values, intervals by hand, and what stops which measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch

from socketlab.gap import table
from socketlab.gap.distributions import frechet_distance, mmd, uniformity
from socketlab.gap.measures import MEASURES, MINIMAL
from socketlab.gap.metrics import (
    alignment,
    centroid_gap,
    linear_cka,
    pair_gap,
    relative_modality_gap,
)
from socketlab.gap.neighbours import (
    mutual_neighbours,
    neighbour_mixing,
    partner_ranks,
    retrieval,
)
from socketlab.gap.separability import proxy_a_distance
from socketlab.gap.table import GapRow, gap_table

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def _by_name(rows: list[GapRow]) -> dict[str, GapRow]:
    return {row.metric: row for row in rows}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": ()}, "seeds is"),
        ({"seeds": (-1,)}, "seeds is"),
        ({"sample": 3}, "sample is 3"),
        ({"bootstrap": 0}, "bootstrap is 0"),
        ({"measures": ("RMG", "rmg")}, "Pass 'all' or some of: centroid gap; pair gap; "),
        ({"measures": "RMG"}, "measures is 'RMG'"),
        ({"measures": ()}, r"measures is \(\)"),
    ],
)
def test_gap_table_refuses_meaningless_settings(
    small: Small, settings: Mapping[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gap_table(*small(n=30), **settings)  # type: ignore[arg-type]


def test_gap_table_of_all_pairs_holds_the_measures_themselves(small: Small) -> None:
    x, y = small(n=80)
    found = retrieval(x, y)
    rows = {row.metric: row for row in gap_table(x, y, seeds=(4, 9), sample=None)}
    assert list(rows) == ["centroid gap", "residual gap", "RMG", "PAD", "R@1"]
    expected = (
        centroid_gap(x, y),
        pair_gap(x, y).residual,
        relative_modality_gap(x, y),
        (proxy_a_distance(x, y, seed=4) + proxy_a_distance(x, y, seed=9)) / 2,
        (found.x_to_y.recall_at_1 + found.y_to_x.recall_at_1) / 2,
    )
    for row, value in zip(rows.values(), expected, strict=True):
        assert row.value == pytest.approx(value, rel=1e-9)
        assert row.low < row.value < row.high
        assert (row.seeds, row.n) == (2, 80)
        assert row.note == "exact"
    assert "chance is 0.013" in rows["R@1"].reads


def test_every_measure_has_a_row_with_its_own_value(small: Small) -> None:
    x, y = small(n=80)
    found = retrieval(x, y)
    expected = {
        "centroid gap": centroid_gap(x, y),
        "pair gap": pair_gap(x, y).total,
        "residual gap": pair_gap(x, y).residual,
        "RMG": relative_modality_gap(x, y),
        "MMD^2": mmd(x, y).squared,
        "MMD^2 p-value": mmd(x, y).p_value,
        "Frechet distance": frechet_distance(x, y),
        "PAD": proxy_a_distance(x, y),
        "neighbour mixing": neighbour_mixing(x, y),
        "R@1": (found.x_to_y.recall_at_1 + found.y_to_x.recall_at_1) / 2,
        "R@1, x to y": found.x_to_y.recall_at_1,
        "R@5, x to y": found.x_to_y.recall_at_5,
        "median rank, x to y": found.x_to_y.median_rank,
        "R@1, y to x": found.y_to_x.recall_at_1,
        "R@5, y to x": found.y_to_x.recall_at_5,
        "median rank, y to x": found.y_to_x.median_rank,
        "alignment": alignment(x, y),
        "uniformity, x": uniformity(x),
        "uniformity, y": uniformity(y),
        "linear CKA": linear_cka(x, y),
        "mutual neighbours": mutual_neighbours(x, y),
    }
    assert found.x_to_y != found.y_to_x
    rows = _by_name(gap_table(x, y, seeds=(0,), sample=None, measures="all"))
    assert list(rows) == list(MEASURES) == list(expected)
    for name, value in expected.items():
        row = rows[name]
        assert row.value == pytest.approx(value, rel=1e-9), name
        assert row.low <= row.value <= row.high
        assert (row.seeds, row.n, row.note) == (1, 80, "exact")
        assert row.low < row.high or name == "MMD^2 p-value" or "median" in name
    assert rows["R@5, x to y"].reads.endswith("chance is 0.062")
    assert rows["median rank, x to y"].reads.endswith("chance is 40")
    assert rows["mutual neighbours"].reads.endswith("chance is 0.13")


def test_measures_are_computed_as_asked_and_in_that_order(small: Small) -> None:
    x, y = small(n=60)
    everything = _by_name(gap_table(x, y, measures="all", bootstrap=40))
    asked = ("linear CKA", "RMG", "uniformity, y")
    some = gap_table(x, y, measures=asked, bootstrap=40)
    assert some == [everything[name] for name in asked]
    assert gap_table(x, y, bootstrap=40) == [everything[name] for name in MINIMAL]


def test_the_p_value_shows_how_far_the_seeds_differ() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 200, 5))
    seeds = (0, 1, 2)
    row = gap_table(x, y, seeds=seeds, sample=60, measures=["MMD^2 p-value"])[0]
    singles = [
        gap_table(x, y, seeds=(seed,), sample=60, measures=["MMD^2 p-value"])[0].value
        for seed in seeds
    ]
    assert len(set(singles)) == 3
    assert (row.low, row.high) == (min(singles), max(singles))
    assert row.value == pytest.approx(np.mean(singles))


def test_gap_table_draws_fixed_subsets_and_no_global_numbers(small: Small) -> None:
    x, y = small(n=200)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = gap_table(x, y, sample=50, bootstrap=40)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == gap_table(x, y, sample=50, bootstrap=40)
    singles = [gap_table(x, y, seeds=(s,), sample=50, bootstrap=40)[0].value for s in (0, 1, 2)]
    assert len(set(singles)) == 3
    assert first[0].value == pytest.approx(np.mean(singles))
    assert first[0].n == 50
    assert first[0].note == "sampled: 50 of 200 rows"


def test_couples_of_rows_are_thinned_and_the_note_says_so(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = small(n=120)
    monkeypatch.setattr(table, "COUPLES_ROWS", 40)
    rows = _by_name(gap_table(x, y, sample=None, measures="all", bootstrap=20))
    thinned = {name for name, row in rows.items() if row.n == 40}
    assert {row.note for name, row in rows.items() if name in thinned} == {
        "sampled: 40 of 120 rows"
    }
    exact = {"centroid gap", "pair gap", "residual gap", "RMG", "Frechet distance", "PAD"}
    assert set(rows) - thinned == exact | {"alignment", "linear CKA"}
    assert {(rows[name].n, rows[name].note) for name in set(rows) - thinned} == {(120, "exact")}
    assert rows["R@1"].reads.endswith("chance is 0.025")
    # A subset of the rows, not the first ones.
    assert rows["uniformity, x"].value == pytest.approx(uniformity(x), abs=0.3)
    for others in (x, x[:40]):
        assert rows["uniformity, x"].value != pytest.approx(uniformity(others), rel=1e-6)


def _naive_rmg(u: Array, v: Array, origin: npt.NDArray[np.int64]) -> float:
    """RMG from whole matrices; rows of one origin are copies of one pair and no strangers."""
    strangers = origin[:, None] != origin[None]
    pairs = np.mean(1 - np.sum(u * v, axis=1)) / 2
    within = [np.mean((1 - rows @ rows.T)[strangers]) / 2 for rows in (u, v)]
    return float(pairs / (pairs + (within[0] + within[1]) / 2))


def test_intervals_match_a_bootstrap_by_hand(small: Small, unit: Unit) -> None:
    x, y = small(n=40)
    u, v = unit(x), unit(y)
    draw = np.random.default_rng(1)
    names = ("centroid gap", "pair gap", "residual gap", "RMG", "R@5, x to y", "uniformity, y")
    by_hand: dict[str, list[float]] = {name: [] for name in names}
    ranks = partner_ranks(x, y).numpy()
    distance = np.sum((v[:, None] - v[None]) ** 2, axis=2)
    for _ in range(400):
        rows = draw.integers(40, size=40)
        difference = u[rows] - v[rows]
        strangers = rows[:, None] != rows[None]
        by_hand["centroid gap"].append(float(np.linalg.norm(difference.mean(axis=0))))
        by_hand["pair gap"].append(float(np.sum(difference**2) / 40))
        by_hand["residual gap"].append(float(difference.var(axis=0).sum()))
        by_hand["RMG"].append(_naive_rmg(u[rows], v[rows], rows))
        by_hand["R@5, x to y"].append(float(np.mean(ranks[rows] <= 5)))
        kernel = np.exp(-2 * distance[rows][:, rows])[strangers]
        by_hand["uniformity, y"].append(float(np.log(kernel.mean())))
    found = _by_name(gap_table(x, y, bootstrap=400, measures=names))
    for name, numbers in by_hand.items():
        row = found[name]
        centred = np.array(numbers) - np.mean(numbers) + row.value
        low, high = np.quantile(centred.clip(max=1) if "R@5" in name else centred, [0.025, 0.975])
        assert row.high - row.low == pytest.approx(high - low, rel=0.25), name
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.25 * (high - low)), name


def test_the_median_rank_is_resampled_as_a_median() -> None:
    draw = np.random.default_rng(2)
    x = draw.standard_normal((60, 3))
    y = x + 0.8 * draw.standard_normal((60, 3))
    ranks = partner_ranks(x, y).numpy()
    medians = [np.median(ranks[draw.integers(60, size=60)]) for _ in range(600)]
    centred = np.array(medians) - np.mean(medians) + np.median(ranks)
    row = gap_table(x, y, bootstrap=600, measures=["median rank, x to y"])[0]
    assert row.value == np.median(ranks)
    assert row.value % 1 == 0.5  # the two middle ones differ, and both count
    low, high = np.quantile(centred, [0.025, 0.975])
    assert high - low > 2
    assert (row.low, row.high) == pytest.approx((low, high), abs=0.2 * (high - low))


WITH_A_SAMPLING_ERROR: list[tuple[str, Callable[[Array, Array], float]]] = [
    ("MMD^2", lambda x, y: mmd(x, y, permutations=1).squared),
    ("Frechet distance", frechet_distance),
    ("linear CKA", linear_cka),
]


@pytest.mark.parametrize(("name", "measure"), WITH_A_SAMPLING_ERROR)
def test_intervals_are_as_wide_as_fresh_samples_differ(
    small: Small, name: str, measure: Callable[[Array, Array], float]
) -> None:
    x, y = small(n=3000)
    y[:, 0] += 1.5
    samples = [slice(start, start + 100) for start in range(0, 3000, 100)]
    spread = np.std([measure(x[rows], y[rows]) for rows in samples], ddof=1)
    widths = []
    for rows in samples[:6]:
        row = gap_table(x[rows], y[rows], seeds=(0,), measures=[name])[0]
        assert row.low < row.value < row.high
        widths.append((row.high - row.low) / (2 * 1.96))
    assert np.mean(widths) == pytest.approx(spread, rel=0.35)


def test_intervals_cover_the_value_of_many_pairs(small: Small) -> None:
    x, y = small(n=4000)
    everyone = gap_table(x, y, sample=None, seeds=(0,), bootstrap=20)[:3]
    covered = np.zeros(3)
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(4000)[:100]
        few = gap_table(x[rows], y[rows], seeds=(0,))[:3]
        covered += [
            row.low <= true.value <= row.high for row, true in zip(few, everyone, strict=True)
        ]
    assert (covered >= 16).all(), covered


def _stopped(rows: list[GapRow]) -> dict[str, str]:
    """The notes of the measures that stopped, after checking that none is half stopped."""
    found = {}
    for row in rows:
        nothing = [math.isnan(number) for number in (row.value, row.low, row.high)]
        assert all(nothing) or not any(nothing)
        assert row.note.startswith("stopped: ") == all(nothing) == (row.n == 0)
        if all(nothing):
            found[row.metric] = row.note.removeprefix("stopped: ")
    return found


def test_nan_on_one_side_stops_all_that_looks_at_it(small: Small) -> None:
    x, y = small(n=60)
    y[[7, 9, 20], 1] = np.nan
    rows = gap_table(x, y, measures="all", bootstrap=20)
    stopped = _stopped(rows)
    assert set(stopped) == set(MEASURES) - {"uniformity, x"}
    assert set(stopped.values()) == {
        "y has 3 rows with NaN or infinity, the first is row 7. "
        "Look for a diverged model before measuring."
    }
    assert _by_name(rows)["uniformity, x"].value == pytest.approx(uniformity(x))
    mirrored = gap_table(y, x, measures="all", bootstrap=20)
    assert set(_stopped(mirrored)) == set(MEASURES) - {"uniformity, y"}
    assert _by_name(mirrored)["uniformity, y"].value == pytest.approx(uniformity(x))
    assert set(_stopped(gap_table(y, y, measures="all"))) == set(MEASURES)
    assert set(_stopped(gap_table(x.astype(int), y))) == set(MINIMAL)


def test_different_counts_stop_what_needs_partners(small: Small) -> None:
    x, y = small(n=90)
    rows = gap_table(x, y[:70], measures="all", bootstrap=20, seeds=(0,))
    stopped = _stopped(rows)
    unpaired = {"centroid gap", "MMD^2", "MMD^2 p-value", "Frechet distance", "PAD"}
    assert set(MEASURES) - set(stopped) == unpaired | {"uniformity, x", "uniformity, y"}
    assert set(stopped.values()) == {"x has 90 rows and y has 70. Row i of both must be one pair."}
    found = _by_name(rows)
    assert {found[name].note for name in unpaired} == {
        "sampled: 70 of 90 rows of x and 70 of 70 rows of y"
    }
    assert found["uniformity, x"].note == "sampled: 70 of 90 rows"
    assert found["uniformity, y"].note == "exact"
    assert found["uniformity, y"].value == pytest.approx(uniformity(y[:70]))
    assert found["centroid gap"].value == pytest.approx(centroid_gap(x, y[:70]), abs=0.06)
    assert found["Frechet distance"].value == pytest.approx(frechet_distance(x, y[:70]), abs=0.03)


def test_sides_without_partners_are_resampled_independently() -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((400, 3)) + 1
    y = x + 0.01 * draw.standard_normal((400, 3)) + np.array([0.5, 0, 0])
    paired = gap_table(x, y, measures=["centroid gap"])[0]
    unpaired = gap_table(x, y[:399], measures=["centroid gap"])[0]
    # Partners vary together, so that the distance of their centres is known far better.
    assert unpaired.high - unpaired.low > 2 * (paired.high - paired.low)


def test_different_widths_stop_what_needs_a_common_space(small: Small) -> None:
    x, y = small(n=60)
    rows = gap_table(x, y[:, :3], measures="all", bootstrap=20)
    stopped = _stopped(rows)
    goes_on = {"linear CKA", "mutual neighbours", "uniformity, x", "uniformity, y"}
    assert set(MEASURES) - set(stopped) == goes_on
    assert {note.split(".")[0] for note in stopped.values()} == {"x has 5 columns and y has 3"}
    found = _by_name(rows)
    assert found["linear CKA"].value == pytest.approx(linear_cka(x, y[:, :3]))
    assert found["mutual neighbours"].value == pytest.approx(mutual_neighbours(x, y[:, :3]))


def test_constant_features_stop_only_what_they_leave_undefined(small: Small, unit: Unit) -> None:
    x, y = small(n=60)
    y[:] = y[0]
    rows = gap_table(x, y, measures="all", bootstrap=20)
    stopped = _stopped(rows)
    assert set(stopped) == {"linear CKA", "mutual neighbours"}
    assert all(note.startswith("y is constant: all 60 rows") for note in stopped.values())
    found = _by_name(rows)
    u, v = unit(x), unit(y)
    assert found["centroid gap"].value == pytest.approx(np.linalg.norm(u.mean(0) - v[0]))
    assert found["uniformity, y"].value == pytest.approx(0, abs=1e-12)
    variance = np.trace(np.cov(u.T))
    expected = np.sum((u.mean(0) - v[0]) ** 2) + variance
    assert found["Frechet distance"].value == pytest.approx(expected)
    assert found["R@1"].value <= 1 / 60
    assert found["neighbour mixing"].value < 1
    assert found["RMG"].note.startswith("exact; y is constant: all 60 rows have one direction")
    assert found["uniformity, x"].note == "exact"
    both = gap_table(y, y, measures="all", bootstrap=20)
    undefined = {"RMG", "MMD^2", "MMD^2 p-value", "neighbour mixing"}
    assert set(_stopped(both)) == set(stopped) | undefined
    assert _by_name(both)["centroid gap"].value == pytest.approx(0, abs=1e-12)


def test_few_rows_stop_what_needs_more(small: Small) -> None:
    x, y = small(n=12)
    rows = gap_table(x, y, measures="all", bootstrap=20)
    assert _stopped(rows) == {
        name: "12 rows are too few: this needs 21. Pass more images."
        for name in ("neighbour mixing", "mutual neighbours")
    }
    x, y = small(n=90)
    rows = gap_table(x, y, sample=8, measures=["neighbour mixing", "RMG"], bootstrap=20)
    assert list(_stopped(rows)) == ["neighbour mixing"]
    assert "8 rows are too few" in rows[0].note
    assert set(_stopped(gap_table(x[:1], y[:1], measures="all"))) == set(MEASURES)
