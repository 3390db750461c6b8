"""Sampling for a projection: in proportion to groups and classes, partners kept together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from socketlab.gap.projection_sampling import keep_rows


def test_all_rows_are_kept_where_there_is_room() -> None:
    kept = keep_rows({"rgb": 3, "depth": 2}, most=5, paired=[], seed=0, strata={"rgb": list("aab")})
    assert {name: rows.tolist() for name, rows in kept.items()} == {
        "rgb": [0, 1, 2],
        "depth": [0, 1],
    }


def test_groups_are_sampled_in_proportion_and_partners_together() -> None:
    sizes = {"rgb": 200, "other": 97, "depth": 200, "nir": 200}
    paired = [("depth", "nir"), ("rgb", "depth")]
    kept = keep_rows(sizes, most=70, paired=paired, seed=0)
    assert sum(len(rows) for rows in kept.values()) <= 70
    for name, rows in kept.items():
        assert len(rows) == pytest.approx(70 * sizes[name] / 697, abs=1.5)
        assert (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < sizes[name]
    np.testing.assert_array_equal(kept["rgb"], kept["depth"])
    np.testing.assert_array_equal(kept["rgb"], kept["nir"])
    loose = keep_rows(sizes, most=70, paired=[], seed=0)
    assert not np.array_equal(loose["rgb"], loose["depth"])
    other_seed = keep_rows(sizes, most=70, paired=[], seed=1)
    assert not np.array_equal(loose["rgb"], other_seed["rgb"])


@pytest.mark.parametrize("seed", range(20))
def test_each_class_is_kept_in_proportion_and_at_least_once_where_there_is_room(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size = int(draw.integers(20, 400))
    names = [f"class {place}" for place in range(int(draw.integers(2, 12)))]
    # Very uneven classes, so that some are below one row in proportion.
    weights = draw.dirichlet(np.full(len(names), 0.3))
    labels = [str(name) for name in draw.choice(names, size, p=weights)]
    quota = int(draw.integers(3, size))
    (rows,) = keep_rows(
        {"rgb": size}, most=quota, paired=[], seed=seed, strata={"rgb": labels}
    ).values()
    assert len(rows) == len(set(rows.tolist())) == quota
    all_of, kept_of = Counter(labels), Counter(labels[row] for row in rows)
    share = {name: quota * count / size for name, count in all_of.items()}
    room = quota >= len(all_of)
    # What rare classes are lifted to one by is taken from the largest.
    lifted = sum(1 for name in all_of if share[name] < 1) if room else 0
    for name, count in all_of.items():
        assert kept_of[name] >= (1 if room else 0)
        assert kept_of[name] <= count
        assert -1 - lifted < kept_of[name] - share[name] < 1


@pytest.mark.parametrize("seed", range(8))
def test_classes_by_hand(seed: int) -> None:
    labels = ["a"] * 57 + ["b"] * 42 + ["c"]

    def kept(most: int) -> Counter[str]:
        rows = keep_rows({"x": 100}, most=most, paired=[], seed=seed, strata={"x": labels})["x"]
        return Counter(labels[row] for row in rows)

    assert kept(70) == {"a": 40, "b": 29, "c": 1}  # in proportion 39.9, 29.4 and 0.7
    assert kept(10) == {"a": 5, "b": 4, "c": 1}  # 5.7, 4.2 and 0.1, then one for c from a
    assert kept(3) == {"a": 1, "b": 1, "c": 1}
    assert kept(2) == {"a": 1, "b": 1}


def test_where_not_every_class_has_room_no_name_is_favoured() -> None:
    labels = [f"class {row % 10}" for row in range(100)]
    found: Counter[str] = Counter()
    for seed in range(60):
        rows = keep_rows({"x": 100}, most=5, paired=[], seed=seed, strata={"x": labels})["x"]
        assert len({labels[row] for row in rows}) == 5
        found.update(labels[row] for row in rows)
    # 30 expected of each; binomial, standard deviation 3.9.
    assert len(found) == 10 and all(14 <= count <= 46 for count in found.values())


def test_rows_within_a_class_are_drawn_and_not_the_first() -> None:
    labels = np.repeat([0, 1], 50)
    rows = keep_rows({"x": 100}, most=20, paired=[], seed=0, strata={"x": labels})["x"]
    assert (labels[rows] == 0).sum() == 10
    assert rows[:10].max() > 20 and rows[10:].max() > 70
    again = keep_rows({"x": 100}, most=20, paired=[], seed=0, strata={"x": labels.tolist()})
    np.testing.assert_array_equal(again["x"], rows)
    other = keep_rows({"x": 100}, most=20, paired=[], seed=1, strata={"x": labels})
    assert not np.array_equal(other["x"], rows)


@pytest.mark.parametrize("known", ["rgb", "depth"])
def test_the_classes_of_one_partner_serve_all(known: str) -> None:
    labels = ["a"] * 90 + ["b"] * 10
    sizes = {"rgb": 100, "depth": 100, "loose": 100}
    kept = keep_rows(sizes, most=60, paired=[("rgb", "depth")], seed=0, strata={known: labels})
    np.testing.assert_array_equal(kept["rgb"], kept["depth"])
    assert Counter(labels[row] for row in kept["rgb"]) == {"a": 18, "b": 2}
    plain = keep_rows(sizes, most=60, paired=[("rgb", "depth")], seed=0)
    np.testing.assert_array_equal(kept["loose"], plain["loose"])


def test_errors_name_the_group_the_row_and_the_next_action() -> None:
    sizes = {"rgb": 4, "depth": 4}
    pair = [("rgb", "depth")]
    with pytest.raises(ValueError, match=r"Unknown group 'nir' in strata\. Known: rgb, depth"):
        keep_rows(sizes, most=9, paired=[], seed=0, strata={"nir": [0] * 4})
    with pytest.raises(ValueError, match=r"'depth' has shape \(3,\) for 4 rows\. Pass one class"):
        keep_rows(sizes, most=9, paired=[], seed=0, strata={"depth": [0] * 3})
    with pytest.raises(ValueError, match=r"'rgb' and 'depth' have classes 'b' and 'c' in row 2"):
        keep_rows(
            sizes, most=9, paired=pair, seed=0, strata={"rgb": list("aabb"), "depth": list("aacb")}
        )
    with pytest.raises(ValueError, match="most is 1 for 2 groups"):
        keep_rows(sizes, most=1, paired=[], seed=0)
    with pytest.raises(ValueError, match=r"Unknown group 'nir' in paired\. Known: rgb, depth"):
        keep_rows(sizes, most=9, paired=[("rgb", "nir")], seed=0)
    with pytest.raises(ValueError, match="'rgb' and 'depth' have 4 and 5 rows"):
        keep_rows({"rgb": 4, "depth": 5}, most=9, paired=pair, seed=0)
