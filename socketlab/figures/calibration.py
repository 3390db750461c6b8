"""Whether a model is as sure as it is right: reliability diagrams."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.style import (
    INK,
    MUTED,
    RIGHT,
    WRONG,
    fold,
    lighten,
    lines_high,
    place,
    sheet,
    styled,
    write,
)

FloatArray = npt.NDArray[np.float64]

_SIDE: Final = 2.5  # inches: the diagram is a square, or its diagonal would mislead
_COUNTS: Final = 0.75
_GAP: Final = 0.12
_LEFT: Final = 0.85
_SPACE: Final = 0.95
_ACROSS: Final = 3
_EVEN: Final = 0.02  # a difference of confidence and accuracy that is called none
_KEY: Final = (
    "Blue and green together: accuracy of the images of that confidence. Orange: what "
    "it lacks of their mean confidence (too sure). Green: by how much it exceeds that (not sure "
    "enough). Dashed: as sure as right. Below: images. ECE: mean gap over the images."
)


class CalibrationCurve(Protocol):
    """Confidence and accuracy over B bins of confidence, as `gap.calibration` measures them.

    `edges` [B + 1] rise within [0, 1]; `count` [B] images; `confidence` and `accuracy` [B] are
    means over a bin's images (of no meaning where it has none); `error` is the expected
    calibration error, sum_b count_b / N |accuracy_b - confidence_b|.
    """

    @property
    def edges(self) -> npt.NDArray[Any]: ...
    @property
    def count(self) -> npt.NDArray[Any]: ...
    @property
    def confidence(self) -> npt.NDArray[Any]: ...
    @property
    def accuracy(self) -> npt.NDArray[Any]: ...
    @property
    def error(self) -> float: ...


@styled
def reliability_diagram(panels: Mapping[str, CalibrationCurve]) -> Figure:
    """Accuracy by confidence against the diagonal, a panel per name, three beside each other.

    The gap between a bin's accuracy and its mean confidence is shaded, the images of each bin are
    counted below, and the heading has the expected calibration error (ECE), mean confidence and
    accuracy in words. Bins without an image have no bar.
    Raises ValueError for no panel, lengths that do not belong together, edges that do not rise
    within [0, 1], no image at all, or shares outside [0, 1].
    """
    if not panels:
        raise ValueError("There is no curve to draw. Give one panel at least.")
    for name, curve in panels.items():
        _check(name, curve)
    across = min(_ACROSS, len(panels))
    width = _LEFT + across * (_SIDE + _SPACE) - _SPACE + 0.35
    key = fold(_KEY, width - 0.4, 9)
    titles = [fold(name, _SIDE + _SPACE - 0.3, 11) for name in panels]
    words = [fold(_words(curve), _SIDE + _SPACE - 0.3, 9) for curve in panels.values()]
    title_high = max(lines_high(title, 11) for title in titles)
    head = 0.2 + title_high + max(lines_high(text, 9) for text in words) + 0.1
    panel_high = head + _SIDE + _GAP + _COUNTS + 0.55
    rows = -(-len(panels) // across)
    figure = sheet(width, rows * panel_high + 0.2 + lines_high(key, 9))
    for number, curve in enumerate(panels.values()):
        left = _LEFT + number % across * (_SIDE + _SPACE)
        top = number // across * panel_high
        write(figure, titles[number], left - 0.6, top + 0.14, size=11, bold=True)
        write(figure, words[number], left - 0.6, top + 0.16 + title_high, size=9, colour=MUTED)
        upper = place(figure, left, top + head, _SIDE, _SIDE)
        _bars(upper, curve)
        lower = place(figure, left, top + head + _SIDE + _GAP, _SIDE, _COUNTS)
        _counts(lower, curve)
        if number % across == 0:
            upper.set_ylabel("Accuracy (%)")
            lower.set_ylabel("Images")
    write(figure, key, 0.2, rows * panel_high + 0.08, size=9, colour=MUTED)
    return figure


def _check(name: str, curve: CalibrationCurve) -> None:
    edges, bins = np.asarray(curve.edges, dtype=np.float64), len(curve.count)
    lengths = (len(edges), len(curve.confidence), len(curve.accuracy))
    if lengths != (bins + 1, bins, bins):
        raise ValueError(
            f"{name!r} has {bins} counts, but {lengths[0]} edges, {lengths[1]} confidences and "
            f"{lengths[2]} accuracies. Give one more edge than bins, and one of each per bin."
        )
    if not ((np.diff(edges) > 0.0).all() and edges[0] >= 0.0 and edges[-1] <= 1.0):
        raise ValueError(f"The edges of {name!r} are {edges}. Give them rising from 0 to 1.")
    filled = np.asarray(curve.count) > 0
    if not filled.any():
        raise ValueError(f"{name!r} has no image in any bin. Give one image at least.")
    for what in ("confidence", "accuracy"):
        values = np.asarray(getattr(curve, what), dtype=np.float64)[filled]
        # Written so that NaN, which compares as false, is refused.
        if not (values.min() >= 0.0 and values.max() <= 1.0 + 1e-6):
            raise ValueError(
                f"The {what} of {name!r} reaches {values.min():g} to {values.max():g}. Give shares "
                "between 0 and 1."
            )


def _filled(curve: CalibrationCurve) -> tuple[FloatArray, ...]:
    """Lower edge, width, count, confidence and accuracy of the bins that have images."""
    edges, count = np.asarray(curve.edges, np.float64), np.asarray(curve.count, np.float64)
    parts = (edges[:-1], np.diff(edges), count, curve.confidence, curve.accuracy)
    return tuple(np.asarray(part, dtype=np.float64)[count > 0] for part in parts)


def _words(curve: CalibrationCurve) -> str:
    _, _, count, confidence, accuracy = _filled(curve)
    sure = float(np.average(confidence, weights=count))
    right = float(np.average(accuracy, weights=count))
    if abs(sure - right) < _EVEN:
        verdict = "as sure as right"
    else:
        verdict = "too sure" if sure > right else "not sure enough"
    return (
        f"ECE {curve.error:.3f}. Mean confidence {100 * sure:.0f} %, accuracy {100 * right:.0f} %: "
        f"{verdict}"
    )


def _bars(axes: Axes, curve: CalibrationCurve) -> None:
    left, wide, _, confidence, accuracy = _filled(curve)
    shape: dict[str, Any] = {"width": wide, "align": "edge", "linewidth": 0.8}
    axes.bar(left, accuracy, color=lighten(RIGHT, 0.25), edgecolor="white", **shape)
    for chosen, colour, hatch in (
        (confidence > accuracy, WRONG, "////"),
        (confidence < accuracy, "#009E73", "...."),
    ):
        low, high = np.minimum(confidence, accuracy)[chosen], np.maximum(confidence, accuracy)
        axes.bar(
            left[chosen],
            high[chosen] - low,
            wide[chosen],
            low,
            align="edge",
            facecolor=lighten(colour, 0.6),
            edgecolor=colour,
            hatch=hatch,
            linewidth=0.6,
        )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    _share_axis(axes)
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{tick}" for tick in range(0, 101, 20)])
    axes.tick_params(labelbottom=False)
    axes.grid(axis="y")


def _counts(axes: Axes, curve: CalibrationCurve) -> None:
    left, wide, count, _, _ = _filled(curve)
    axes.bar(left, count, wide, align="edge", color="#8A929C", edgecolor="white", linewidth=0.8)
    axes.set_ylim(0.0, float(count.max()) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _share_axis(axes)
    axes.set_xlabel("Confidence (%)")


def _share_axis(axes: Axes) -> None:
    axes.set_xlim(0.0, 1.0)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{tick}" for tick in range(0, 101, 20)])
