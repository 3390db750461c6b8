"""Reliability by bins against a loop over predictions, and tables done by hand."""

import math
from typing import Any

import numpy as np
import pytest

from socketlab.gap.calibration import reliability


def naive(confidence: list[float], right: list[bool], bins: int) -> list[tuple[float, ...]]:
    """Count, mean confidence, accuracy and share of the error of each bin."""
    found = []
    for b in range(bins):
        last = b == bins - 1
        inside = [
            i
            for i, value in enumerate(confidence)
            if b / bins <= value < (b + 1) / bins or (last and value == 1)
        ]
        n = len(inside)
        if n == 0:
            found.append((0, math.nan, math.nan, 0.0))
            continue
        mean = sum(confidence[i] for i in inside) / n
        accuracy = sum(right[i] for i in inside) / n
        found.append((n, mean, accuracy, n / len(confidence) * abs(accuracy - mean)))
    return found


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reliability_is_that_of_the_loop(bins: int, count: int, dtype: Any) -> None:
    draw = np.random.default_rng(bins + count)
    confidence = draw.uniform(0.2, 1.0, count).astype(dtype)
    right = draw.random(count) < confidence**2
    expected = naive([float(value) for value in confidence], right.tolist(), bins)
    found = reliability(confidence, right, bins)
    assert found.edges.tolist() == pytest.approx([b / bins for b in range(bins + 1)], abs=1e-15)
    assert found.count.tolist() == [row[0] for row in expected]
    for values, column in ((found.confidence, 1), (found.accuracy, 2)):
        wanted = [row[column] for row in expected]
        assert values.tolist() == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    assert found.error == pytest.approx(sum(row[3] for row in expected), abs=1e-12)


def test_four_predictions_by_hand() -> None:
    found = reliability(np.array([0.6, 0.7, 0.9, 1.0]), np.array([True, False, True, True]), bins=2)
    assert found.count.tolist() == [0, 4]
    assert np.isnan(found.confidence[0]) and np.isnan(found.accuracy[0])
    assert found.confidence[1] == pytest.approx(0.8)
    assert found.accuracy[1] == pytest.approx(0.75)
    assert found.error == pytest.approx(0.05)


@pytest.mark.parametrize("bins", [3, 10, 100])
def test_bins_are_closed_below_and_the_last_one_above(bins: int) -> None:
    # b / bins as a reader writes it: 0.3 and not 0.1 * 3.
    edges = np.array([b / bins for b in range(bins + 1)])
    found = reliability(edges, np.ones(bins + 1, dtype=bool), bins)
    assert found.count.tolist() == [1] * (bins - 1) + [2]


def test_over_and_under_confidence_do_not_cancel_between_bins() -> None:
    confidence = np.array([0.55] * 10 + [0.95] * 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    found = reliability(confidence, right)
    # Right in 9 and 5 of ten, which is 0.35 too often and 0.45 too seldom.
    assert found.error == pytest.approx((0.35 + 0.45) / 2)
    assert reliability(confidence, right, bins=1).error == pytest.approx(0.05)


def test_confidence_that_is_right_has_no_error_and_confidence_that_is_wrong_has_all() -> None:
    certain = np.ones(5)
    assert reliability(certain, np.ones(5, dtype=bool)).error == 0
    assert reliability(certain, np.zeros(5, dtype=bool)).error == 1


def test_above_one_by_rounding_counts_as_one() -> None:
    found = reliability(np.array([1.0 + 2e-7], dtype=np.float32), np.array([True]))
    assert found.count.tolist() == [0] * 9 + [1]
    assert found.confidence[9] == 1


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "message"),
    [
        ([0.5, 0.5], [True], 10, r"shape \[N\].*found \(2,\) and \(1,\)"),
        ([[0.5]], [[True]], 10, r"found \(1, 1\) and \(1, 1\)"),
        ([], [], 10, r"at least one, found \(0,\)"),
        ([0.5], [1], 10, "right must be bool, found int64: pass answers == labels"),
        ([0.5], [True], 0, "bins must be at least 1, found 0"),
        ([50.0], [True], 10, r"confidence must lie in \[0, 1\], found values from 50 to 50"),
        ([0.5, -0.1], [True, True], 10, r"found values from -0\.1 to 0\.5"),
        ([math.nan], [True], 10, r"found values from nan"),
    ],
)
def test_wrong_inputs_are_named(confidence: Any, right: Any, bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(np.array(confidence), np.array(right), bins)
