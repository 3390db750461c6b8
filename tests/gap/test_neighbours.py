"""Ranks, mixing and neighbours in common against loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from socketlab.gap.neighbours import (
    mutual_neighbours,
    neighbour_mixing,
    partner_ranks,
    retrieval,
)

Array = npt.NDArray[np.float64]
Unit = Callable[[Array], Array]
Small = Callable[..., tuple[Array, Array]]


def test_neighbour_mixing_matches_loops(small: Small, unit: Unit) -> None:
    x, y = small(n=14)
    rows, n = unit(np.concatenate([x, y])), 14
    other = 0
    for i in range(2 * n):
        candidates = [j for j in range(2 * n) if j % n != i % n]
        cosine = {j: float(rows[i] @ rows[j]) for j in candidates}
        nearest = sorted(candidates, key=cosine.__getitem__, reverse=True)[:4]
        other += sum((j < n) != (i < n) for j in nearest)
    expected = other / (2 * n * 4) / 0.5
    assert neighbour_mixing(x, y, neighbours=4) == pytest.approx(expected, rel=1e-12)


def test_retrieval_matches_loops(small: Small, unit: Unit) -> None:
    x, y = small(n=15, d=3)
    found = retrieval(x, y)
    u, v = unit(x), unit(y)
    for direction, queries, gallery in ((found.x_to_y, u, v), (found.y_to_x, v, u)):
        ranks = [1 + sum(q @ g > q @ gallery[i] for g in gallery) for i, q in enumerate(queries)]
        assert 0 < np.mean(np.array(ranks) <= 1) < 1
        assert direction.recall_at_1 == pytest.approx(np.mean(np.array(ranks) <= 1))
        assert direction.recall_at_5 == pytest.approx(np.mean(np.array(ranks) <= 5))
        assert direction.median_rank == np.median(ranks)
    assert found.x_to_y != found.y_to_x
    assert (found.chance_at_1, found.chance_at_5, found.n) == (1 / 15, 1 / 3, 15)


def test_ties_count_against_the_query(small: Small) -> None:
    x, _ = small(n=6)
    gallery = np.repeat(x[:2], 3, axis=0)
    assert partner_ranks(gallery, gallery).tolist() == [3] * 6


def test_mutual_neighbours_match_scikit_learn_for_unequal_widths(small: Small) -> None:
    x, y = small(n=40)
    y = np.concatenate([y, np.random.default_rng(5).standard_normal((40, 2))], axis=1)
    sets = []
    for rows in (x, y):
        near = NearestNeighbors(n_neighbors=6, metric="cosine").fit(rows).kneighbors(rows)[1]
        sets.append([set(found) - {i} for i, found in enumerate(near.tolist())])
        assert all(len(found) == 5 for found in sets[-1])
    expected = np.mean([len(a & b) / 5 for a, b in zip(*sets, strict=True)])
    assert 0.2 < expected < 0.9
    assert mutual_neighbours(x, y, neighbours=5) == pytest.approx(expected, rel=1e-12)


def test_mutual_neighbours_need_partners_and_see_no_rotation(small: Small) -> None:
    x, _ = small(n=200, d=8)
    draw = np.random.default_rng(1)
    turned = x @ np.linalg.qr(draw.standard_normal((8, 8)))[0]
    assert mutual_neighbours(x, turned) == 1
    chance = 10 / 199
    assert mutual_neighbours(x, turned[draw.permutation(200)]) == pytest.approx(chance, abs=0.02)


def test_too_few_neighbours_or_items_are_refused(small: Small) -> None:
    x, y = small(n=20)
    for measure in (mutual_neighbours, neighbour_mixing):
        with pytest.raises(ValueError, match="neighbours is 0"):
            measure(x, y, neighbours=0)
    with pytest.raises(ValueError, match="x has 20 rows, too few: this needs 21"):
        mutual_neighbours(x, y)
    with pytest.raises(ValueError, match="x has 20 rows, too few: this needs 21"):
        neighbour_mixing(x, y)


def test_an_item_is_no_neighbour_of_its_own_even_where_all_others_point_away() -> None:
    def around(*degrees: float) -> Array:
        return np.stack([[np.cos(a), np.sin(a)] for a in np.radians(degrees)])

    # Nearest in x: 110, 0, 0 degrees; in y: 240, 240, 130. No one in common.
    x, y = around(0, 110, 240), around(0, 130, 240)
    assert mutual_neighbours(x, y, neighbours=1) == 0
    assert mutual_neighbours(x, x, neighbours=1) == 1
