"""One image file as the array that the store keeps; whatever is wrong with a file is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from socketlab.data.manifest import Domain

Array = np.ndarray[Any, np.dtype[Any]]

SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
MILLIMETRES_PER_METRE = 1000.0
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on a file that is cut short or is not what its name says."""


def read_image(path: Path, domain: Domain) -> Array:
    """The stored integers of an image file: uint8 [H, W, 3] for rgb, else uint8 / uint16 [H, W].

    Raises ValueError for another mode or bit depth than the manifest's, OSError (or SyntaxError,
    from Pillow) for a file that cannot be decoded.
    """
    with Image.open(path) as image:
        # Pillow decodes 16-bit RGB to its high byte in silence; only the tile says so
        wide = any("16" in str(tile[3]) for tile in image.tile)
        if domain.modality == "rgb":
            accepted = image.mode == "RGB" and not wide
        elif domain.bits == 8:
            accepted = image.mode == "L" and not wide
        else:
            accepted = image.mode in SIXTEEN_BIT_MODES
        if not accepted:
            wanted = "8-bit RGB" if domain.modality == "rgb" else f"{domain.bits}-bit grey"
            found = f"mode {image.mode}" + (
                ", 16 bits a channel" if wide and image.mode == "RGB" else ""
            )
            raise ValueError(f"expected {wanted}, found {found}")
        array = np.asarray(image)
    if array.dtype.byteorder == ">":
        return array.astype(np.uint16)
    return array


def resize(array: Array, domain: Domain, size: int) -> Array:
    """The whole frame at `size` x `size`, in the store's integers, as ``Resize((size, size))``.

    Antialiased bilinear filter for all modalities, so that partners stay aligned. Where the
    domain has an invalid value, the average is over valid pixels only,
    ``filter(value * valid) / filter(valid)``, and a pixel under half of whose weight is valid
    has no reading. Depth becomes whole millimetres (uint16), 0 = no reading.
    """
    if domain.modality == "rgb":
        return np.asarray(Image.fromarray(array).resize((size, size), Image.Resampling.BILINEAR))
    value = array.astype(np.float32)
    if domain.invalid is None:
        valid = None
        averaged = _filter(value, size)
    else:
        valid = array != domain.invalid
        weight = _filter(valid.astype(np.float32), size)
        averaged = _filter(value * valid, size) / np.maximum(weight, 1e-6)
        valid = weight >= 0.5
    highest, no_reading = 2**domain.bits - 1, domain.invalid
    if domain.modality == "depth":
        averaged = averaged * (domain.scale * MILLIMETRES_PER_METRE)
        highest, no_reading = 65535, 0
    stored = np.clip(np.rint(averaged), 0, highest)
    if valid is not None and no_reading is not None:
        # an average must not round to the integer that means "no reading"
        neighbour = no_reading + 1 if no_reading < highest else no_reading - 1
        stored = np.where(stored == no_reading, neighbour, stored)
        stored = np.where(valid, stored, no_reading)
    return stored.astype(np.uint8 if highest == 255 else np.uint16)


def _filter(value: Array, size: int) -> Array:
    return np.asarray(Image.fromarray(value).resize((size, size), Image.Resampling.BILINEAR))
