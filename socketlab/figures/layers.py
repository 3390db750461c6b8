"""Which layers carry the gap: statistics by layer, and accuracy with those of one replaced."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.labels import spread, text_width
from socketlab.figures.style import (
    FAINT,
    INK,
    MUTED,
    RIGHT,
    WRONG,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)

_GAPS: Final = {"mean_gap": "Gap of the mean", "variance_gap": "Gap of the variance"}
_MOMENTS: Final = {
    "source": ("source model, RGB", "#7A828C", "s"),
    "before": ("source model, target images", "#D55E00", "^"),
    "after": ("target model, target images", "#0072B2", "o"),
}
_LEVELS: Final = {"nothing replaced": "--", "all layers anew": "-"}
_LEFT, _BETWEEN, _HIGH = 0.8, 0.2, 1.75  # inches: of a panel
_SMALL: Final = 9.0
_LINE: Final = 0.19  # inches between labels
_KEY: Final = (
    "0: a layer's inputs are as the source model knows them. 1: their means are off by as much as "
    "they vary, their variances by as much as they are."
)
_KEY_ACCURACY: Final = (
    "Each point: the source model with the statistics of that layer alone taken from the target "
    "images. Blue: more accurate than with its own; orange: less."
)
_GAP_COLUMNS: Final = ("layer", "position", "moment", *_GAPS, "note")
_ACCURACY_COLUMNS: Final = ("layer", "position", "scored", "accuracy", "note")
_KEY_BAND: Final = " Grey: nothing replaced, 95 % interval over {n:,} images."


@styled
def statistics_by_layer(gaps: pd.DataFrame, replaced: pd.DataFrame | None = None) -> Figure:
    """Gap of mean and variance at every normalisation layer, in the order of the layers.

    `gaps` is of `gap.layer_statistics.statistics_gap`: layer, position, moment ("source",
    "before", "after"), mean_gap, variance_gap and note, a row per layer and moment. With
    `replaced`, see `accuracy_by_layer`, a third panel has the accuracy on the same axis. A number
    that is not finite is left out of its line, and the notes below say how many and why. A frame
    without rows that says why in `attrs["reason"]` is drawn as that sentence.
    Raises ValueError for no rows, a missing column, an unknown moment or none called "before", or
    a row that comes twice.
    """
    if gaps.empty and "reason" in gaps.attrs:
        return _sentence(str(gaps.attrs["reason"]))
    layers = _check(gaps, _GAP_COLUMNS, ("layer", "moment"))
    unknown = [moment for moment in gaps["moment"].unique() if moment not in _MOMENTS]
    if unknown or "before" not in set(gaps["moment"]):
        found = f"Unknown moment {unknown[0]!r}" if unknown else "There is no moment 'before'"
        raise ValueError(f"{found}. Known: {', '.join(_MOMENTS)}.")
    headings = [_heading(gaps)]
    notes = [_KEY, *_missing(gaps, ["moment"], "mean_gap")]
    if replaced is not None and replaced.empty:
        notes.append(str(replaced.attrs.get("reason", "No layer was replaced.")))
        replaced = None
    if replaced is not None:
        layers = list(dict.fromkeys([*layers, *_check(replaced, _ACCURACY_COLUMNS, ("layer",))]))
        headings.append(_accuracy_heading(replaced))
        notes += _accuracy_notes(replaced)
    panels = _panels(headings, layers, 2 if replaced is None else 3, notes, legend=True)
    for axes, (column, label) in zip(panels, _GAPS.items(), strict=False):
        for moment, (name, colour, marker) in _MOMENTS.items():
            part = gaps[gaps["moment"] == moment].set_index("layer")[column]
            values, size = (
                part.reindex(layers).to_numpy(np.float64),
                5 if len(layers) <= 30 else 3.8,
            )
            if len(part):
                axes.plot(values, color=colour, marker=marker, label=name, lw=1.4, ms=size)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
    panels[0].legend(
        loc="lower left", ncols=3, borderaxespad=0.0, columnspacing=1.4,
        bbox_to_anchor=(-0.01, 1.03),
    )  # fmt: skip
    if replaced is not None:
        _accuracies(panels[2], layers, replaced)
    return panels[0].figure  # type: ignore[return-value]


@styled
def accuracy_by_layer(replaced: pd.DataFrame) -> Figure:
    """Accuracy of the source model when only one layer's statistics are those of target images.

    `replaced` is of `gap.layer_statistics.replaced_statistics`: layer, position, scored (number of
    images), accuracy (a share in [0, 1]) and note, a row per layer; those named "none" and "all"
    are drawn as levels, the first with its interval. An accuracy that is not finite is left out,
    and the notes below say so. A frame without rows that says why in `attrs["reason"]` is drawn as
    that sentence.
    Raises ValueError for no rows, a missing column, or a layer that comes twice.
    """
    if replaced.empty and "reason" in replaced.attrs:
        return _sentence(str(replaced.attrs["reason"]))
    layers = _check(replaced, _ACCURACY_COLUMNS, ("layer",))
    (axes,) = _panels([_accuracy_heading(replaced)], layers, 1, _accuracy_notes(replaced))
    _accuracies(axes, layers, replaced)
    return axes.figure  # type: ignore[return-value]


def _check(frame: pd.DataFrame, columns: Sequence[str], key: Sequence[str]) -> list[str]:
    """The layers of a frame that can be drawn, in their order."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"The layers have no column {missing[0]!r}. Give {', '.join(columns)}.")
    twice = frame[frame.duplicated([*key])]
    if len(twice):
        found = " of ".join(repr(twice.iloc[0][name]) for name in reversed(key))
        raise ValueError(f"{found} comes twice. Give one row each.")
    ordered = dict.fromkeys(frame.sort_values("position", kind="stable")["layer"])
    layers = [name for name in ordered if name not in ("none", "all")]
    if not layers:
        raise ValueError("There is no layer to draw. Give one row at least.")
    return layers


def _levels(replaced: pd.DataFrame) -> dict[str, float]:
    found = replaced.set_index("layer")["accuracy"].astype(float).dropna()
    names = zip(("none", "all"), _LEVELS, strict=True)
    return {text: 100 * found[name] for name, text in names if name in found.index}


def _missing(frame: pd.DataFrame, by: Sequence[str], column: str) -> list[str]:
    """What is not drawn, and why, a sentence for each reason."""
    lost = frame[~np.isfinite(frame[column].astype(float))]
    said = []
    for key, part in lost.groupby([*by, "note"], sort=False):
        where = f" ({key[0]})" if by else ""
        first = part["layer"].iloc[0]
        more = f" and {len(part) - 1} more" if len(part) > 1 else ""
        said.append(f"Not drawn: {first}{more}{where}, {key[-1] or 'not finite'}.")
    return said


def _heading(gaps: pd.DataFrame) -> str:
    found = gaps[np.isfinite(gaps["mean_gap"].astype(float))]
    means = found.groupby("moment")["mean_gap"].mean()
    parts = [f"{means[moment]:.2f} {moment}" for moment in ("before", "after") if moment in means]
    before = found[found["moment"] == "before"].set_index("layer")["mean_gap"]
    if before.empty:
        return "No gap could be measured."
    words = f"{', '.join(parts)} adaptation; widest before at {before.idxmax()}."
    return f"Gap of the mean, averaged over layers: {words}"


def _accuracy_heading(replaced: pd.DataFrame) -> str:
    found = 100 * replaced.set_index("layer")["accuracy"].astype(float).dropna()
    alone = found.drop(["none", "all"], errors="ignore")
    if alone.empty:
        return "No layer could be replaced."
    every = f"; all layers: {found['all']:.0f} %" if "all" in found else ""
    if "none" in found and alone.max() <= found["none"]:
        return f"No layer replaced alone raises the accuracy of {found['none']:.0f} %{every}."
    start = f"{found['none']:.0f} → " if "none" in found else ""
    return f"Replaced alone, {alone.idxmax()} brings most: {start}{alone.max():.0f} %{every}."


def _accuracy_notes(replaced: pd.DataFrame) -> list[str]:
    band = _KEY_BAND.format(n=n) if (n := _scored(replaced)) else ""
    return [_KEY_ACCURACY + band, *_missing(replaced, [], "accuracy")]


def _scored(replaced: pd.DataFrame) -> int:
    """Images that the untouched model's accuracy is of; 0 where there is none."""
    found = replaced.dropna(subset=["accuracy"])
    return int(found[found["layer"] == "none"]["scored"].sum())


def _panels(
    headings: Sequence[str], layers: Sequence[str], count: int, notes: Sequence[str], *,
    legend: bool = False,
) -> list[Axes]:  # fmt: skip
    """Empty panels on a figure of their own, which share the layers."""
    plot = float(np.clip(0.5 * len(layers), 7.0, max(7.5, 0.19 * len(layers))))
    width = _LEFT + plot + (0.3 if count == 2 else 1.75)
    title = "\n".join(fold(heading, width - 0.4, 12) for heading in headings)
    text = "\n".join(fold(note, width - 0.4, _SMALL) for note in notes)
    head = 0.35 + lines_high(title, 12) + (0.2 if legend else 0.0)
    foot = 0.25 + max(text_width(name, _SMALL) for name in layers)
    below = head + count * (_HIGH + _BETWEEN) - _BETWEEN + foot
    figure = sheet(width, below + 0.12 + lines_high(text, _SMALL))
    write(figure, title, 0.2, 0.14, size=12, bold=True)
    write(figure, text, 0.2, below, size=_SMALL, colour=MUTED)
    made = []
    for number in range(count):
        axes = place(figure, _LEFT, head + number * (_HIGH + _BETWEEN), plot, _HIGH)
        axes.set_xlim(-0.6, len(layers) - 0.4)
        names = layers if number == count - 1 else [""] * len(layers)
        axes.set_xticks(range(len(layers)), names, rotation=90, fontsize=_SMALL)
        axes.tick_params(axis="x", length=2)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.grid()
        made.append(axes)
    return made


def _accuracies(axes: Axes, layers: list[str], replaced: pd.DataFrame) -> None:
    found = 100 * replaced.set_index("layer")["accuracy"].reindex(layers).to_numpy(np.float64)
    levels, scored, places = _levels(replaced), _scored(replaced), range(len(layers))
    ground = levels.get("nothing replaced", np.nan)
    colours = list(np.where(found > ground, RIGHT, np.where(found < ground, WRONG, MUTED)))
    axes.vlines(places, ground, found, colors=colours, linewidth=2.0)
    axes.scatter(places, found, c=colours, s=30 if len(layers) <= 30 else 18, zorder=3)
    shown = [*found[np.isfinite(found)], *levels.values()]
    if scored:
        reach = 1.96 * float(np.sqrt(ground * (100 - ground) / scored))
        axes.axhspan(ground - reach, ground + reach, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
        shown += [ground - reach, ground + reach]
    for text, value in levels.items():
        axes.axhline(value, color=INK, linewidth=1.1, linestyle=_LEVELS[text], zorder=2)
    axes.set_ylabel("Accuracy (%)")
    low, high = (min(shown), max(shown)) if shown else (0.0, 100.0)
    room = max(2.0, 0.1 * (high - low))
    axes.set_ylim(max(0.0, low - room), min(101.0, high + room))
    _name_levels(axes, sorted(levels.items(), key=lambda item: item[1]))


def _name_levels(axes: Axes, levels: Sequence[tuple[str, float]]) -> None:
    low, high = axes.get_ylim()
    gap = _LINE / _HIGH * (high - low)
    heights = spread(np.array([value for _, value in levels]), gap, low, high)
    for (text, value), height in zip(levels, heights, strict=True):
        axes.annotate(
            f"{text}, {value:.0f} %", (1.0, float(height)), xytext=(5, 0), va="center",
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=_SMALL,
        )  # fmt: skip


def _sentence(text: str) -> Figure:
    figure = sheet(6.4, 0.3 + lines_high(text := fold(text, 6.0), 10.0))
    write(figure, text, 0.2, 0.12, colour=MUTED)
    return figure
