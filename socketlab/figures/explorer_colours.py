"""Which colour each point of an explorer has: the same in the notebook and in the still picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from socketlab.figures.style import (
    MODALITY_COLOURS,
    MODALITY_NAMES,
    RIGHT,
    WRONG,
    class_colours,
)
from socketlab.gap.points import PointTable

COLOURINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "modality": "modality",
        "class": "class",
        "prediction": "prediction",
        "distance": "pair distance",
        "pseudo-label": "pseudo-label right or wrong",
        "answer": "answer right or wrong",
    }
)
_VERDICTS: Final = {"right": RIGHT, "wrong": WRONG}
UNKNOWN: Final = "#B9BEC5"
STEPS: Final = 24  # of the continuous scale: finer than an eye tells small points apart


@dataclass(frozen=True, eq=False)
class Colouring:
    """Which colour each row has at each moment.

    `codes[moment]` int64 [n] are places in `names` and `colours`, which all moments share.
    `scale` are the least and the largest value where the colours are the steps of a scale; its
    last name then is that of the rows without a value.
    """

    names: tuple[str, ...]
    colours: tuple[str, ...]
    codes: Mapping[str, npt.NDArray[np.int64]]
    scale: tuple[float, float] | None = None

    @property
    def has_unknown(self) -> bool:
        """Whether any row of a scale has no value."""
        return any(bool((codes == STEPS).any()) for codes in self.codes.values())


def colourings(points: PointTable) -> dict[str, str]:
    """What the points can be coloured by: all of which the table says something."""
    needed = {
        "modality": ["modality"],
        "class": ["class"],
        "prediction": [f"prediction {moment}" for moment in points.moments],
        "distance": [f"distance {moment}" for moment in points.moments],
        "answer": [f"right {moment}" for moment in points.moments],
    }
    found = {key for key, columns in needed.items() if any(map(points.has, columns))}
    if points.has("pseudo-label") and points.has("class"):
        found.add("pseudo-label")
    return {key: label for key, label in COLOURINGS.items() if key in found}


def colouring(points: PointTable, colour_by: str) -> Colouring:
    """The colour of every row at every moment; colours can be told apart by the colour-blind.

    A class has one colour, whether it is the true one or predicted. Distances of all moments share
    one scale, from dark (near) to light (far).

    Raises:
        ValueError: the table says nothing of `colour_by`.
    """
    if colour_by not in colourings(points):
        raise ValueError(
            f"The points cannot be coloured by {colour_by!r}. Known: "
            f"{', '.join(colourings(points))}."
        )
    frame = points.frame
    if colour_by == "distance":
        return _scale({moment: points.distance(moment) for moment in points.moments})
    if colour_by == "modality":
        others = class_colours([m for m in points.modalities if m not in MODALITY_COLOURS])
        colours = {m: MODALITY_COLOURS.get(m) or others[m] for m in points.modalities}
        return _categories(dict.fromkeys(points.moments, frame["modality"]), colours)
    if colour_by == "pseudo-label":
        label, true = frame["pseudo-label"].fillna(""), frame["class"]
        verdict = np.where(label == true, "right", "wrong")
        values = pd.Series(np.where((label == "") | (true == ""), "", verdict))
        return _categories(dict.fromkeys(points.moments, values), _VERDICTS, "no pseudo-label")
    if colour_by == "answer":
        answers = {m: _column(points, f"right {m}") for m in points.moments}
        return _categories(answers, _VERDICTS, "not known")
    labels = [_column(points, c) for c in ("class", *(f"prediction {m}" for m in points.moments))]
    classes = class_colours(sorted(set(pd.concat(labels).unique()) - {""}))
    if colour_by == "class":
        return _categories(dict.fromkeys(points.moments, labels[0]), classes, "no class")
    predicted = dict(zip(points.moments, labels[1:], strict=True))
    return _categories(predicted, classes, "no prediction")


def _column(points: PointTable, name: str) -> pd.Series[Any]:
    if name not in points.frame:
        return pd.Series([""] * len(points))
    return points.frame[name].fillna("").astype(str)


def _categories(
    values: Mapping[str, pd.Series[Any]], colours: Mapping[str, str], unknown: str = "unknown"
) -> Colouring:
    found = set().union(*(set(column.unique()) for column in values.values()))
    names = [name for name in colours if name in found]
    codes = {
        moment: np.where(found_codes < 0, len(names), found_codes)
        for moment, column in values.items()
        for found_codes in [pd.Index(names).get_indexer(pd.Index(column)).astype(np.int64)]
    }
    shown = [MODALITY_NAMES.get(name, name.replace("_", " ")) for name in names]
    chosen = [colours[name] for name in names]
    if any((column == len(names)).any() for column in codes.values()):
        shown, chosen = [*shown, unknown], [*chosen, UNKNOWN]
    return Colouring(tuple(shown), tuple(chosen), codes)


def _scale(values: Mapping[str, npt.NDArray[np.float64]]) -> Colouring:
    known = np.concatenate([column[~np.isnan(column)] for column in values.values()])
    low, high = float(known.min()), float(known.max())
    codes = {}
    for moment, column in values.items():
        step = np.nan_to_num((column - low) / max(high - low, 1e-12) * STEPS)
        codes[moment] = np.where(
            np.isnan(column), STEPS, np.clip(step.astype(np.int64), 0, STEPS - 1)
        )
    edges = np.linspace(low, high, STEPS + 1)
    names = [f"{a:.3g} to {b:.3g}" for a, b in itertools.pairwise(edges)]
    # The lightest tenth of the scale vanishes on white.
    ramp = [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 0.92, STEPS))]
    return Colouring((*names, "no pair"), (*ramp, UNKNOWN), codes, (low, high))
