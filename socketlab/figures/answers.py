"""Which answers a model gives over the epochs: what a collapse looks like without a label."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from socketlab.figures.style import (
    INK,
    MUTED,
    WRONG,
    class_colours,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)
from socketlab.training.steps import Look

FloatArray = npt.NDArray[np.float64]

_COLUMNS: Final = ("epoch", "name", "value")
_LEFT: Final = 0.85
_SMALL: Final = 0.95  # inches: height of the panels below the bars
_GAP: Final = 0.5
_COLLAPSE: Final = "\N{BLACK DOWN-POINTING TRIANGLE}"
_STYLES: Final = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS: Final = ("o", "s", "^", "D", "v")
_KEY: Final = (
    "Bar: share of the target images that is given each answer; no label is used. At the right: "
    "even shares, and each class's share at the last epoch. Evenness: entropy of the shares over "
    "log K; 1: all K classes alike often, 0: one answer for all."
)


@styled
def answers_by_epoch(
    history: pd.DataFrame, classes: Sequence[str], sources: Sequence[str] = ()
) -> Figure:
    """Stacked bars of the answers at every epoch, their evenness, and the sources' weights.

    `history` holds the metrics of one stage in long form, columns epoch, name and value:
    `predicted/<k>`, how many target images are put into class k of `classes` [K], at every epoch
    that is drawn, and `mixing/<s>`, the weight of source s of `sources`, where there are several.
    Other names are left out. With the share p_k of the answers, evenness is

        -sum_k p_k log p_k / log K,  in [0, 1]

    The epochs whose answers fall on under half of the classes are marked and named as a collapse
    (`training.steps.Look.note`).
    Raises ValueError for a missing column, fewer than two classes, an epoch without one of the
    counts or with no image at all, two values of one name at one epoch, or other than S names.
    """
    if len(classes) < 2:
        raise ValueError(f"Found {len(classes)} classes. Give the two or more that are answered.")
    counts = _numbered(history, "predicted/", len(classes), "classes")
    if counts.empty:
        figure = sheet(4.7, 0.8)
        write(figure, "No answers kept yet", 0.2, 0.1, size=11, colour=MUTED)
        return figure
    mixing = _numbered(history, "mixing/", len(sources) or None, "sources")
    looks = {
        int(epoch): Look(predicted=tuple(int(count) for count in row))
        for epoch, row in zip(counts.index, counts.to_numpy(), strict=True)
    }
    empty = [epoch for epoch, look in looks.items() if sum(look.predicted) == 0]
    if empty:
        raise ValueError(f"Epoch {empty[0]} has answers on no image. Give counts of one at least.")
    epochs = counts.index.to_numpy(dtype=np.float64)
    shares = counts.div(counts.sum(axis=1), axis=0).to_numpy(dtype=np.float64)
    names = [name.replace("_", " ") for name in classes]
    wide = min(6.2, max(3.4, 0.42 * len(epochs)))
    called = [sources[k] if sources else f"source {k}" for k in range(mixing.shape[1])]
    letters = max(15, *(len(name) + 8 for name in names), *(len(name) + 15 for name in called))
    width = _LEFT + wide + 0.75 + 0.085 * letters
    words = fold(_collapse(looks), width - 0.4, 10.5)
    key = fold(_KEY, width - 0.4, 9)
    high = max(2.6, 0.19 * len(classes))
    head = 0.5 + (lines_high(words, 10.5) if words else 0.0)
    panels = 2 if called else 1
    below = head + high + panels * (_GAP + _SMALL)
    figure = sheet(width, below + 0.62 + lines_high(key, 9))
    if words:
        write(figure, words, 0.2, 0.14, size=10.5, bold=True, colour=WRONG)
    bars = place(figure, _LEFT, head, wide, high)
    _bars(bars, epochs, shares, names)
    marked = [epoch for epoch, look in looks.items() if look.note]
    bars.scatter(marked, np.full(len(marked), 1.03), s=26, marker="v", color=WRONG, clip_on=False)
    bars.set_title(f"Answers on {sum(looks[int(epochs[-1])].predicted):,} target images", pad=13)
    _even(place(figure, _LEFT + wide + 0.25, head, 0.3, high), shares[-1], names)
    evenness = np.array([look.predicted_entropy for look in looks.values()]) / math.log(len(names))
    lower = place(figure, _LEFT, head + high + _GAP, wide, _SMALL)
    _lines(lower, epochs, {"": evenness})
    lower.set_title("Evenness of the answers")
    if called:
        lower = place(figure, _LEFT, below - _SMALL, wide, _SMALL)
        weights = dict(zip(called, mixing.to_numpy(dtype=np.float64).T, strict=True))
        _lines(lower, mixing.index.to_numpy(dtype=np.float64), weights)
        lower.axhline(1.0 / len(called), color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        lower.set_title("Weight of each source model")
    for axes in figure.axes:
        if axes is not figure.axes[1]:
            axes.set_xlim(epochs[0] - 0.6, epochs[-1] + 0.6)
            axes.set_xticks(epochs[:: -(-len(epochs) // 16)])
    lower.set_xlabel("Epoch")
    write(figure, key, 0.2, below + 0.55, size=9, colour=MUTED)
    return figure


def _numbered(history: pd.DataFrame, prefix: str, count: int | None, what: str) -> pd.DataFrame:
    """The values of prefix/0, prefix/1, ... across, by epoch down; `count` of them if given."""
    missing = [name for name in _COLUMNS if name not in history.columns]
    if missing:
        raise ValueError(
            f"The history has no column {missing[0]!r}. Give epoch, name and value in long form."
        )
    rows = history[history["name"].astype(str).str.startswith(prefix)]
    twice = rows[rows.duplicated(["epoch", "name"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(f"{row['name']} comes twice at epoch {row['epoch']:g}. Give one stage.")
    table = rows.pivot(index="epoch", columns="name", values="value")
    wanted = [f"{prefix}{k}" for k in range(count or table.shape[1])]
    odd = sorted(set(wanted) ^ set(table.columns))
    if len(rows) and odd:
        raise ValueError(
            f"{len(wanted)} {what} are named, but the history has {table.shape[1]} of {prefix}<k> "
            f"(they differ in {odd[0]}). Name each, in the order of k."
        )
    gaps = table.index[table.isna().any(axis=1)]
    if len(gaps):
        name = table.columns[table.loc[gaps[0]].isna()][0]
        raise ValueError(f"Epoch {gaps[0]:g} has no {name}. Give every epoch whole.")
    return table.reindex(columns=wanted) if len(rows) else table


def _collapse(looks: dict[int, Look]) -> str:
    """The collapse in words, or nothing."""
    epochs = [epoch for epoch, look in looks.items() if look.note]
    if not epochs:
        return ""
    first, last = epochs[0], epochs[-1]
    note = looks[last].note
    if len(epochs) == 1:
        return f"{_COLLAPSE} Collapse at epoch {first}: {note}"
    unbroken = epochs == [epoch for epoch in looks if first <= epoch <= last]
    when = f"epochs {first} to {last}" if unbroken else f"{len(epochs)} of {len(looks)} epochs"
    return f"{_COLLAPSE} Collapse at {when}. At epoch {last}, {note}"


def _bars(axes: Axes, epochs: FloatArray, shares: FloatArray, names: Sequence[str]) -> None:
    """Stacked bars, the first class at the bottom."""
    inches = float(axes.get_window_extent().width) / axes.figure.dpi
    slot = inches / (epochs[-1] - epochs[0] + 1.2)
    wide = min(0.8, 0.6 / slot)
    starts = np.cumsum(shares, axis=1) - shares
    for k, colour in enumerate(class_colours(names).values()):
        axes.bar(
            epochs,
            shares[:, k],
            wide,
            starts[:, k],
            color=colour,
            edgecolor="white",
            linewidth=0.6,
        )
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
    axes.set_ylabel("Share of the answers (%)")


def _even(axes: Axes, last: FloatArray, names: Sequence[str]) -> None:
    """The key: even shares as a bar, with each class's name and share at the last epoch."""
    count = len(names)
    for k, colour in enumerate(class_colours(names).values()):
        axes.bar(0.0, 1.0 / count, 1.0, k / count, color=colour, edgecolor="white", linewidth=0.6)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(-0.5, 0.5)
    axes.set_xticks([0.0], ["even"])
    axes.yaxis.tick_right()
    texts = [f"{name}  {100 * share:.0f} %" for name, share in zip(names, last, strict=True)]
    axes.set_yticks((np.arange(count) + 0.5) / count, texts)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _lines(axes: Axes, epochs: FloatArray, values: dict[str, FloatArray]) -> None:
    """Lines between 0 and 1 that no colour tells apart, each with its first and last value."""
    for number, (name, line) in enumerate(values.items()):
        few: dict[str, Any] = (
            {"marker": _MARKERS[number % len(_MARKERS)]} if len(line) <= 12 else {}
        )
        change = f"{line[0]:.2f} → {line[-1]:.2f}" if len(line) > 1 else f"{line[0]:.2f}"
        axes.plot(
            epochs,
            line,
            color=INK,
            linestyle=_STYLES[number % len(_STYLES)],
            linewidth=1.7,
            markersize=4.5,
            label=f"{name}  {change}".strip(),
            **few,
        )
    axes.set_ylim(0.0, 1.05)
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.12), borderaxespad=0.0, handlelength=2.2)
