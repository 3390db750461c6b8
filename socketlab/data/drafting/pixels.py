"""What a sample of image files holds: bit depth, frame size, values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from socketlab.data.layouts.decoding import (
    SIXTEEN_BIT_MODES,
    UNREADABLE,
    Array,
    is_wide,
    read_pixels,
)

Kind = Literal["colour", "grey"]
SAMPLE = 24
"""Files of a pattern that are read."""
VALUES = 20_000
"""Pixels of a file that are kept, evenly spread."""


@dataclass(frozen=True)
class Look:
    """One file: `values` is a sample of its pixels, of one channel; empty for colour."""

    path: Path
    kind: Kind
    bits: Literal[8, 16]
    width: int
    height: int
    values: Array


@dataclass(frozen=True)
class Values:
    """Stored integers of a sample of one-channel files.

    `zeros` and `tops` are the shares of 0 and of the largest integer that fits; `low` and `high`
    the 0.1st and 99.9th percentile of the others; `eights`: all are multiples of 8.
    """

    zeros: float
    tops: float
    low: float
    high: float
    eights: bool


def sample_of(paths: Sequence[Path], most: int = SAMPLE) -> list[Path]:
    """At most `most` of the files, evenly spread, the same each time."""
    if len(paths) <= most:
        return list(paths)
    return [paths[round(row)] for row in np.linspace(0, len(paths) - 1, most)]


def look_at(path: Path) -> Look:
    """Read one file.

    Raises ValueError, naming the file, where it cannot be decoded or holds what no domain can:
    alpha, palettes, 32 bits or floats.
    """
    try:
        with Image.open(path) as image:
            mode, bits = image.mode, _bits(image)
            pixels = read_pixels(image, path)
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    height, width = pixels.shape[:2]
    if mode == "RGB":
        return Look(path, "colour", bits, width, height, np.zeros(0, np.uint8))
    if mode != "L" and mode not in SIXTEEN_BIT_MODES:
        raise ValueError(
            f"{path} is of mode {mode}. Save it as RGB without alpha, or as one channel of 8 or 16 "
            "bits (whole millimetres, for depth)."
        )
    flat = pixels.ravel()
    return Look(path, "grey", bits, width, height, flat[:: max(1, len(flat) // VALUES)])


def _bits(image: Image.Image) -> Literal[8, 16]:
    return 16 if is_wide(image) else 8


def values_of(looks: Iterable[Look]) -> Values:
    """The values of one-channel files; all in one, whatever file they are of."""
    looks = list(looks)
    values = np.concatenate([look.values for look in looks])
    top = 2 ** max(look.bits for look in looks) - 1
    inner = values[(values > 0) & (values < top)]
    low, high = np.percentile(inner, [0.1, 99.9]).tolist() if len(inner) else (0.0, float(top))
    return Values(
        zeros=float((values == 0).mean()),
        tops=float((values == top).mean()),
        low=low,
        high=high,
        eights=bool(len(inner)) and not (inner % 8).any(),
    )


def sizes_of(looks: Iterable[Look]) -> Counter[tuple[int, int]]:
    """How many files of each (width, height)."""
    return Counter((look.width, look.height) for look in looks)
