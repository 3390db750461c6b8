"""The gap at every layer, before and after: where it opens, and where it has been closed."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from socketlab.figures.style import INK, place, sheet, styled, write

COLUMNS: Final = ("layer", "moment", "measure", "value", "low", "high")
_LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    "before": ("#7A828C", "o"),
    "after": ("#0072B2", "s"),
}
_STEP: Final = 2.35
_HIGH: Final = 1.5


@styled
def gap_by_layer(frame: pd.DataFrame) -> Figure:
    """A panel per measure: its value at every layer from first to last, before and after.

    `frame` has a row per layer, moment and measure: `layer`, `moment` ("before", "after"),
    `measure`, `value`, `low`, `high`; NaN where a measure could not be computed, which leaves a
    gap in the line. Layers are in the order of their first rows. Every panel has its own scale:
    measures of layers of different width compare only within a measure, and with care.
    Raises ValueError for a missing column, or no row.
    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing or frame.empty:
        found = f"no column {missing[0]!r}" if missing else "no row"
        raise ValueError(f"The gap by layer has {found}. Give rows of {COLUMNS}.")
    layers = list(dict.fromkeys(frame["layer"]))
    measures = list(dict.fromkeys(frame["measure"]))
    across = min(3, len(measures))
    down = -(-len(measures) // across)
    words = 0.35 + 0.085 * max(len(layer) for layer in layers)
    step = max(_STEP, 0.36 * len(layers) + 0.8)
    figure = sheet(0.4 + across * step, 0.45 + down * (_HIGH + words + 0.35))
    at = 0.3
    for moment in dict.fromkeys(frame["moment"]):
        colour, _ = _LOOKS.get(str(moment), (INK, "o"))
        write(figure, str(moment), at, 0.12, size=11, bold=True, colour=colour)
        at += 0.14 * len(str(moment)) + 0.1
    for position, measure in enumerate(measures):
        left = 0.8 + (position % across) * step
        top = 0.72 + (position // across) * (_HIGH + words + 0.35)
        axes = place(figure, left, top, step - 0.75, _HIGH)
        _panel(axes, frame[frame["measure"] == measure], layers)
        axes.set_title(str(measure), x=-0.15, pad=7)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, layers: list[str]) -> None:
    places = np.arange(len(layers))
    for moment, mine in rows.groupby("moment", sort=False):
        colour, marker = _LOOKS.get(str(moment), (INK, "o"))
        ordered = mine.set_index("layer")[["value", "low", "high"]].astype(float).reindex(layers)
        axes.fill_between(
            places, ordered["low"], ordered["high"], color=colour, alpha=0.16, linewidth=0
        )
        axes.plot(places, ordered["value"], marker=marker, color=colour, markersize=4.5)
    finite = rows[["value", "low", "high"]].to_numpy(float)
    top = float(np.nanmax(finite)) if np.isfinite(finite).any() else 1.0
    axes.set_ylim(0.0, max(1.12 * top, 1e-6))
    axes.set_xlim(-0.3, len(layers) - 0.7)
    axes.set_xticks(places, layers, rotation=90, fontsize=8.5)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
