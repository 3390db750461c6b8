"""Words and numbers in the room that they have: cut short, and placed so that no two overlap."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

FloatArray = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]
Entry = TypeVar("Entry")

_DISTANCES: Final = (0.13, 0.28, 0.46, 0.64, 0.82, 1.0, 1.4, 1.8, 2.3)  # inches to the label
_DIRECTIONS: Final = 16


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """The width in inches of one line of `text` in letters of `size` points."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72.0


def in_rows(
    entries: Iterable[Entry], needed: Callable[[Entry], float], width: float
) -> list[list[Entry]]:
    """Entries of a legend in rows that fit `width` inches, where each needs so many."""
    rows: list[list[Entry]] = []
    used = width
    for entry in entries:
        if used + needed(entry) > width:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += needed(entry)
    return rows


def elide(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """`text` if it fits `width` inches in letters of `size` points, else its beginning and "…"."""
    if text_width(text, size, bold=bold) <= width:
        return text
    for letters in range(len(text) - 1, 1, -1):
        shorter = text[:letters].rstrip() + "…"
        if text_width(shorter, size, bold=bold) <= width:
            return shorter
    return text[:1] + "…"


def spread(wanted: FloatArray, gap: float, low: float, high: float) -> FloatArray:
    """Places for the rising `wanted` [N], `gap` apart, half a gap within `low` and `high`.

    They stay in their order and near what is wanted. Where N gaps do not fit, the lowest leave the
    limits.
    """
    places = np.array(wanted, dtype=np.float64)
    nearest = low + gap / 2
    for k in range(len(places)):
        nearest = max(float(places[k]), nearest)
        places[k], nearest = nearest, nearest + gap
    nearest = high - gap / 2
    for k in reversed(range(len(places))):
        nearest = min(float(places[k]), nearest)
        places[k], nearest = nearest, nearest - gap
    return places


def beside(
    anchors: FloatArray, sizes: Sequence[tuple[float, float]], points: FloatArray, room: Box
) -> list[tuple[float, float]]:
    """The lower left corner of a label for each of `anchors` [N, 2], all in inches.

    Label i has the width and height sizes[i]. It is put near anchor i, within `room` (left,
    bottom, right, top), without touching another label, where there is such a place, and over as
    few of `points` [M, 2] as can be.
    """
    placed: list[Box] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        boxes = [
            (distance, box)
            for distance in _DISTANCES
            for box in _around(float(anchor[0]), float(anchor[1]), size, distance)
        ]
        # Of equal places the first one is taken: to the right, and near.
        costs = [5.0 * distance + _cost(box, placed, points, room) for distance, box in boxes]
        placed.append(boxes[int(np.argmin(costs))][1])
    return [(box[0], box[1]) for box in placed]


def round_ticks(low: float, high: float, gap: float) -> list[float]:
    """Round numbers in [low, high] for a logarithmic axis, whose logarithms are `gap` apart.

    The finest of the rows 1, 1.5, 2, 3, 5, 7 and 1, 2, 5 and 1, 3 and 1 (each times powers of ten)
    that keeps the gap; where none does, every n-th power of ten.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) < 2 or np.diff(np.log(found)).min() >= gap:
            return found
    return found[:: math.ceil(gap / math.log(10.0))]


def short_number(value: float) -> str:
    """A round number in few letters, such as 0.5, 300, 20k or 1.5M."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= 0.999 * least:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _around(x: float, y: float, size: tuple[float, float], distance: float) -> list[Box]:
    """Boxes of `size` whose edge is `distance` from (x, y), all around."""
    wide, high = size
    boxes = []
    for number in range(_DIRECTIONS):
        angle = 2.0 * math.pi * number / _DIRECTIONS
        across, up = math.cos(angle), math.sin(angle)
        left = x + distance * across + wide * (across - 1.0) / 2.0
        bottom = y + distance * up + high * (up - 1.0) / 2.0
        boxes.append((left, bottom, left + wide, bottom + high))
    return boxes


def _cost(box: Box, placed: Sequence[Box], points: FloatArray, room: Box) -> float:
    left, bottom, right, top = box
    outside = left < room[0] or bottom < room[1] or right > room[2] or top > room[3]
    touched = sum(
        left < other[2] and other[0] < right and bottom < other[3] and other[1] < top
        for other in placed
    )
    x, y = points[:, 0], points[:, 1]
    margin = 0.05
    covered = (x > left - margin) & (x < right + margin)
    covered &= (y > bottom - margin) & (y < top + margin)
    return 1e6 * outside + 1e4 * touched + float(np.count_nonzero(covered))
