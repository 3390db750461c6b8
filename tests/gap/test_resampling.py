"""Subsets and resamples: nested, kept in pairs, and drawn apart where there are none."""

from __future__ import annotations

import torch

from socketlab.gap.resampling import draws


def _rows(n: int, start: int = 0) -> torch.Tensor:
    """Unit rows [n, 2], of which no two are alike."""
    angles = torch.arange(start, start + n, dtype=torch.float64) / 100
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _places(rows: torch.Tensor) -> list[int]:
    return (100 * torch.atan2(rows[:, 1], rows[:, 0])).round().long().tolist()


def test_partners_stay_together_and_the_smaller_subset_lies_in_the_larger() -> None:
    found = list(draws(_rows(50), _rows(50, 100), (30, 10), (3, 4), 25))
    for everyone, few in found:
        for draw, size in ((everyone, 30), (few, 10)):
            places = _places(draw.x)
            assert len(places) == size and places == sorted(set(places))
            assert [place + 100 for place in places] == _places(draw.y)
            assert draw.weights_x is draw.weights_y
            assert draw.weights_x.shape == (26, size)
            assert (draw.weights_x[0] == 1).all() and (draw.weights_x.sum(dim=1) == size).all()
            assert len(draw.weights_x[1:].unique(dim=0)) == 25
        assert set(_places(few.x)) < set(_places(everyone.x))
    assert [draw.seed for draw, _ in found] == [3, 4]
    assert _places(found[0][0].x) != _places(found[1][0].x)


def test_all_rows_are_one_subset_whatever_the_seed() -> None:
    x, y = _rows(20), _rows(20, 100)
    found = list(draws(x, y, (20, 20), (0, 1), 25))
    assert all(everyone is few for everyone, few in found)
    # What takes long is computed once.
    assert found[0][0].subset is found[1][0].subset
    assert found[0][0].x is x and found[0][0].y is y
    assert not torch.equal(found[0][0].weights_x, found[1][0].weights_x)


def test_sides_of_unequal_length_are_drawn_and_resampled_apart() -> None:
    ((draw, _),) = draws(_rows(40), _rows(30, 100), (20, 20), (0,), 25)
    assert not draw.subset.paired
    assert [place + 100 for place in _places(draw.x)] != _places(draw.y)
    assert not torch.equal(draw.weights_x, draw.weights_y)
    assert (draw.weights_y.sum(dim=1) == 20).all()


def test_answers_are_averaged_by_their_own_sides_weights() -> None:
    ((draw, _),) = draws(_rows(40), _rows(30, 100), (20, 20), (0,), 25)
    answers = torch.arange(40, dtype=torch.float64).reshape(20, 2)
    mean = draw.mean(answers)
    for b in (0, 1, 25):
        total = sum(
            float(draw.weights_x[b, i] * answers[i, 0] + draw.weights_y[b, i] * answers[i, 1])
            for i in range(20)
        )
        assert float(mean[b]) == total / 40
    assert float(draw.mean(answers[:, 0] > 10)[0]) == 14 / 20
