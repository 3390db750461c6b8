"""Whether scores rank as accuracy does, on tables whose answers are known by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from socketlab.gap.rank_correlation import UPPER_REFERENCES, rank_correlations, spearman
from socketlab.gap.scores import SCORES
from socketlab.methods import REGISTRY, method_class

COUNTS = ["groups", "groups_left_out", "runs", "courses", "courses_left_out"]


def epochs(
    method: str, accuracy: list[float], entropy: list[float], first: int = 0, **about: Any
) -> list[dict[str, Any]]:
    group = {"data": "scenes", "target": "a/depth", "protocol": "held_out", "seed": 0} | about
    return [
        {**group, "method": method, "epoch": first + n, "accuracy": right, "entropy": score}
        for n, (right, score) in enumerate(zip(accuracy, entropy, strict=True))
    ]


def one_group(**about: Any) -> list[dict[str, Any]]:
    """Last epochs: accuracy .2 .4 .6 .8 of four methods, entropy 4 3 1 2: one swap."""
    return [
        *epochs("source_only", [0.2], [4.0], **about),
        *epochs("shot", [0.2, 0.5, 0.4], [4.0, 5.0, 3.0], **about),
        *epochs("tent", [0.2, 0.9, 0.7, 0.6], [4.0, 3.0, 1.0, 1.0], **about),
        *epochs("socket", [0.2, 0.5, 0.8], [4.0, 2.0, 2.0], **about),
    ]


def only(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_that_of_scipy_also_with_ties(seed: int) -> None:
    draw = np.random.default_rng(seed)
    x, y = (pd.Series(draw.integers(0, 6, 12) / 7) for _ in range(2))
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_spearman_of_a_constant_or_a_single_value_is_not_defined() -> None:
    varied, constant = pd.Series([1.0, 2.0, 3.0]), pd.Series([0.1, 0.1, 0.1])
    assert math.isnan(spearman(varied, constant))
    assert math.isnan(spearman(constant, varied))
    assert math.isnan(spearman(varied[:1], varied[:1]))


def test_one_group_by_hand() -> None:
    found = only(rank_correlations(pd.DataFrame(one_group())))
    assert found[["data", "target", "score"]].tolist() == ["scenes", "a/depth", "entropy"]
    # 1 - 6 * (1 + 1) / (4 * 15): two of four runs have changed places.
    assert found["rho"] == pytest.approx(0.8)
    # The lowest entropy is tent's, at 0.6; socket is at 0.8.
    assert found["regret"] == pytest.approx(20)
    # shot: accuracy and entropy fall together, which is wrong. tent: its entropy ties at the end.
    tent = spearmanr([0.9, 0.7, 0.6], [-3, -1, -1]).statistic
    assert found["epoch_rho"] == pytest.approx((-1 + tent) / 2)
    # shot takes 0.4 for 0.5; tent the first of 1, 1, which is 0.7 for 0.9; socket .5 for .8.
    assert found["epoch_regret"] == pytest.approx((10 + 20 + 30) / 3)
    # socket's entropy is constant over its epochs, source_only has none to follow.
    assert found[COUNTS].tolist() == [1, 0, 4, 2, 1]


def test_a_score_that_is_right_gets_one_whatever_its_sign() -> None:
    rows = pd.DataFrame(one_group())
    for name, sign in SCORES.items():
        rows[name] = sign * rows["accuracy"]
    table = rank_correlations(rows)
    assert table["score"].tolist() == list(SCORES)
    assert table["rho"].tolist() == pytest.approx([1] * len(SCORES))
    assert table["epoch_rho"].tolist() == pytest.approx([1] * len(SCORES))
    assert table["regret"].tolist() == table["epoch_regret"].tolist() == [0] * len(SCORES)


def test_groups_do_not_mix() -> None:
    # On the easy target everything is right and certain; within each target the score is wrong.
    rows = [
        *epochs("shot", [0.9], [0.2], 1, target="easy"),
        *epochs("socket", [0.8], [0.1], 1, target="easy"),
        *epochs("shot", [0.3], [2.0], 1, target="hard"),
        *epochs("socket", [0.2], [1.0], 1, target="hard"),
    ]
    found = only(rank_correlations(pd.DataFrame(rows), by=["data"]))
    assert found["rho"] == pytest.approx(-1)
    assert found["regret"] == pytest.approx(10)
    assert found[COUNTS].tolist() == [2, 0, 4, 0, 4]
    assert math.isnan(found["epoch_rho"]) and math.isnan(found["epoch_regret"])


@pytest.mark.parametrize("column", ["protocol", "seed"])
def test_the_mean_is_over_groups(column: str) -> None:
    other = [
        *epochs("shot", [0.1], [1.0], 1, **{column: 1}),
        *epochs("socket", [0.6], [2.0], 1, **{column: 1}),
    ]
    rows = pd.DataFrame([*one_group(**{column: 0}), *other])
    found = only(rank_correlations(rows))
    assert found["rho"] == pytest.approx((0.8 - 1) / 2)
    assert found["regret"] == pytest.approx((20 + 50) / 2)
    assert found[COUNTS].tolist() == [2, 0, 6, 2, 3]
    split = rank_correlations(rows, by=["data", column])
    assert split[column].tolist() == [0, 1]
    assert split["rho"].tolist() == pytest.approx([0.8, -1])


def test_one_row_for_each_target_and_score_in_order() -> None:
    rows = pd.DataFrame([*one_group(target="b/nir"), *one_group(target="a/nir")])
    rows["nuclear_norm"] = -rows["entropy"]
    table = rank_correlations(rows)
    assert table[["target", "score"]].to_numpy().tolist() == [
        ["a/nir", "entropy"],
        ["a/nir", "nuclear_norm"],
        ["b/nir", "entropy"],
        ["b/nir", "nuclear_norm"],
    ]
    assert table["rho"].tolist() == pytest.approx([0.8] * 4)


def test_runs_that_tie_count_by_their_mean() -> None:
    rows = [
        *epochs("shot", [0.1], [1.0], 1),
        *epochs("tent", [0.5], [1.0], 1),
        *epochs("socket", [0.6], [2.0], 1),
    ]
    for order in (rows, rows[::-1]):
        assert only(rank_correlations(pd.DataFrame(order)))["regret"] == pytest.approx(30)


def test_the_order_of_rows_and_their_index_do_not_matter() -> None:
    rows = pd.DataFrame([*one_group(), *one_group(seed=1)])
    shuffled = rows.sample(frac=1, random_state=0).set_axis([0] * len(rows))
    pd.testing.assert_frame_equal(rank_correlations(shuffled), rank_correlations(rows))


def test_upper_references_are_left_out() -> None:
    rows = [*one_group(), *epochs("oracle_labels", [0.2, 0.9, 1.0], [4.0, 6.0, 7.0])]
    pd.testing.assert_frame_equal(
        rank_correlations(pd.DataFrame(rows)), rank_correlations(pd.DataFrame(one_group()))
    )
    found = only(rank_correlations(pd.DataFrame(rows), upper_references=["socket"]))
    assert found["runs"] == 4
    assert found["rho"] < 0.8


def test_the_upper_references_are_those_of_the_registry() -> None:
    known = {name for name in REGISTRY if method_class(name).upper_reference}
    assert set(UPPER_REFERENCES) == known


def test_what_is_constant_or_not_finite_is_left_out_and_counted() -> None:
    constant = [
        *epochs("shot", [0.1], [1.0], 1, seed=1),
        *epochs("socket", [0.6], [1.0], 1, seed=1),
    ]
    nothing = [
        *epochs("shot", [0.3, 0.1], [1.0, math.nan], 1, seed=2),
        *epochs("socket", [0.6], [1.0], 1, seed=2),
    ]
    diverged = epochs("aad", [0.9, 0.9], [4.0, -math.inf], 0)
    rows = pd.DataFrame([*one_group(), *constant, *nothing, *diverged])
    found = only(rank_correlations(rows))
    assert found["rho"] == pytest.approx(0.8)
    # A constant score picks blindly, and that costs: the mean of 0.1 and 0.6 instead of 0.6.
    assert found["regret"] == pytest.approx((20 + 25) / 2)
    assert found[COUNTS].tolist() == [1, 2, 4, 2, 6]


def test_nothing_to_go_by_gives_nan_or_no_row() -> None:
    rows = pd.DataFrame(one_group())
    rows["pair_distance"] = math.nan
    rows["pair_retrieval"] = None
    table = rank_correlations(rows).set_index("score")
    for name in ("pair_distance", "pair_retrieval"):
        assert table.loc[name, ["rho", "regret", "epoch_rho", "epoch_regret"]].isna().all()
        assert table.loc[name, COUNTS].tolist() == [0, 1, 0, 0, 3]
    everyone = set(rows["method"])
    assert rank_correlations(rows, upper_references=everyone).empty


def test_a_target_on_which_nothing_was_trained_has_runs_and_no_courses() -> None:
    untrained = [
        *epochs("source_only", [0.2], [4.0], target="b/nir"),
        *epochs("adabn", [0.3], [3.0], target="b/nir"),
    ]
    table = rank_correlations(pd.DataFrame([*one_group(), *untrained])).set_index("target")
    assert table.loc["b/nir", "rho"] == pytest.approx(1)
    assert math.isnan(table.loc["b/nir", "epoch_rho"])
    assert table.loc["b/nir", COUNTS].tolist() == [1, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="protocol"), "no column 'protocol'"),
        (lambda rows: rows.drop(columns="entropy"), "no score. Add columns of: entropy, "),
        (lambda rows: rows.assign(accuracy=20.0), "accuracy holds 20.0"),
        (lambda rows: rows.assign(accuracy=-0.1), "accuracy holds -0.1"),
        (lambda rows: pd.concat([rows, rows[-1:]]), "epoch 2 of socket to a/depth, .* seed 0"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_correlations(change(pd.DataFrame(one_group())))


@pytest.mark.parametrize("by", [[], ["method"], ["data", "sensor"]])
def test_by_names_some_of_the_group(by: list[str]) -> None:
    with pytest.raises(ValueError, match=r"by is .* of: data, target, protocol, seed\."):
        rank_correlations(pd.DataFrame(one_group()), by=by)
