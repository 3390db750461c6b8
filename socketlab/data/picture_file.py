"""One picture of any kind of file, of which nothing is known before: colour, grey, or wide."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from socketlab.data.layouts.decoding import SIXTEEN_BIT_MODES, UNREADABLE, upright

__all__ = ["UNREADABLE", "Kind", "Picture", "kind_of", "read_picture"]

Kind = Literal["colour", "grey", "wide"]
Picture = npt.NDArray[np.uint8 | np.uint16 | np.float32]

WIDE_MODES = (*SIXTEEN_BIT_MODES, "I", "F")
GREY_MODES = ("1", "L", "LA", "La")


def kind_of(path: Path) -> Kind:
    """What a file holds: `wide` is one channel of more than 8 bits, or of floats.

    Only its head is read. Raises one of `UNREADABLE` where it is no picture.
    """
    with Image.open(path) as image:
        if image.mode in WIDE_MODES:
            return "wide"
        return "grey" if image.mode in GREY_MODES else "colour"


def read_picture(path: Path, kind: Kind, size: int) -> Picture:
    """The whole picture at `size` x `size`, turned as its EXIF data say.

    Args:
        kind: `colour` gives uint8 [S, S, 3], `grey` uint8 [S, S], `wide` float32 [S, S] in the
            file's own numbers. A wide picture's zeros and what is not finite are no reading: the
            average is over the others alone, and 0 where they are less than half.
        size: pixels a side; bilinear filter with antialiasing.

    Raises one of `UNREADABLE` where the file cannot be decoded.
    """
    with Image.open(path) as image:
        turned = upright(image, path)
        # Pillow's own conversion of 16 bits to 8 cuts off at 255: all white.
        if kind == "wide":
            return _resize_wide(np.asarray(turned, dtype=np.float32), size)
        eight = turned.convert("RGB" if kind == "colour" else "L")
        return np.asarray(eight.resize((size, size), Image.Resampling.BILINEAR))


def _resize_wide(value: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    valid = np.isfinite(value) & (value != 0)
    weight = _filtered(valid.astype(np.float32), size)
    filtered = _filtered(np.where(valid, value, 0).astype(np.float32), size)
    averaged = filtered / np.maximum(weight, 1e-6)
    return np.where(weight >= 0.5, averaged, 0).astype(np.float32)


def _filtered(value: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(value).resize((size, size), Image.Resampling.BILINEAR))
