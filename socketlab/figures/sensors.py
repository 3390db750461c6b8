"""From every sensor to every other: one matrix of accuracies per method, on one colour scale."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.labels import text_width
from socketlab.figures.style import (
    INK,
    MUTED,
    PANEL,
    fold,
    lines_high,
    place,
    sheet,
    signed,
    styled,
    write,
)

_COLUMNS: Final = ("method", "source", "target", "accuracy", "gained")
_CELL: Final = (0.82, 0.56)  # inches
_WIDEST: Final = 11.5
_TITLE: Final = 1.9  # a matrix's name may be as wide, where the matrix is not
_SHADES: Final = "Blues"

Matrix = npt.NDArray[np.float64]


@styled
def sensor_matrices(cells: pd.DataFrame, *, names: str = "", title: str = "") -> Figure:
    """A matrix per method: rows the source's sensor, columns the target's.

    A cell has the accuracy in percent and below it the points gained over source_only; all share
    one colour scale. Hatched: no such transfer. A method named `oracle...` is an upper reference.

    Args:
        cells: method, source and target (sensors), accuracy (a share in [0, 1]) and gained (points,
            NaN if not known), one row per method and pair of sensors, methods in their order.
        names: what stands above all matrices, e.g. which modality the target has.
        title: the heading; default: from how many sensors to how many.

    Raises:
        ValueError: for no rows, a missing column, a cell that comes twice, or accuracies that are
            not shares.
    """
    _check(cells)
    sources, targets = (sorted(cells[name].unique()) for name in ("source", "target"))
    methods = list(dict.fromkeys(cells["method"]))
    shown = 100.0 * cells["accuracy"].to_numpy(np.float64)
    shades = Normalize(math.floor(shown.min() / 5) * 5, math.ceil((shown.max() + 1e-9) / 5) * 5)
    side = 0.35 + max(text_width(name, 9.5) for name in sources)
    wide, high = _CELL[0] * len(targets), _CELL[1] * len(sources)
    titles = {name: fold(_words(name), max(wide, _TITLE), 10.5) for name in methods}
    block_wide = max(wide, _TITLE if max(map(len, titles.values())) > 12 else 0.0) + 0.3
    above = max(lines_high(text, 10.5) for text in titles.values()) + 0.08
    across = max(1, min(len(methods), int((_WIDEST - side - 0.6) / block_wide)))
    down = -(-len(methods) // across)
    width = max(5.2, side + across * block_wide + 0.9)
    heading = title or f"From {len(sources)} sensors to {len(targets)}"
    heading = fold(heading, width - 0.4, 12)
    key = "Row: sensor of the source. Column: sensor of the target. Accuracy in %, mean over seeds."
    if np.isfinite(cells["gained"].to_numpy(np.float64)).any():
        key += " Below it: points over source_only."
    if len(cells) < len(methods) * len(sources) * len(targets):
        key += " Hatched: no such transfer."
    key = fold(key, width - 0.4, 9)
    head = 0.3 + lines_high(heading, 12) + (0.25 if names else 0.0)
    block_high = high + above + 0.55
    figure = sheet(width, head + down * block_high + lines_high(key, 9) + 0.02)
    write(figure, heading, 0.2, 0.14, size=12, bold=True)
    if names:
        write(figure, names, 0.2, 0.17 + lines_high(heading, 12), size=9.5, colour=MUTED)
    for number, method in enumerate(methods):
        left = side + number % across * block_wide
        top = head + number // across * block_high
        write(figure, titles[method], left, top, size=10.5, bold=True)
        axes = place(figure, left, top + above, wide, high)
        here = cells[cells["method"] == method]
        levels = _matrix(here, "accuracy", sources, targets) * 100.0
        _draw(axes, levels, _matrix(here, "gained", sources, targets), shades)
        axes.set_xticks(range(len(targets)), targets)
        axes.set_yticks(range(len(sources)), sources if number % across == 0 else [])
    _scale(figure, width - 0.62, head + above, high, shades)
    write(figure, key, 0.2, head + down * block_high - 0.1, size=9, colour=MUTED)
    return figure


def _check(cells: pd.DataFrame) -> None:
    missing = [name for name in _COLUMNS if name not in cells.columns]
    if missing:
        raise ValueError(f"The cells have no column {missing[0]!r}. Give {', '.join(_COLUMNS)}.")
    if cells.empty:
        raise ValueError("There are no cells to draw. Give one transfer at least.")
    twice = cells[cells.duplicated(["method", "source", "target"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{row['method']} from {row['source']} to {row['target']} comes twice. Give the mean "
            "over its seeds."
        )
    levels = cells["accuracy"].to_numpy(np.float64)
    if not np.isfinite(levels).all() or levels.min() < 0.0 or levels.max() > 1.0 + 1e-9:
        raise ValueError(
            f"accuracy reaches {levels.min():g} to {levels.max():g}. Give shares between 0 and 1."
        )


def _words(method: str) -> str:
    return f"{method}, upper reference" if method.startswith("oracle") else method


def _matrix(
    cells: pd.DataFrame, name: str, sources: Sequence[str], targets: Sequence[str]
) -> Matrix:
    wide = cells.pivot(index="source", columns="target", values=name)
    return wide.reindex(index=list(sources), columns=list(targets)).to_numpy(np.float64)


def _draw(axes: Axes, levels: Matrix, gained: Matrix, shades: Normalize) -> None:
    rows, columns = levels.shape
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row, column in np.ndindex(rows, columns):
        level, points = levels[row, column], gained[row, column]
        known = bool(np.isfinite(level))
        shade = to_rgb(colormaps[_SHADES](shades(level)) if known else PANEL)
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1.0,
                1.0,
                facecolor=shade,
                edgecolor="white" if known else "#B4BAC2",
                hatch=None if known else "////",
                linewidth=1.5,
            )
        )
        if not known:
            continue
        ink = _ink(shade)
        both = bool(np.isfinite(points))
        axes.text(
            column,
            row - (0.14 if both else 0.0),
            f"{level:.1f}",
            ha="center",
            va="center",
            fontsize=10.5,
            fontweight="bold",
            color=ink,
        )
        if both:
            below = signed(f"{points:+z.1f}")
            axes.text(column, row + 0.22, below, ha="center", va="center", fontsize=9, color=ink)


def _ink(shade: Sequence[float]) -> str:
    """White or ink, whichever stands out more: the relative luminance of WCAG 2 decides."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shade])
    return "white" if float(linear @ (0.2126, 0.7152, 0.0722)) < 0.22 else INK


def _scale(figure: Figure, left: float, top: float, high: float, shades: Normalize) -> None:
    axes = place(figure, left, top, 0.12, high)
    low, most = float(shades.vmin or 0.0), float(shades.vmax or 1.0)
    ramp = np.linspace(most, low, 64)[:, None]
    axes.imshow(ramp, cmap=_SHADES, norm=shades, aspect="auto", extent=(0, 1, low, most))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([low, most], [f"{low:g} %", f"{most:g} %"])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
