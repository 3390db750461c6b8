"""The gap metrics before and after."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from socketlab.figures.gap import gap_bars

Check = Callable[[Figure], Any]
BEFORE = [
    {"metric": "centroid gap", "value": 0.6, "low": 0.55, "high": 0.66},
    {"metric": "RMG", "value": 0.5, "low": None, "high": None},
    {"metric": "MMD^2", "value": 0.3, "low": 0.2, "high": 0.4},
]
AFTER = [
    SimpleNamespace(metric="MMD^2", value=-0.004, low=-0.01, high=0.01),
    SimpleNamespace(metric="centroid gap", value=0.1, low=0.05, high=0.12),
    SimpleNamespace(metric="RMG", value=0.2, low=float("nan"), high=0.3),
]


def test_values_and_intervals_are_matched_by_metric(
    check_figure: Check,
) -> None:
    figure = check_figure(gap_bars(BEFORE, AFTER))
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[0.6, 0.1], [0.5, 0.2], [0.3, -0.004]]
    upright = figure.axes[0].collections[0].get_segments()[0]
    assert upright[:, 1].tolist() == [0.55, 0.66]
    assert len(figure.axes[1].collections) == 0, "no interval is drawn where there is none"
    assert figure.axes[2].get_ylim()[0] < -0.01
    assert "\N{MINUS SIGN}0.004" in [text.get_text() for text in figure.axes[2].texts]


def test_a_rows_own_reading_goes_first(check_figure: Check) -> None:
    rows = [{**row, "reads": f"reading of {row['metric']}"} for row in BEFORE[:1]]
    figure = check_figure(gap_bars(rows, AFTER[1:2]))
    assert figure.texts[0].get_text() == "reading of centroid gap"


def test_nine_metrics_with_long_words(check_figure: Check) -> None:
    rows = [
        {"metric": f"metric {i}", "value": 1e-5 * 10**i, "low": 0, "high": 2e-5 * 10**i,
         "reads": "0: a linear classifier cannot tell the modalities apart; 2: always"}
        for i in range(9)
    ]  # fmt: skip
    check_figure(gap_bars(rows, rows))


def test_gap_bars_refuses() -> None:
    with pytest.raises(ValueError, match="'RMG' is on one side only"):
        gap_bars(BEFORE, [AFTER[0], AFTER[1]])
    with pytest.raises(ValueError, match="no rows"):
        gap_bars([], [])
