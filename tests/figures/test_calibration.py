"""Reliability diagrams."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures.calibration import reliability_diagram
from socketlab.gap.calibration import reliability

Check = Callable[[Figure], Any]


@dataclass(frozen=True)
class _Curve:
    edges: Any
    count: Any
    confidence: Any
    accuracy: Any
    error: float


# Of 100 images: sure 0.65 on average (10 * 0.2 + 30 * 0.6 + 60 * 0.75), right 0.49.
CURVE = _Curve(
    edges=np.array([0.0, 0.25, 0.5, 0.7, 1.0]),
    count=np.array([10, 0, 30, 60]),
    confidence=np.array([0.2, np.nan, 0.6, 0.75]),
    accuracy=np.array([0.4, np.nan, 0.5, 0.5]),
    error=0.2,
)


def _boxes(axes: Any, container: int) -> list[tuple[float, ...]]:
    """Left, right, bottom and top of the bars drawn by one call."""
    return [
        (
            bar.get_x(),
            bar.get_x() + bar.get_width(),
            bar.get_y(),
            bar.get_y() + bar.get_height(),
        )
        for bar in axes.containers[container]
    ]


def _words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def test_bars_gaps_and_counts(check_figure: Check) -> None:
    figure = check_figure(reliability_diagram({"tgkt": CURVE}))
    upper, lower = figure.axes
    np.testing.assert_allclose(
        _boxes(upper, 0), [(0, 0.25, 0, 0.4), (0.5, 0.7, 0, 0.5), (0.7, 1, 0, 0.5)]
    )
    np.testing.assert_allclose(_boxes(upper, 1), [(0.5, 0.7, 0.5, 0.6), (0.7, 1, 0.5, 0.75)])
    np.testing.assert_allclose(_boxes(upper, 2), [(0, 0.25, 0.2, 0.4)])
    sure, unsure = upper.containers[1][0], upper.containers[2][0]
    assert sure.get_hatch() != unsure.get_hatch()
    assert sure.get_facecolor() != unsure.get_facecolor()
    np.testing.assert_allclose(
        _boxes(lower, 0), [(0, 0.25, 0, 10), (0.5, 0.7, 0, 30), (0.7, 1, 0, 60)]
    )
    assert upper.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert upper.get_xlim() == upper.get_ylim() == lower.get_xlim() == (0, 1)


def test_the_diagram_is_a_square() -> None:
    figure = reliability_diagram({"tgkt": CURVE})
    box, (width, height) = figure.axes[0].get_position(), figure.get_size_inches()
    assert box.width * width == pytest.approx(box.height * height)


@pytest.mark.parametrize(
    ("accuracy", "right", "verdict"),
    [
        ([0.4, 0.0, 0.5, 0.5], 49, "too sure"),
        ([0.2, 0.0, 0.6, 0.75], 65, "as sure as right"),
        ([0.9, 0.0, 0.9, 0.9], 90, "not sure enough"),
    ],
)
def test_the_heading_says_it_in_words(
    check_figure: Check, accuracy: list[float], right: int, verdict: str
) -> None:
    curve = replace(CURVE, accuracy=np.array(accuracy))
    words = _words(check_figure(reliability_diagram({"tgkt": curve})))
    heading = f"ECE 0.200. Mean confidence 65 %, accuracy {right} %: {verdict}"
    assert heading in words


def test_four_curves_stand_in_two_rows(check_figure: Check) -> None:
    names = ["source_only on the raw depth image", "C(F_s(T(x)))", "tgkt", "socket_translated"]
    figure = check_figure(reliability_diagram(dict.fromkeys(names, CURVE)))
    diagrams = figure.axes[::2]
    lefts = [round(axes.get_position().x0, 6) for axes in diagrams]
    assert lefts[0] < lefts[1] < lefts[2] and lefts[3] == lefts[0]
    assert diagrams[3].get_position().y1 < figure.axes[1].get_position().y0
    assert [bool(axes.get_ylabel()) for axes in diagrams] == [True, False, False, True]


def test_it_takes_what_the_gap_measures(check_figure: Check) -> None:
    rng = np.random.default_rng(0)
    confidence = 0.5 + 0.5 * rng.random(200)
    curve = reliability(confidence, rng.random(200) < confidence, 10)
    check_figure(reliability_diagram({"tgkt": curve}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.linspace(0, 1, 4)}, "'tgkt' has 4 counts, but 4 edges"),
        ({"accuracy": np.array([0.5])}, "and 1 accuracies"),
        ({"edges": np.array([0.0, 0.5, 0.5, 0.7, 1.0])}, "edges of 'tgkt'"),
        ({"edges": np.array([0.0, 25, 50, 70, 100])}, "edges of 'tgkt'"),
        ({"count": np.zeros(4, int)}, "'tgkt' has no image"),
        ({"accuracy": np.array([40.0, 0.0, 50.0, 50.0])}, "accuracy of 'tgkt' reaches 40 to 50"),
        ({"confidence": np.array([np.nan] * 4)}, "confidence of 'tgkt' reaches nan"),
    ],
)
def test_reliability_diagram_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability_diagram({"tgkt": replace(CURVE, **change)})


def test_reliability_diagram_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="no curve"):
        reliability_diagram({})
