"""Which classes each method answers rightly: a method that gives up a class shows it here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from socketlab.figures.style import INK, MUTED, fold, lines_high, place, sheet, styled, write

_COLUMNS: Final = ("protocol", "source", "target", "method", "class", "recall")
_ROW: Final = 0.29
_GAP: Final = 0.12
_KEY: Final = (
    "Number: recall, the share of a class's images that is answered rightly, in percent, mean over "
    "seeds. Mean over the classes: balanced accuracy. Best first; grey names are upper references."
)


@dataclass(frozen=True)
class _Panel:
    """Percentages [methods, classes] of one protocol and target, NaN where there is no image."""

    title: str
    protocol: str
    methods: tuple[str, ...]
    classes: tuple[str, ...]
    percent: npt.NDArray[np.float64]


@styled
def per_class(recalls: pd.DataFrame) -> Figure:
    """Recall of every class (across) by method (down) as heat maps, one per protocol and target.

    `recalls` has protocol, source, target, method, class and recall (a share in [0, 1], NaN for a
    class without images), a row per method and class; classes stand in the order in which they
    come. The last column is the mean over the classes, by which methods are ranked, best first.
    Raises ValueError for no rows, a missing column, a recall that is no share, or two of one class.
    """
    _check(recalls)
    panels = [
        _panel(part, f"{source} → {target}", str(protocol))
        for (protocol, source, target), part in recalls.groupby(
            ["protocol", "source", "target"], sort=False
        )
    ]
    most = max(len(panel.classes) for panel in panels)
    cell = 0.5 if most <= 8 else 0.4
    names = max(len(name) for panel in panels for name in panel.methods)
    words = max(len(name) for panel in panels for name in panel.classes)
    left, foot = 0.35 + 0.086 * names, 0.078 * max(words, 4) + 0.25
    across = 2 if most <= 8 and len(panels) > 1 else 1
    wide = left + cell * (most + 1) + _GAP + 0.25
    width = max(across * wide, 5.0)
    key = fold(_KEY, width - 0.4, 9)
    rows = [panels[start : start + across] for start in range(0, len(panels), across)]
    titles = [fold(panel.title, wide - 0.4, 12) for panel in panels]
    head = 0.5 + max(lines_high(title, 12) for title in titles)
    heights = [head + foot + _ROW * max(len(p.methods) for p in row) for row in rows]
    figure = sheet(width, sum(heights) + 0.25 + lines_high(key, 9))
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        start, top = number % across * wide, sum(heights[: number // across])
        write(figure, title, start + 0.2, top + 0.14, size=12, bold=True)
        below = top + head - 0.3
        write(figure, f"protocol {panel.protocol}", start + 0.2, below, size=9.5, colour=MUTED)
        _draw(figure, panel, start + left, top + head, cell)
    write(figure, key, 0.2, sum(heights) + 0.08, size=9, colour=MUTED)
    return figure


def _check(recalls: pd.DataFrame) -> None:
    missing = [name for name in _COLUMNS if name not in recalls.columns]
    if missing:
        raise ValueError(f"The recalls have no column {missing[0]!r}. Give {', '.join(_COLUMNS)}.")
    values = recalls["recall"].to_numpy(dtype=np.float64)
    if not np.isfinite(values).any():
        raise ValueError("There is no recall to draw. Give at least one class with images.")
    if np.nanmin(values) < 0.0 or np.nanmax(values) > 1.0 + 1e-9:
        raise ValueError(
            f"The recall reaches {np.nanmin(values):g} to {np.nanmax(values):g}. Give shares "
            "between 0 and 1."
        )
    twice = recalls[recalls.duplicated(list(_COLUMNS[:-1]))]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"Class {row['class']!r} of {row['method']!r} comes twice. Give the mean over seeds."
        )


def _panel(part: pd.DataFrame, title: str, protocol: str) -> _Panel:
    classes = list(part["class"].unique())
    table = part.pivot(index="method", columns="class", values="recall")[classes] * 100.0
    means = table.mean(axis=1).sort_values(ascending=False, kind="stable")
    return _Panel(
        title,
        protocol,
        tuple(str(method) for method in means.index),
        tuple(str(name).replace("_", " ") for name in classes),
        table.loc[means.index].to_numpy(dtype=np.float64),
    )


def _draw(figure: Figure, panel: _Panel, left: float, top: float, cell: float) -> None:
    count, high = len(panel.classes), _ROW * len(panel.methods)
    axes = place(figure, left, top, cell * count, high)
    _heat_map(axes, panel.percent, panel.classes)
    axes.set_yticks(np.arange(len(panel.methods)), panel.methods)
    for tick in axes.get_yticklabels():
        tick.set_color(MUTED if tick.get_text().startswith("oracle") else INK)
    mean = place(figure, left + cell * count + _GAP, top, cell, high)
    _heat_map(mean, np.nanmean(panel.percent, axis=1, keepdims=True), ["mean"], bold=True)
    mean.set_yticks([])


def _heat_map(
    axes: Axes, percent: npt.NDArray[np.float64], names: Sequence[str], *, bold: bool = False
) -> None:
    colours: Any = colormaps["Blues"].with_extremes(bad="#DADDE1")
    axes.imshow(np.ma.masked_invalid(percent), cmap=colours, norm=Normalize(0, 100), aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        if np.isfinite(value):
            axes.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold" if bold else "normal",
                color="white" if value > 55 else INK,
            )
    rows, columns = percent.shape
    axes.set_xticks(np.arange(columns), names, rotation=90)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
