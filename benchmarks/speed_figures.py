"""The figures of speed.py: what a step is made of, and how cost grows."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from socketlab.figures.style import (
    MUTED,
    PAPER,
    lighten,
    method_colour,
    place,
    sheet,
    styled,
    write,
)

Row = Mapping[str, Any]

PARTS = {
    "bare": "#0072B2",
    "teacher": "#E69F00",
    "gathering": "#009E73",
    "optimiser": "#CC79A7",
    "rest": "#9AA2AC",
}
AXES = {
    "images": "target images",
    "classes": "classes",
    "sources": "source models",
}
LINES = {"step": "-", "bare": ":", "pseudo-labels": "--", "neighbours": "--"}


def parts_of_step(row: Row) -> dict[str, float]:
    """Share of the step that each part takes, the median over turns; `rest` is what is over."""
    step = np.array(row["seconds"]["step"])
    shares = {
        part: float(np.median(np.array(row["seconds"][part]) / step))
        for part in PARTS
        if part != "rest"
    }
    return shares | {"rest": 1 - sum(shares.values())}


@styled
def steps_figure(rows: Sequence[Row]) -> Figure | None:
    """A bar for each method: what its step is made of; a panel for each network and batch."""
    panels: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        case = row["case"]
        if row["kind"] == "step" and (case["dtype"], case["compiler"]) == ("auto", "off"):
            key = (case["network"], case["crop"], case["batch"])
            panels.setdefault(key, []).append(row)
    if not panels:
        return None
    across, bar, width = 2, 0.24, 3.6
    heights = [bar * len(found) for found in panels.values()]
    lines = [max(heights[at : at + across]) for at in range(0, len(heights), across)]
    figure = sheet(0.3 + across * (width + 2.6), 1.0 + sum(lines) + 0.95 * len(lines))
    write(figure, "What a training step is made of", 0.3, 0.2, size=13, bold=True)
    top = 1.05
    for number, (key, found) in enumerate(panels.items()):
        line, column = divmod(number, across)
        left = 1.75 + column * (width + 2.6)
        above = top + sum(lines[:line]) + 0.95 * line
        axes = place(figure, left, above, width, heights[number])
        _bars(axes, found)
        axes.set_title(f"{key[0]}, {key[1]} px, batches of {key[2]}", x=0, pad=6)
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    left = 0.3
    names = {"bare": "bare forward and backward", "rest": "statistics, losses, loop"}
    for part, colour in PARTS.items():
        write(figure, "\N{BLACK SQUARE}", left, 0.5, size=11, colour=colour)
        name = names.get(part, part)
        write(figure, name, left + 0.18, 0.5, size=9.5)
        left += 0.5 + 0.083 * len(name)


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    for position, row in enumerate(rows):
        shares, left = parts_of_step(row), 0.0
        whole = max(1.0, sum(max(0.0, share) for share in shares.values()))
        for part, colour in PARTS.items():
            share = max(0.0, shares[part]) / whole
            axes.barh(position, share, left=left, height=0.74, color=colour)
            left += share
        axes.text(
            0.01,
            position,
            f"{shares['bare']:.0%}",
            color=PAPER,
            va="center",
            fontsize=8.5,
            fontweight="bold",
        )
        step = 1000 * median(row["seconds"]["step"])
        axes.text(1.02, position, f"{step:,.0f} ms", color=MUTED, va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [row["case"]["method"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def growth_figure(rows: Sequence[Row], slug: str) -> dict[str, Figure | None]:
    """By its name: how milliseconds grow with images, classes and sources, on logarithmic axes."""
    return {f"speed_growth_{slug}": _growth([row for row in rows if row["kind"] == "growth"])}


@styled
def _growth(rows: Sequence[Row]) -> Figure | None:
    if not rows:
        return None
    width, height = 3.0, 2.9
    figure = sheet(0.4 + len(AXES) * (width + 0.85) + 1.2, height + 1.35)
    write(figure, "How cost grows (resnet_small, milliseconds)", 0.3, 0.2, size=13, bold=True)
    for number, (axis, title) in enumerate(AXES.items()):
        axes = place(figure, 0.75 + number * (width + 0.85), 0.7, width, height)
        found = [row for row in rows if row["about"] == axis]
        for method in dict.fromkeys(row["case"]["method"] for row in found):
            mine = [row for row in found if row["case"]["method"] == method]
            _lines(axes, mine, axis, method)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(title)
        axes.grid(axis="y")
        values = sorted({row["case"][axis] for row in found})
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _growth_legend(figure, rows, 0.4 + len(AXES) * (width + 0.85) - 0.25)
    return figure


def _lines(axes: Axes, rows: Sequence[Row], axis: str, method: str) -> None:
    places = [row["case"][axis] for row in rows]
    for part, style in LINES.items():
        seconds = [row["seconds"].get(part) for row in rows]
        # The bare step of all methods is the same one batch or two: SOCKET's is enough.
        if not all(seconds) or (part == "bare" and method != "socket"):
            continue
        milliseconds = [1000 * median(each) for each in seconds]
        colour = method_colour(method)
        axes.plot(
            places,
            milliseconds,
            style,
            color=lighten(colour, 0.35) if part == "bare" else colour,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )


def _growth_legend(figure: Figure, rows: Sequence[Row], left: float) -> None:
    top = 0.75
    for method in dict.fromkeys(row["case"]["method"] for row in rows):
        write(figure, "\N{BLACK SQUARE}", left, top, size=11, colour=method_colour(method))
        write(figure, method, left + 0.18, top, size=9.5)
        top += 0.24
    for words in ("— a step", "···  its bare step", "- -  pseudo-labels", "       or neighbours"):
        write(figure, words, left, top + 0.15, size=9.5, colour=MUTED)
        top += 0.24
