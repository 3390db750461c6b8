"""Pictures of a data set: how many images of each class, and how far the camera sees."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from socketlab.figures.style import (
    INK,
    MODALITY_COLOURS,
    MUTED,
    OKABE_ITO,
    lighten,
    place,
    sheet,
    styled,
    write,
)

Counts = Mapping[str, Mapping[str, int]]

_SPLIT_COLOURS: Final[tuple[str, ...]] = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_LINE_STYLES: Final = ("-", "--", "-.", ":")
_BINS: Final = 80


@styled
def class_counts(table: Counts, task_relevant: Collection[str]) -> Figure:
    """Images per class and split, task-relevant classes above, task-irrelevant below.

    `table` maps class to split to number of images. Classes are ranked by their total.
    Raises ValueError for an empty table or a task-relevant class that the table does not have.
    """
    if not table:
        raise ValueError("The table of class counts is empty. Give at least one class.")
    unknown = sorted(set(task_relevant) - set(table))
    if unknown:
        raise ValueError(
            f"Task-relevant class {unknown[0]!r} is not in the table. Known: "
            f"{', '.join(sorted(table))}."
        )
    splits = list(dict.fromkeys(split for counts in table.values() for split in counts))
    relevant = {name: counts for name, counts in table.items() if name in set(task_relevant)}
    other = {name: counts for name, counts in table.items() if name not in relevant}
    groups = [
        (word, group)
        for word, group in (("Task-relevant", relevant), ("Task-irrelevant", other))
        if group
    ]
    bar, head = 0.245, 0.42
    left, plot_width = 0.4 + 0.083 * max(len(name) for name in table), 5.6
    height = 0.42 + sum(head + bar * len(group) for _, group in groups) + 0.6
    figure = sheet(left + plot_width + 0.75, height)
    largest = max(sum(counts.values()) for counts in table.values())
    top = 0.36
    for number, (word, group) in enumerate(groups):
        axes = place(figure, left, top + head, plot_width, bar * len(group))
        _stacked_bars(axes, group, splits)
        axes.set_xlim(0, max(1, largest) * 1.02)
        total = sum(sum(counts.values()) for counts in group.values())
        noun = "class" if len(group) == 1 else "classes"
        write(
            figure,
            f"{word}: {len(group)} {noun}, {total:,} images",
            0.2,
            top + 0.14,
            size=11,
            bold=True,
        )
        last = number == len(groups) - 1
        axes.tick_params(labelbottom=last)
        if last:
            axes.set_xlabel("Images")
        top += head + bar * len(group)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.1 / figure.get_figwidth(), 1 - 0.06 / height),
        ncols=len(splits),
    )
    return figure


def _stacked_bars(axes: Axes, group: Counts, splits: list[str]) -> None:
    ranked = sorted(group, key=lambda name: (-sum(group[name].values()), name))
    positions = np.arange(len(ranked))
    start = np.zeros(len(ranked))
    for number, split in enumerate(splits):
        counts = np.array([group[name].get(split, 0) for name in ranked])
        colour = _SPLIT_COLOURS[number % len(_SPLIT_COLOURS)]
        axes.barh(positions, counts, left=start, height=0.74, color=colour, label=split)
        start = start + counts
    for position, total in zip(positions, start, strict=True):
        axes.annotate(
            f"{int(total):,}",
            (float(total), float(position)),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=MUTED,
        )
    axes.set_yticks(positions, [name.replace("_", " ") for name in ranked])
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


@styled
def depth_histogram(
    metres: npt.NDArray[Any],
    invalid_share: float,
    by: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Figure:
    """How the valid depths are distributed, in all and by group.

    `metres` holds depths in metres (any shape, NaN is left out), `invalid_share` in [0, 1] the
    pixels without a measurement, `by` depths per group (a domain, a class) drawn as lines on the
    same bins. Heights are shares of the valid pixels per bin; the axis ends at the 99.5th
    percentile, and what lies beyond is counted in the title.
    Raises ValueError for a share outside [0, 1] or no finite depth.
    """
    if not 0.0 <= invalid_share <= 1.0:
        raise ValueError(f"invalid_share is {invalid_share}. Give a share between 0 and 1.")
    valid = _finite(metres)
    if valid.size == 0:
        raise ValueError("No depth is finite. Give depths in metres, NaN only where invalid.")
    end = max(float(np.percentile(valid, 99.5)), 1e-3)
    bins = np.linspace(min(0.0, float(valid.min())), end, _BINS + 1)
    beyond = float(np.mean(valid > end))
    rows = -(-(len(by) + 1) // 5) if by else 0
    figure = sheet(8.2, 3.62 + 0.28 * rows)
    axes = place(figure, 0.8, 0.85, 7.1, 2.2)
    colour = MODALITY_COLOURS["depth"]
    heights = _shares(valid, bins)
    axes.stairs(heights, bins, fill=True, color=lighten(colour, 0.55 if by else 0.2), label="all")
    if by:
        for number, (name, depths) in enumerate(by.items()):
            axes.stairs(
                _shares(_finite(depths), bins),
                bins,
                color=OKABE_ITO[(number + 1) % len(OKABE_ITO)],
                linewidth=1.8,
                linestyle=_LINE_STYLES[number % len(_LINE_STYLES)],
                label=name,
            )
        axes.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.27), ncols=min(5, len(by) + 1))
    median = float(np.median(valid))
    axes.axvline(median, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"median {median:.2f} m",
        (median, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 2),
        textcoords="offset points",
        fontsize=9,
        color=MUTED,
        ha="left" if median < 0.7 * end else "right",
    )
    axes.set_xlim(float(bins[0]), end)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_xlabel("Depth (m)")
    axes.set_ylabel("Valid pixels per bin (%)")
    title = f"Depth: {valid.size:,} valid pixels, {100 * invalid_share:.1f} % without a measurement"
    write(figure, title, 0.2, 0.15, size=12, bold=True)
    if beyond > 0:
        note = f"{100 * beyond:.1f} % of the valid pixels lie beyond {end:.2f} m and are not drawn"
        write(figure, note, 0.2, 0.4, size=9.5, colour=MUTED)
    return figure


def _finite(metres: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    flat = np.asarray(metres, dtype=np.float64).ravel()
    finite: npt.NDArray[np.float64] = flat[np.isfinite(flat)]
    return finite


def _shares(
    valid: npt.NDArray[np.float64], bins: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    counts = np.histogram(valid, bins)[0].astype(np.float64)
    return 100.0 * counts / max(1, valid.size)
