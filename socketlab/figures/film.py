"""The film of an adaptation: the map at an epoch, many epochs side by side, and the numbers."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.map_legend import ROW, draw_legend, legend_rows
from socketlab.figures.map_panel import MapPanel, map_classes
from socketlab.figures.maps import draw_map
from socketlab.figures.style import INK, MUTED, fold, place, sheet, styled, write

Frames = Mapping[int, Sequence[MapPanel]]
"""The maps of every epoch, as many for each; all of one joint projection."""

COLUMNS: Final = ("epoch", "set", "measure", "value", "low", "high")
_LOOKS: Final[Mapping[str, tuple[str, str]]] = {"TI": ("#7A828C", "--"), "TR": ("#0072B2", "-")}
_ACROSS: Final = 6
_GAP: Final = 0.3


@styled
def film_frame(frames: Frames, numbers: pd.DataFrame, epoch: int, side: float = 4.0) -> Figure:
    """The maps of one epoch, and beneath them the way of every measure with that epoch marked.

    All epochs have the same window, so that what moves from frame to frame has moved. `numbers` is
    as in `film_numbers`; without a row the maps stand alone.
    Raises ValueError for an epoch that is not there, or a missing column.
    """
    _check(frames, numbers, [epoch])
    panels = frames[epoch]
    left, head = 0.35, 0.85
    width = 2 * left + len(panels) * (side + _GAP) - _GAP
    classes = _classes(frames)
    rows = legend_rows(panels, classes, width - 0.4)
    curves = _curves_high(numbers, width)
    foot = 0.14 + ROW * len(rows)
    figure = sheet(width, head + side + foot + curves + 0.3)
    write(figure, _moment(epoch), left, 0.14, size=14, bold=True)
    for position, panel in enumerate(panels):
        at = left + position * (side + _GAP)
        write(figure, fold(panel.title, side, 10.5), at, 0.56, size=10.5, colour=MUTED)
        axes = place(figure, at, head, side, side)
        draw_map(axes, panel, _everything(frames, position), classes)
    draw_legend(figure, rows, left, head + side + 0.1)
    _draw_curves(figure, numbers, head + side + foot + 0.12, epoch)
    note = panels[0].note
    write(figure, note, left, head + side + foot + curves + 0.08, size=8.5, colour=MUTED)
    return figure


@styled
def film_strip(frames: Frames, side: float = 1.75, most: int = _ACROSS) -> Figure:
    """Small maps of at most `most` epochs, evenly chosen, side by side: a row for each kind.

    Raises ValueError without an epoch.
    """
    _check(frames, None, [])
    epochs = list(frames)
    places = np.linspace(0, len(epochs) - 1, min(most, len(epochs))).round().astype(int)
    shown = [epochs[place] for place in places]
    first = frames[shown[0]]
    left, head, between = 0.3, 0.55, 0.36
    width = max(2 * left + len(shown) * (side + 0.12), 6.0)
    classes = _classes(frames)
    rows = legend_rows(first, classes, width - 0.4)
    body = len(first) * (side + between)
    figure = sheet(width, head + body + 0.1 + ROW * len(rows) + 0.35)
    for column, epoch in enumerate(shown):
        at = left + column * (side + 0.12)
        write(figure, _moment(epoch), at, 0.12, size=10, bold=True)
        for row, panel in enumerate(frames[epoch]):
            top = head + row * (side + between)
            if column == 0:
                write(figure, panel.title, left, top - 0.2, size=9.5, colour=MUTED)
            axes = place(figure, at, top, side, side)
            draw_map(axes, panel, _everything(frames, row), classes)
    draw_legend(figure, rows, left, head + body - 0.18)
    write(figure, first[0].note, left, head + body + ROW * len(rows), size=8.5, colour=MUTED)
    return figure


@styled
def film_numbers(numbers: pd.DataFrame, width: float = 9.5) -> Figure:
    """A small panel per measure: its value after every epoch, with its interval.

    `numbers` has a row per epoch, set (`TI` or `TR`) and measure: `epoch`, `set`, `measure`,
    `value`, `low`, `high`; NaN where a measure could not be computed, which leaves a gap.
    Raises ValueError for a missing column, or no row.
    """
    _check({}, numbers, [])
    if numbers.empty:
        raise ValueError("There are no numbers of a film. Give at least one row.")
    figure = sheet(width, _curves_high(numbers, width) + 0.3)
    _draw_curves(figure, numbers, 0.15, None)
    return figure


def _check(frames: Frames, numbers: pd.DataFrame | None, epochs: Sequence[int]) -> None:
    if numbers is not None:
        missing = [name for name in COLUMNS if name not in numbers.columns]
        if missing:
            raise ValueError(f"The numbers have no column {missing[0]!r}. Give {COLUMNS}.")
    elif not frames:
        raise ValueError("The film has no epoch. Give at least one.")
    unknown = [epoch for epoch in epochs if epoch not in frames]
    if unknown:
        raise ValueError(f"The film has no epoch {unknown[0]}. It has: {list(frames)}.")


def _moment(epoch: int) -> str:
    return "Before training" if epoch == 0 else f"After epoch {epoch}"


def _classes(frames: Frames) -> dict[str, str]:
    return map_classes([panel for panels in frames.values() for panel in panels])


def _everything(frames: Frames, position: int) -> list[np.ndarray]:
    """The points of all epochs of one kind of map, which its window must hold."""
    return [
        points for panels in frames.values() for points in panels[position].coordinates.values()
    ]


def _curves_high(numbers: pd.DataFrame, width: float) -> float:
    count = numbers["measure"].nunique()
    return -(-count // _columns(width)) * 1.85 if count else 0.0


def _columns(width: float) -> int:
    return max(1, int((width - 0.4) // 1.4))


def _draw_curves(figure: Figure, numbers: pd.DataFrame, top: float, epoch: int | None) -> None:
    width = float(figure.get_figwidth())
    measures = list(dict.fromkeys(numbers["measure"]))
    columns = min(_columns(width), max(len(measures), 1))
    step = (width - 0.35) / columns
    for position, measure in enumerate(measures):
        left = 0.65 + (position % columns) * step
        at = top + (position // columns) * 1.85
        axes = place(figure, left, at + 0.3, step - 0.58, 1.0)
        found = numbers[numbers["measure"] == measure]
        _curve(axes, found, epoch)
        axes.set_title(measure, fontsize=9.5, x=-0.22, pad=6)
        if position == 0:
            _key(figure, sorted(set(numbers["set"])), left, at + 1.56)


def _curve(axes: Axes, found: pd.DataFrame, epoch: int | None) -> None:
    for name, rows in found.sort_values("epoch").groupby("set"):
        colour, style = _LOOKS.get(str(name), (INK, "-"))
        epochs = rows["epoch"].to_numpy(float)
        axes.fill_between(
            epochs, rows["low"].to_numpy(float), rows["high"].to_numpy(float),
            color=colour, alpha=0.16, linewidth=0,
        )  # fmt: skip
        axes.plot(epochs, rows["value"].to_numpy(float), style, color=colour, linewidth=1.8)
        now = rows[rows["epoch"] == epoch]
        axes.plot(now["epoch"], now["value"], "o", color=colour, markersize=6, clip_on=False)
    if epoch is not None:
        axes.axvline(epoch, color=INK, linewidth=0.8, alpha=0.5)
    finite = found[["value", "low", "high"]].to_numpy(float)
    top = float(np.nanmax(finite)) if np.isfinite(finite).any() else 1.0
    axes.set_ylim(0.0, max(top * 1.12, 1e-6))
    last = float(found["epoch"].max())
    axes.set_xlim(-0.03 * max(last, 1.0), 1.03 * max(last, 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=8)
    axes.grid(axis="y")


def _key(figure: Figure, sets: Sequence[str], left: float, top: float) -> None:
    words = {"TI": "TI pairs (dashed)", "TR": "TR pairs"}
    at = left - 0.3
    for name in sets:
        colour, _ = _LOOKS.get(name, (INK, "-"))
        text = words.get(name, name)
        write(figure, text, at, top, size=8.5, bold=True, colour=colour)
        at += 0.085 * len(text) + 0.2
