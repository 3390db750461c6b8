"""How pseudo-labels move as a whole: shares that change and are right, and the classes."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from socketlab.figures.audit import class_words, only_words
from socketlab.figures.labels import text_width
from socketlab.figures.style import (
    INK,
    PAPER,
    RIGHT,
    WRONG,
    class_colours,
    place,
    sheet,
    styled,
    write,
)
from socketlab.gap.audit import LabelHistory, label_flow

_SIDE, _UPPER = 0.2, 2.05  # inches


@styled
def label_flow_figure(history: LabelHistory) -> Figure:
    """How the pseudo-labels move as a whole: shares that change and are right, and the classes.

    Above, per epoch kept: the share of images with another label than at the epoch before and,
    with a truth, the share of right pseudo-labels (and of right answers, where that is another).
    Below, the share of each class in the pseudo-labels as stacked bars and,
    with a truth, as it should be. A history of no image says so.
    """
    if len(history) == 0:
        return only_words("The history holds no image")
    flow, count = label_flow(history), len(history.epochs)
    names = [class_words(name) for name in history.classes]
    shares = flow[[f"label/{name}" for name in history.classes]].to_numpy() / len(history)
    texts = [f"{name}  {100 * share:.0f} %" for name, share in zip(names, shares[-1], strict=True)]
    epochs, places = [str(epoch) for epoch in history.epochs], np.arange(count, dtype=np.float64)
    if history.truth is not None:
        true = np.bincount(history.truth, minlength=len(names)) / len(history)
        texts = [
            f"{text} (true {100 * share:.0f} %)" for text, share in zip(texts, true, strict=True)
        ]
        shares, epochs = np.vstack([shares, true]), [*epochs, "true"]
        places = np.append(places, count + 0.5)
    wide, high = min(6.2, max(2.6, 0.44 * (places[-1] + 1))), max(2.4, 0.23 * len(names))
    width = 0.85 + wide + 0.7 + max(2.1, *(text_width(text, 9.5) for text in texts))
    figure, top = sheet(width, 0.55 + _UPPER + high + 0.6), 0.55
    heading = f"Pseudo-labels of {len(history):,} target images"
    write(figure, heading, _SIDE, 0.15, size=12, bold=True)
    upper = place(figure, 0.85, top, wide, _UPPER - 0.5)
    lower = place(figure, 0.85, top + _UPPER, wide, high)
    _lines(upper, flow)
    colours, starts = class_colours(history.classes).values(), np.cumsum(shares, axis=1) - shares
    for k, colour in enumerate(colours):
        look: dict[str, Any] = {"color": colour, "edgecolor": PAPER, "linewidth": 0.6}
        lower.bar(places, shares[:, k], 0.8, starts[:, k], **look)
    swatches = [Patch(color=colour, label=t) for colour, t in zip(colours, texts, strict=True)]
    step = math.ceil(0.34 * (places[-1] + 1.2) / wide)
    ticks = list(range(0, count, step))
    for axes, kept in ((upper, ticks), (lower, [*ticks, *range(count, len(places))])):
        axes.set(xlim=(-0.6, places[-1] + 0.6), ylim=(0.0, 1.0), ylabel="Share of images (%)")
        axes.set_xticks(places[kept], [epochs[tick] for tick in kept])
        axes.set_yticks(np.linspace(0, 1, 5))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.04), "borderaxespad": 0.0}
        handles = {"handles": swatches[::-1], "handlelength": 1.0} if axes is lower else {}
        axes.legend(**beside, **handles)
    lower.set_xlabel("Epoch")
    return figure


def _lines(axes: Axes, flow: pd.DataFrame) -> None:
    """The shares that changed and that are right, with their first and last value."""
    looks = {"changed": ("changed", INK, "--", "s"), "right": ("labels right", RIGHT, "-", "o")}
    if "right" in flow and not np.array_equal(flow["right"], flow["answers_right"]):
        looks["answers_right"] = ("answers right", WRONG, ":", "^")
    for name, (called, colour, dashes, marker) in looks.items():
        if name not in flow:
            continue
        known = (100 * flow[name].dropna()).round().astype(int).tolist()
        change = " → ".join(str(share) for share in known[:: max(1, len(known) - 1)])
        label = f"{called}  {change} %" if known else f"{called}: needs two epochs"
        size = 4 if len(flow) <= 20 else 0
        look: dict[str, Any] = {"linestyle": dashes, "marker": marker, "markersize": size}
        axes.plot(flow.index, flow[name], color=colour, label=label, clip_on=False, **look)
    axes.grid(axis="y")
