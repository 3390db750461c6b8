"""The map of the feature space: how far apart the modalities lie, before and after."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from socketlab.figures.map_legend import ROW, draw_legend, legend_rows
from socketlab.figures.map_panel import Coordinates, MapPanel, group_colours, map_classes
from socketlab.figures.style import (
    MODALITY_MARKERS,
    MUTED,
    PANEL,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)

__all__ = ["MapPanel", "draw_map", "joint_map"]

_MOST_PAIRS: Final = 60
_SLICES: Final = 24
_HALO_BINS: Final = 96
_HALO_REACH: Final = 3.5


@styled
def joint_map(
    panels: Sequence[MapPanel], *, shared_limits: bool = False, side: float = 4.6
) -> Figure:
    """Maps side by side, coloured by modality or by class; the marker always tells the modality.

    `shared_limits` gives all panels the same axes: right for panels of one joint projection, wrong
    for projections made apart, whose axes mean nothing to each other. `side` is a map's side in
    inches. Groups are drawn in alternating slices, so that none hides another.
    Raises ValueError without a panel.
    """
    if not panels:
        raise ValueError("Found no map panel. Give at least one.")
    gap, left = 0.3, 0.25
    width = 2 * left + len(panels) * (side + gap) - gap
    titles = [fold(panel.title, side, 13.5) for panel in panels]
    notes = [fold(panel.note, side, 9.5) if panel.note else "" for panel in panels]
    head = 0.22 + max(lines_high(title, 13.5) for title in titles)
    foot = 0.08 + max((lines_high(note, 9.5) if note else 0.0) for note in notes)
    classes = map_classes(panels)
    rows = legend_rows(panels, classes, width - 0.4)
    legend_height = 0.12 + ROW * len(rows)
    figure = sheet(width, head + side + foot + legend_height)
    everything = [points for panel in panels for points in panel.coordinates.values()]
    for position, panel in enumerate(panels):
        at = left + position * (side + gap)
        axes = place(figure, at, head, side, side)
        inside = everything if shared_limits else list(panel.coordinates.values())
        draw_map(axes, panel, inside, classes)
        write(figure, titles[position], at, 0.16, size=13.5, bold=True)
        write(figure, notes[position], at, head + side + 0.08, size=9.5, colour=MUTED)
    draw_legend(figure, rows, left, head + side + foot + 0.06)
    return figure


def draw_map(
    axes: Axes, panel: MapPanel, inside: Sequence[Coordinates], classes: Mapping[str, str]
) -> None:
    """A map into axes whose window holds all points of `inside`, [n, 2] each.

    `classes` has the colour of every class, where the panel colours by class.
    """
    _limits(axes, inside)
    _draw(axes, panel, classes)


def _limits(axes: Axes, groups: Sequence[Coordinates]) -> None:
    """A square window around all points, so that distances read alike both ways."""
    points = np.concatenate(groups)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, reach = (low + high) / 2, max(float((high - low).max()) * 0.55, 1e-6)
    axes.set_xlim(centre[0] - reach, centre[0] + reach)
    axes.set_ylim(centre[1] - reach, centre[1] + reach)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PANEL)
    axes.spines[:].set_visible(False)


def _draw(axes: Axes, panel: MapPanel, classes: Mapping[str, str]) -> None:
    colours = group_colours(panel)
    total = sum(len(points) for points in panel.coordinates.values())
    size = float(np.clip(30_000 / max(1, total), 9.0, 46.0))
    shuffled = np.random.default_rng(0)
    orders = {group: shuffled.permutation(len(p)) for group, p in panel.coordinates.items()}
    if panel.colour_by == "modality":
        for group, points in panel.coordinates.items():
            _halo(axes, points, colours[group])
    if panel.pairs is not None:
        _pair_lines(axes, panel.coordinates[panel.pairs[0]], panel.coordinates[panel.pairs[1]])
    for piece in range(_SLICES):
        for group, points in panel.coordinates.items():
            chosen = orders[group][piece::_SLICES]
            if len(chosen) == 0:
                continue
            colour: str | list[str] = colours[group]
            if panel.colour_by == "class" and panel.labels is not None:
                colour = [classes[str(name)] for name in panel.labels[group][chosen]]
            axes.scatter(
                points[chosen, 0],
                points[chosen, 1],
                s=size,
                c=colour,
                marker=MODALITY_MARKERS[panel.modalities[group]],
                alpha=0.88,
                edgecolors="white",
                linewidths=0.35 if total > 1200 else 0.5,
                zorder=3,
            )


def _pair_lines(axes: Axes, first: Coordinates, second: Coordinates) -> None:
    chosen = np.arange(len(first))
    if len(first) > _MOST_PAIRS:
        chosen = np.sort(np.random.default_rng(0).choice(len(first), _MOST_PAIRS, replace=False))
    lines = np.stack([first[chosen], second[chosen]], axis=1)
    axes.add_collection(
        LineCollection(list(lines), colors="#3A4048", linewidths=0.7, alpha=0.32, zorder=2)
    )


def _halo(axes: Axes, points: Coordinates, colour: str) -> None:
    """A soft tint where a group is dense: a histogram smoothed by a Gaussian, in three steps."""
    if len(points) < 20:
        return
    window = (axes.get_xlim(), axes.get_ylim())
    counts, columns, rows = np.histogram2d(
        points[:, 0], points[:, 1], bins=_HALO_BINS, range=window
    )
    reach = np.arange(-12, 13)
    kernel = np.exp(-0.5 * (reach / _HALO_REACH) ** 2)
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, "same")
    axes.contourf(
        (columns[:-1] + columns[1:]) / 2,
        (rows[:-1] + rows[1:]) / 2,
        counts.T,
        levels=np.array([0.06, 0.25, 0.55, 1.01]) * counts.max(),
        colors=[colour] * 3,
        alpha=[0.09, 0.17, 0.25],
        zorder=1,
    )
