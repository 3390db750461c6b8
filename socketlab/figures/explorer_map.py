"""The maps of an explorer as a still picture."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from socketlab.figures.explorer_colours import UNKNOWN, Colouring, colouring
from socketlab.figures.labels import in_rows, text_width
from socketlab.figures.style import (
    INK,
    MODALITY_MARKERS,
    MODALITY_NAMES,
    MUTED,
    PANEL,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)
from socketlab.gap.points import PointTable

_OTHER_MARKERS: Final = ("o", "^", "s", "D", "v")


def square(points: PointTable) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits in x and in y, of equal length, that hold all points of all moments."""
    everything = np.concatenate([points.coordinates(moment) for moment in points.moments])
    low, high = everything.min(axis=0), everything.max(axis=0)
    reach = max(float((high - low).max()) * 0.53, 1e-6)
    x, y = ((low + high) / 2).tolist()
    return (x - reach, x + reach), (y - reach, y + reach)


@styled
def explorer_map(
    points: PointTable,
    colour_by: str = "modality",
    selection: Any = None,
    most_lines: int = 60,
    *,
    side: float = 4.6,
) -> Figure:
    """The maps of all moments side by side, on the same axes; the marker tells the modality.

    With a `selection` (row numbers) all else is faded, and lines join the partners of at most
    `most_lines` of its pairs, the farthest of the last moment; the heading says so. `side` is a
    map's side in inches.

    Raises:
        ValueError: the table says nothing of `colour_by`, or the selection names no row of it.
    """
    colours = colouring(points, colour_by)
    chosen = points.rows([] if selection is None else selection)
    pairs = points.far_first(chosen, points.moments[-1])
    joined = pairs[pairs[:, 1] >= 0][:most_lines]
    left, gap = 0.25, 0.3
    width = 2 * left + len(points.moments) * (side + gap) - gap
    heading = _heading(points, chosen, pairs, joined)
    head = 0.2 + lines_high(fold(heading, width - 0.5, 10.5), 10.5) + 0.36
    note = fold(points.note, width - 0.5, 9.5) if points.note else ""
    entries = _entries(points, colours, width - 2 * left)
    foot = 0.14 + 0.27 * len(entries) + (0.5 if colours.scale else 0.0)
    high = head + side + foot + (lines_high(note, 9.5) + 0.08 if note else 0.0) + 0.08
    figure = sheet(width, high)
    write(figure, fold(heading, width - 0.5, 10.5), left, 0.16, size=10.5, colour=MUTED)
    for number, moment in enumerate(points.moments):
        at = left + number * (side + gap)
        write(figure, moment.capitalize(), at, head - 0.28, size=13.5, bold=True)
        axes = place(figure, at, head, side, side)
        axes.set(xticks=[], yticks=[], xlim=square(points)[0], ylim=square(points)[1])
        axes.set_facecolor(PANEL)
        axes.spines[:].set_visible(False)
        _draw(axes, points, moment, colours, chosen, joined)
    _legend(figure, colours, entries, left, head + side + 0.14)
    if note:
        write(figure, note, left, head + side + foot, size=9.5, colour=MUTED)
    return figure


def _heading(points: PointTable, chosen: Any, pairs: Any, joined: Any) -> str:
    if len(chosen) == 0:
        return f"{len(points):,} images, nothing selected"
    with_partner = int((pairs[:, 1] >= 0).sum())
    of = f"{len(chosen):,} of {len(points):,} images selected"
    if with_partner == 0:
        return f"{of}, none with a partner"
    if len(joined) == with_partner:
        pairs_said = "1 pair" if with_partner == 1 else f"{with_partner:,} pairs"
        return f"{of}, lines join the partners of {pairs_said}"
    return (
        f"{of}, lines join the {len(joined):,} of {with_partner:,} pairs that are farthest apart "
        f"{points.moments[-1]}"
    )


def _draw(
    axes: Axes, points: PointTable, moment: str, colours: Colouring, chosen: Any, joined: Any
) -> None:
    places = points.coordinates(moment)
    palette = np.array(colours.colours)[colours.codes[moment]]
    size = float(np.clip(24_000 / len(points), 4.0, 40.0))
    modality = points.frame["modality"].to_numpy()
    bright = np.isin(np.arange(len(points)), [*chosen, *joined.reshape(-1)])
    order = np.random.default_rng(0).permutation(len(points))
    for lit in (False, True):
        for piece in np.array_split(order, 12):  # in slices, so that no modality hides another
            for name, marker in _markers(points).items():
                rows = piece[(modality[piece] == name) & (bright[piece] == lit)]
                if len(rows):
                    axes.scatter(
                        places[rows, 0],
                        places[rows, 1],
                        s=size * (1.5 if lit else 1.0),
                        c=list(palette[rows]),
                        marker=marker,
                        alpha=0.9 if lit or not bright.any() else 0.16,
                        edgecolors=INK if lit else "white",
                        linewidths=0.5 if lit else 0.25,
                        zorder=4 if lit else 2,
                    )
    lines = LineCollection(list(places[joined]), colors=INK, linewidths=0.8, alpha=0.5, zorder=3)
    axes.add_collection(lines)


def _markers(points: PointTable) -> dict[str, str]:
    return {
        name: MODALITY_MARKERS.get(name) or _OTHER_MARKERS[number % len(_OTHER_MARKERS)]
        for number, name in enumerate(points.modalities)
    }


def _entries(
    points: PointTable, colours: Colouring, width: float
) -> list[list[tuple[str, str, str]]]:
    """The legend in rows that fit `width` inches: marker, colour and text of each entry."""
    markers = _markers(points)
    shown = {MODALITY_NAMES.get(name, name): name for name in points.modalities}
    found = []
    if colours.names != tuple(shown):
        found = [(markers[name], MUTED, text) for text, name in shown.items()]
    if colours.scale is None:
        found += [
            (markers[shown[name]] if name in shown else "s", colour, name)
            for name, colour in zip(colours.names, colours.colours, strict=True)
        ]
    elif colours.has_unknown:
        found.append(("s", UNKNOWN, colours.names[-1]))
    return in_rows(found, lambda entry: 0.42 + text_width(entry[2], 10.0), width)


def _legend(
    figure: Figure,
    colours: Colouring,
    rows: list[list[tuple[str, str, str]]],
    left: float,
    top: float,
) -> None:
    width = figure.get_figwidth()
    for number, row in enumerate(rows):
        at = left
        for marker, colour, text in row:
            y = top + number * 0.27
            axes = place(figure, at, y, 0.16, 0.16)
            axes.set_axis_off()
            axes.plot(0, 0, marker=marker, color=colour, markersize=7.5, linestyle="")
            write(figure, text, at + 0.22, y + 0.01, size=10.0)
            at += 0.42 + text_width(text, 10.0)
    if colours.scale is not None:
        at = top + 0.27 * len(rows) + 0.02
        axes = place(figure, left, at, min(3.2, width - 2 * left), 0.13)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.imshow(
            [[[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colours.colours[:-1]]],
            aspect="auto",
        )
        low, high = colours.scale
        write(figure, f"distance of partners, {low:.3g} to {high:.3g}", left, at + 0.17, size=9.5)
