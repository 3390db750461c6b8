"""What a better picture brings, and what an accuracy costs."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from socketlab.figures.labels import beside, round_ticks, short_number, spread, text_width
from socketlab.figures.style import (
    FAINT,
    INK,
    METHOD_COLOURS,
    MUTED,
    OKABE_ITO,
    fold,
    lines_high,
    method_colour,
    place,
    sheet,
    signed,
    styled,
    write,
)
from socketlab.gap.rank_correlation import spearman

FloatArray = npt.NDArray[np.float64]
Point = tuple[float, float]

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">")
_COSTS: Final[Mapping[str, str]] = {
    "seconds": "Training time (s)",
    "peak_memory": "Peak memory (MiB)",
    "parameters": "Trained parameters",
}
_COST_TITLE: Final = "What an accuracy costs: the higher and the further left, the better"
_COST_KEY: Final = "Mean over the rows of a method. Time: wall time of training, with scoring."
_WEAK: Final = 0.3  # a rank correlation nearer to 0 is called none
_LABEL: Final = 9.5  # points
_LINE: Final = 0.19  # inches between labels


@styled
def picture_against_accuracy(points: pd.DataFrame) -> Figure:
    """Checkpoints by the quality of their picture and by accuracy: does the one go with the other?

    `points` has method, epoch, psnr (dB, on held-out TI pairs) and accuracy (a share in [0, 1]), a
    row per checkpoint; with a column `seed` the epochs of each seed are joined by themselves. The
    last epoch is filled and named. The heading has Spearman's rank correlation over all
    checkpoints, of which nothing is made below 0.3; the note has the mean of those within a
    method, since methods may differ in both without the one causing the other.
    Raises ValueError for no rows, a missing column, a checkpoint that comes twice, values that are
    not finite, or an accuracy outside [0, 1].
    """
    points = points.reset_index(drop=True)
    _check(points, ("method", "epoch", "psnr", "accuracy"), ("psnr", "accuracy"))
    run = ["method", "seed"] if "seed" in points.columns else ["method"]
    twice = points[points.duplicated([*run, "epoch"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"Epoch {row['epoch']} of {row['method']!r} comes twice. Tell seeds by a column 'seed'."
        )
    width, plot = 8.2, (7.0, 4.2)
    heading = fold(_heading(points), width - 0.4, 12)
    note = fold(_note(points, run), width - 0.4, 9)
    head = 0.3 + lines_high(heading, 12) + lines_high(note, 9)
    figure = sheet(width, head + plot[1] + 0.6)
    write(figure, heading, 0.2, 0.14, size=12, bold=True)
    write(figure, note, 0.2, 0.17 + lines_high(heading, 12), size=9, colour=MUTED)
    axes = place(figure, 0.85, head, *plot)
    axes.set_xlabel("PSNR of the translation on held-out TI pairs (dB)")
    axes.set_ylabel("Accuracy on the target (%)")
    axes.set_xlim(*_limits(points["psnr"].to_numpy(np.float64), 0.1))
    axes.set_ylim(*_limits(100.0 * points["accuracy"].to_numpy(np.float64), 0.1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.grid()
    looks = _looks(list(points["method"].unique()))
    ends: dict[str, Point] = {}
    drawn = []
    for key, line in points.sort_values("epoch", kind="stable").groupby(
        run, sort=False, dropna=False
    ):
        method = str(key[0])
        colour, marker = looks[method]
        x, y = line["psnr"].to_numpy(np.float64), 100.0 * line["accuracy"].to_numpy(np.float64)
        axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.6)
        axes.scatter(x[:-1], y[:-1], s=22, facecolor="white", edgecolor=colour, marker=marker)
        axes.scatter(x[-1:], y[-1:], s=85, color=colour, edgecolor=INK, marker=marker, zorder=4)
        ends.setdefault(method, (float(x[-1]), float(y[-1])))
        steps = np.linspace(0.0, len(x) - 1.0, 8 * len(x))
        drawn.append([np.interp(steps, np.arange(len(x)), part) for part in (x, y)])
    _name_points(axes, ends, np.concatenate(drawn, axis=1).T, plot)
    return figure


@styled
def cost_against_accuracy(rows: pd.DataFrame) -> Figure:
    """Accuracy beside training time, peak memory and trained parameters, on logarithmic axes.

    `rows` has method, accuracy (a share in [0, 1]), seconds, peak_memory (MiB) and parameters
    (how many were trained); the rows of one method, its seeds, are averaged. A cost of 0, which
    has no logarithm, stands at the left edge; one that is not known (NaN) is left out. Each method
    is named once, at the right: its thin line leads through all three panels.
    Raises ValueError for no rows, a missing column, an accuracy outside [0, 1], or a negative cost.
    """
    _check(rows, ("method", "accuracy", *_COSTS), ("accuracy",))
    for cost in _COSTS:
        if (rows[cost] < 0).any() or np.isinf(rows[cost].to_numpy(np.float64)).any():
            raise ValueError(
                f"{cost} reaches {rows[cost].min():g} to {rows[cost].max():g}. Give finite costs "
                "of 0 or more."
            )
    means = rows.groupby("method", sort=False)[["accuracy", *_COSTS]].mean()
    means = means.sort_values("accuracy", kind="stable")
    levels = 100.0 * means["accuracy"].to_numpy(np.float64)
    labels = [f"{name}  {level:.1f} %" for name, level in zip(means.index, levels, strict=True)]
    looks = _looks(list(means.index))
    high = max(2.7, (_LINE + 0.01) * len(labels))
    side, space, left, top, lead = 2.5, 0.3, 0.8, 0.5, 0.4
    right = left + 3 * side + 2 * space
    figure = sheet(right + lead + max(text_width(x, _LABEL) for x in labels) + 0.25, top + high + 1)
    write(figure, _COST_TITLE, 0.2, 0.14, size=12, bold=True)
    low, most = _limits(levels, 0.08)
    for number, (cost, words) in enumerate(_COSTS.items()):
        axes = place(figure, left + number * (side + space), top, side, high)
        axes.set(ylim=(low, most), xlabel=words)
        _cost_panel(axes, means[cost].to_numpy(np.float64), levels, list(looks.values()))
        if number == 0:
            axes.set_ylabel("Accuracy on the target (%)")
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        else:
            axes.set_yticks([])
    names = place(figure, right, top, lead, high)
    names.set(xlim=(0.0, 1.0), ylim=(low, most))
    names.axis("off")
    places = spread(levels, _LINE / high * (most - low), low, most)
    for label, level, at, (colour, _) in zip(labels, levels, places, looks.values(), strict=True):
        names.plot([0.0, 0.35, 0.85], [level, level, at], color=colour, linewidth=1.1)
        names.text(1.0, at, label, va="center", fontsize=_LABEL, clip_on=False)
    write(figure, _COST_KEY, 0.2, top + high + 0.65, size=9, colour=MUTED)
    return figure


def _check(table: pd.DataFrame, columns: Sequence[str], finite: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"There is no column {missing[0]!r}. Give {', '.join(columns)}.")
    if len(table) == 0:
        raise ValueError("There are no rows to draw. Give one at least.")
    for name in finite:
        if not np.isfinite(table[name].to_numpy(np.float64)).all():
            method = table["method"][~np.isfinite(table[name].astype(float))].iloc[0]
            raise ValueError(f"The {name} of {method!r} is not finite. Leave such rows out.")
    low, high = table["accuracy"].min(), table["accuracy"].max()
    if low < 0.0 or high > 1.0 + 1e-9:
        raise ValueError(f"accuracy reaches {low:g} to {high:g}. Give shares between 0 and 1.")


def _heading(points: pd.DataFrame) -> str:
    count = f"{len(points)} checkpoint{'s' if len(points) > 1 else ''}"
    rho = spearman(points["psnr"], points["accuracy"])
    if not np.isfinite(rho):
        return f"Better picture, better transfer? {count}, of which nothing can be said"
    verdict = "does not go with a better transfer"
    if abs(rho) >= _WEAK:
        verdict = f"goes with a {'better' if rho > 0 else 'worse'} transfer"
    return f"A better picture {verdict}: rank correlation {signed(f'{rho:.2f}')} over {count}"


def _note(points: pd.DataFrame, run: Sequence[str]) -> str:
    note = "Joined: one method's epochs in their order. Filled: the last one."
    own = [spearman(part["psnr"], part["accuracy"]) for _, part in points.groupby(list(run))]
    own = [rho for rho in own if np.isfinite(rho)]
    if own and points["method"].nunique() > 1:
        note += f" Rank correlation within a method: {signed(f'{np.mean(own):.2f}')} on average."
    return note


def _looks(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method; one whose family's colour is taken gets a free one."""
    colours: dict[str, str] = {}
    for method in sorted(methods, key=lambda name: name not in METHOD_COLOURS):
        wanted = method_colour(method)
        free = [wanted, *OKABE_ITO, INK]
        colours[method] = next((c for c in free if c not in colours.values()), wanted)
    markers = itertools.cycle(_MARKERS)
    return {method: (colours[method], next(markers)) for method in methods}


def _limits(values: FloatArray, margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    extra = margin * (high - low) if high > low else 1.0
    return low - extra, high + extra


def _name_points(axes: Axes, ends: Mapping[str, Point], points: FloatArray, plot: Point) -> None:
    """Each method's name beside its last point, with a line to it where it stands further off."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([plot[0] / (right - left), plot[1] / (top - bottom)])
    anchors = (np.array(list(ends.values())) - (left, bottom)) * scale
    sizes = [(text_width(name, _LABEL) + 0.12, 0.18) for name in ends]
    corners = beside(anchors, sizes, (points - (left, bottom)) * scale, (0.0, 0.0, *plot))
    for name, anchor, corner, size in zip(ends, anchors, corners, sizes, strict=True):
        centre = np.array(corner) + np.array(size) / 2
        near = (np.abs(centre - anchor) <= np.array(size) / 2 + 0.15).all()
        axes.annotate(
            name,
            ends[name],
            xytext=(72 * centre[0], 72 * centre[1]),
            textcoords="axes points",
            ha="center",
            va="center",
            fontsize=_LABEL,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            arrowprops=None if near else {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7},
            zorder=5,
        )


def _cost_panel(
    axes: Axes, costs: FloatArray, levels: FloatArray, looks: Sequence[tuple[str, str]]
) -> None:
    known = costs[costs > 0]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    edge, reach = low / 1.8, high * 1.8
    tenth = (reach / edge) ** 0.1
    zero, begin = (edge / tenth, edge / tenth**2) if (costs == 0).any() else (edge, edge)
    axes.set_xscale("log")
    axes.set_xlim(begin, reach)
    inches = axes.get_window_extent().width / axes.figure.dpi
    ticks = round_ticks(edge, reach, 0.4 / inches * math.log(reach / begin))
    words = [short_number(tick) for tick in ticks]
    if begin < edge:
        axes.axvline(edge, color=FAINT, linewidth=1.5)
        ticks, words = [zero, *ticks], ["0", *words]
    axes.set_xticks(ticks, words)
    axes.xaxis.set_minor_locator(NullLocator())
    for cost, level, (colour, marker) in zip(costs, levels, looks, strict=True):
        axes.axhline(level, color=colour, linewidth=0.8, alpha=0.6, zorder=1)
        if np.isfinite(cost):
            at = max(cost, zero)
            axes.scatter(at, level, s=62, color=colour, edgecolor=INK, marker=marker, zorder=3)
