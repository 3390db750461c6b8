"""The gap metrics before and after, each on its own scale and with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.style import INK, MUTED, fold, place, sheet, signed, styled, write

# How to read each metric: its name in words, and the words below it.
_READING: Final[Mapping[str, tuple[str, str]]] = {
    "centroid": ("Centroid gap", "0: same centre"),
    "residual": ("Residual pair gap", "0: partners coincide"),
    "pair": ("Pair gap", "0: partners coincide"),
    "rmg": ("RMG", "0: pairs coincide, 0.5: no closer than strangers"),
    "mmd": ("MMD²", "0: same law"),
    "frechet": ("Fréchet distance", "0: same Gaussian"),
    "proxy": ("Proxy A-distance", "0: inseparable, 2: separable"),
    "mixing": ("Neighbour mixing", "1: mixed, 0: split"),
    "pad": ("Proxy A-distance", "0: inseparable, 2: separable"),
    "r@": ("Retrieval", "1: the partner is found"),
    "recall": ("Retrieval", "1: the partner is found"),
    "retrieval": ("Retrieval", "1: the partner is found"),
    "alignment": ("Alignment", "0: partners coincide"),
    "uniformity": ("Uniformity", "lower: more spread out"),
    "cka": ("Linear CKA", "1: same relations; not a gap"),
    "accuracy": ("Accuracy", "1: all right"),
}


@styled
def gap_bars(before: Sequence[Any], after: Sequence[Any]) -> Figure:
    """The gap metrics before and after, a small panel each, with their intervals.

    `before` and `after` are rows with `metric`, `value`, `low` and `high` (attributes or keys of a
    mapping; `low` and `high` may be None or NaN), matched by `metric`; `reads`, where a row has it,
    says how to read it. Every panel has its own scale, as the metrics do.
    Raises ValueError for no rows, or a metric that only one of the two has.
    """
    first = {str(_field(row, "metric")): row for row in before}
    second = {str(_field(row, "metric")): row for row in after}
    alone = sorted(set(first) ^ set(second))
    if alone or not first:
        found = f"Metric {alone[0]!r} is on one side only" if alone else "There are no rows"
        raise ValueError(f"{found}. Give the same metrics before and after.")
    across = len(first) if len(first) <= 5 else 4
    down = -(-len(first) // across)
    cell_width, cell_height, gap, words = 1.75, 1.75, 0.75, 1.15
    height = down * (cell_height + words) + 0.1
    figure = sheet(0.7 + across * (cell_width + gap) - gap + 0.25, height)
    for position, metric in enumerate(first):
        left = 0.7 + (position % across) * (cell_width + gap)
        top = 0.5 + (position // across) * (cell_height + words)
        axes = place(figure, left, top, cell_width, cell_height)
        _gap_panel(axes, first[metric], second[metric])
        name, reading = _reading(metric, first[metric])
        axes.set_title(fold(name, cell_width + 0.5, 10.5), fontsize=10.5, x=-0.2, pad=10)
        write(
            figure,
            fold(reading, cell_width + 0.6, 8.5),
            left - 0.35,
            top + cell_height + 0.26,
            size=8.5,
            colour=MUTED,
        )
    return figure


def _reading(metric: str, row: Any) -> tuple[str, str]:
    """The metric's name in words, and how to read it: as the row says, else as known here."""
    own = row.get("reads") if isinstance(row, Mapping) else getattr(row, "reads", None)
    words = metric.replace("_", " ")
    words = words[:1].upper() + words[1:]
    for part, (name, reading) in _READING.items():
        if part in metric.lower():
            several = part in ("r@", "recall", "retrieval", "accuracy")
            return words if several else name, str(own or reading)
    return words, str(own or "")


def _gap_panel(axes: Axes, before: Any, after: Any) -> None:
    ends = [0.0]
    for position, (row, colour) in enumerate(((before, "#9AA2AC"), (after, "#0072B2"))):
        value = float(_field(row, "value"))
        low, high = (_number(_field(row, name)) for name in ("low", "high"))
        axes.bar(position, value, width=0.62, color=colour)
        reach = [value, *(end for end in (low, high) if np.isfinite(end))]
        if np.isfinite(low) and np.isfinite(high):
            axes.vlines(position, low, high, color=INK, linewidth=1.5)
            axes.hlines([low, high], position - 0.08, position + 0.08, color=INK, linewidth=1.5)
        ends += reach
        axes.annotate(
            signed(f"{value:.3g}"),
            (position, max(0.0, *reach)),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9.5,
            fontweight="bold",
        )
    bottom, top = min(ends), max(ends)
    span = max(top - bottom, 1e-9)
    axes.set_ylim(bottom - (0.06 * span if bottom < 0 else 0.0), top + 0.18 * span)
    axes.set_xlim(-0.55, 1.55)
    axes.set_xticks([0, 1], ["before", "after"])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    if bottom < 0:
        axes.axhline(0.0, color="#8A929C", linewidth=0.8)


def _field(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, Mapping) else getattr(row, name)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
