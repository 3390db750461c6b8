"""Methods beside each other: who gains how much over source_only, on every seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.style import (
    INK,
    MUTED,
    WRONG,
    fold,
    lines_high,
    method_colour,
    place,
    sheet,
    signed,
    styled,
    write,
)

Metric = Literal["accuracy", "balanced_accuracy"]

_COLUMNS: Final = ("method", "source", "target", "protocol", "seed", "chosen_by")
_SOURCE_ONLY: Final = "source_only"


@dataclass(frozen=True)
class _Bar:
    """One bar: a method on a source, with the accuracy of every seed in percent.

    `collapsed`: of how many of its seeds the answers fall on under half of the classes.
    """

    method: str
    label: str
    values: tuple[float, ...]
    upper_reference: bool
    source: str
    collapsed: int

    @property
    def words(self) -> str:
        """The bar's name, and below it what one has to know about it."""
        below = ["upper reference"] if self.upper_reference else []
        if self.collapsed:
            several = f": {self.collapsed} of {len(self.values)} seeds"
            below.append("collapsed" + (several if len(self.values) > 1 else ""))
        return "\n".join([self.label, *([", ".join(below)] if below else [])])

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@styled
def comparison_bars(rows: pd.DataFrame, *, metric: Metric = "accuracy") -> Figure:
    """Methods ranked by their mean over seeds, a panel per protocol and target.

    `rows` has method, source, target, protocol, seed, chosen_by, accuracy and balanced_accuracy
    (shares in [0, 1]), a row per result. Every seed is a dot; the line is one standard deviation
    (n - 1) to each side. Dashed: `source_only`; points gained over it stand behind the mean. A
    method named `oracle...`, or an epoch chosen by `oracle`, is hatched and named as what it is:
    an upper reference that nobody without target labels can have. Where `rows` has a column `note`,
    a bar says how many of its seeds have one: their answers collapsed.
    Raises ValueError for no rows, a missing column, or accuracies that are not shares.
    """
    _check_rows(rows, metric)
    panels = [
        (str(protocol), str(target), _bars(part, metric))
        for (protocol, target), part in rows.groupby(["protocol", "target"], sort=False)
    ]
    step, head, foot = 0.37, 0.62, 0.5
    texts = [line for _, _, bars in panels for bar in bars for line in bar.words.split("\n")]
    left = min(4.2, 0.35 + 0.086 * max(map(len, texts)))
    plot_width = 5.4
    key = (
        "Dot: one seed. Line: ± one standard deviation. Number: mean, and points over source_only. "
        "Dashed: source_only with the same source."
    )
    if any(bar.collapsed for _, _, bars in panels for bar in bars):
        key += " Collapsed: the answers fall on under half of the classes."
    width = left + plot_width + 1.75
    key = fold(key, width - 0.4, 9)
    height = sum(head + foot + step * len(bars) for _, _, bars in panels)
    figure = sheet(width, height + 0.2 + lines_high(key, 9))
    top = 0.0
    for protocol, target, bars in panels:
        sources = sorted({bar.source for bar in bars})
        came = sources[0] if len(sources) == 1 else f"{len(sources)} sources"
        title = fold(f"{came} → {target}", width - 0.4, 12.5)
        write(figure, title, 0.2, top + 0.14, size=12.5, bold=True)
        write(figure, f"protocol {protocol}", 0.2, top + 0.37, size=9.5, colour=MUTED)
        axes = place(figure, left, top + head, plot_width, step * len(bars))
        _draw_bars(axes, bars)
        axes.set_xlabel(f"{metric.replace('_', ' ').capitalize()} on the target (%)")
        top += head + foot + step * len(bars)
    write(figure, key, 0.2, top + 0.08, size=9, colour=MUTED)
    return figure


def _check_rows(rows: pd.DataFrame, metric: Metric) -> None:
    missing = [name for name in (*_COLUMNS, metric) if name not in rows.columns]
    if missing:
        raise ValueError(f"The rows have no column {missing[0]!r}. Give {', '.join(_COLUMNS)}.")
    if len(rows) == 0:
        raise ValueError("There are no rows to compare. Give at least one result.")
    values = rows[metric].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0.0 or values.max() > 1.0 + 1e-9:
        raise ValueError(
            f"{metric} reaches {values.min():g} to {values.max():g}. Give shares between 0 and 1."
        )


def _bars(part: pd.DataFrame, metric: Metric) -> list[_Bar]:
    """The bars of one panel, best first."""
    several_sources = part["source"].nunique() > 1
    choices = part[part["chosen_by"] != "oracle"].groupby(["method", "source"])["chosen_by"]
    several_choices = {key for key, count in choices.nunique().items() if count > 1}
    bars = []
    for (method, source, chosen_by), group in part.groupby(
        ["method", "source", "chosen_by"], sort=False
    ):
        oracle = str(method).startswith("oracle") or str(chosen_by) == "oracle"
        words = [str(method)]
        if several_sources:
            words[0] += f" from {source}"
        if str(chosen_by) == "oracle":
            words.append("best epoch")
        elif (method, source) in several_choices:
            words.append("last epoch" if chosen_by == "last" else f"by {chosen_by}")
        values = tuple(100.0 * group[metric].to_numpy(dtype=np.float64))
        collapsed = int((group["note"] != "").sum()) if "note" in group else 0
        bars.append(_Bar(str(method), ", ".join(words), values, oracle, str(source), collapsed))
    return sorted(bars, key=lambda bar: -bar.mean)


def _draw_bars(axes: Axes, bars: Sequence[_Bar]) -> None:
    floor = {bar.source: bar.mean for bar in reversed(bars) if bar.method == _SOURCE_ONLY}
    # Texts are only drawn where they begin inside the axes.
    highest = min(100.0, max(max(*bar.values, bar.mean + bar.deviation) for bar in bars))
    for position, bar in enumerate(bars):
        axes.barh(
            position,
            bar.mean,
            height=0.68,
            color="#ECEEF1" if bar.upper_reference else method_colour(bar.method),
            hatch="///" if bar.upper_reference else None,
            edgecolor="#8A929C" if bar.upper_reference else "none",
            linewidth=0.8,
        )
        if len(bar.values) > 1:
            ends = (bar.mean - bar.deviation, bar.mean + bar.deviation)
            axes.hlines(position, *ends, color=INK, linewidth=1.6)
        axes.scatter(
            bar.values,
            np.full(len(bar.values), float(position)),
            s=20,
            color="white",
            edgecolors=INK,
            linewidths=1.0,
            zorder=4,
        )
        text = f"{bar.mean:.1f}"
        if bar.source in floor and bar.method != _SOURCE_ONLY:
            text += signed(f"  ({bar.mean - floor[bar.source]:+z.1f})")
        end = min(highest, max(bar.mean + bar.deviation, *bar.values))
        axes.annotate(
            text,
            (end, float(position)),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            fontweight="normal" if bar.upper_reference else "bold",
            color=MUTED if bar.upper_reference else INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
            zorder=5,
        )
    _draw_floor(axes, bars, floor)
    axes.set_yticks(range(len(bars)), [bar.words for bar in bars], linespacing=0.95)
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        if bar.upper_reference or bar.collapsed:
            tick.set_color(WRONG if bar.collapsed else MUTED)
            tick.set_fontsize(8.5)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0.0, min(100.0, highest * 1.06 + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _draw_floor(axes: Axes, bars: Sequence[_Bar], floor: Mapping[str, float]) -> None:
    """The level of source_only: one line, or with several sources each bar's own piece."""
    pieces: dict[str, Any] = {
        "color": INK,
        "linewidth": 1.3,
        "linestyle": (0, (4, 3)),
        "zorder": 3,
    }
    if len({bar.source for bar in bars}) > 1:
        for position, bar in enumerate(bars):
            if bar.source in floor:
                axes.vlines(floor[bar.source], position - 0.5, position + 0.5, **pieces)
        return
    for value in floor.values():
        axes.axvline(value, **pieces)
        axes.annotate(
            _SOURCE_ONLY,
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=MUTED,
        )
