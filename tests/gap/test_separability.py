"""The modality classifier against folds made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from socketlab.gap.separability import modality_guesses, proxy_a_distance

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def test_proxy_a_distance_matches_folds_by_hand(small: Small, unit: Unit) -> None:
    x, y = small(n=60)
    y[:, 0] += 2
    rows, label = np.concatenate([unit(x), unit(y)]), np.repeat([0, 1], 60)
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


def test_both_halves_of_a_pair_are_held_out_together(small: Small) -> None:
    x, _ = small(n=40, d=30)
    # Equal partners, one classifier: exactly one of the two guesses can be right.
    assert modality_guesses(x, x).sum(dim=1).tolist() == [1] * 40
    assert proxy_a_distance(x, x) == 0


def test_unequal_sides_are_told_apart_no_better_than_chance_where_there_is_no_difference() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((600, 4)), draw.standard_normal((100, 4))
    # A classifier that saw all 700 rows would be right 6 times of 7 by naming the larger side.
    assert proxy_a_distance(x, y) < 0.35
    assert proxy_a_distance(y, x) < 0.35
    y[:, 0] += 6
    assert proxy_a_distance(x, y) > 1.7
    assert proxy_a_distance(x, y, seed=1) == proxy_a_distance(x, y, seed=1)


def test_the_larger_side_is_thinned_at_random_and_not_cut_off() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((400, 4)), draw.standard_normal((100, 4))
    # The first rows of x alone would be told apart from y with ease.
    x[:100, 0] += 6
    assert proxy_a_distance(x, y) < 1
    with pytest.raises(ValueError, match="y has 4 rows, too few: this needs 5"):
        proxy_a_distance(x, y[:4])
