"""One image file as the array that the store keeps; whatever is wrong with a file is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.corrections import beside, correct, unrotate
from socketlab.data.layouts.decoding import (
    SIXTEEN_BIT_MODES,
    UNREADABLE,
    Array,
    is_wide,
    read_pixels,
)
from socketlab.data.layouts.resampling import resample_colour, resample_values

__all__ = ["UNREADABLE", "Array", "read_image", "resize"]

MILLIMETRES_PER_METRE = 1000.0


def read_image(path: Path, domain: Domain) -> Array:
    """The frame of a file in the domain's integers: uint8 [H, W, 3] for rgb, else [H, W].

    One-channel frames are uint8 or uint16, by the domain's bits. Bits are unpacked, a file of
    another depth is rescaled (8 to 16 bits: times 257; 16 to 8: the upper 8), exposure and gaps are
    as the domain says, and the picture is turned as its orientation tag says.

    Raises ValueError for another mode or bit depth than the manifest's, for alpha and palettes, and
    for a frame to be filled that has no reading; OSError (or SyntaxError, from Pillow) for a file
    that cannot be decoded.
    """
    with Image.open(path) as image:
        mode, wide = image.mode, is_wide(image)
        _accept(mode, wide, domain)
        array = read_pixels(image, path)
    if domain.modality == "rgb":
        return array
    if domain.bits == 16 and array.dtype == np.uint8:
        array = array.astype(np.uint16) * 257
    elif domain.bits == 8 and array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if domain.packing == "rotated_3":
        array = unrotate(array)
    return correct(array, domain)


def _accept(mode: str, wide: bool, domain: Domain) -> None:
    """Raise ValueError where a file of this mode is not what `domain` takes."""
    colour = domain.modality == "rgb"
    if colour:
        fits, has_other_bits = mode == "RGB" and not wide, mode == "RGB" and wide
    else:
        narrow, deep = mode == "L" and not wide, mode in SIXTEEN_BIT_MODES
        fits, has_other_bits = (narrow, deep) if domain.bits == 8 else (deep, narrow)
    # bits that are packed for 16 mean nothing in 8
    may_rescale = has_other_bits and domain.packing == "plain"
    if fits or (may_rescale and domain.other_bits == "rescale"):
        return
    wanted = "8-bit RGB" if colour else f"{domain.bits}-bit grey"
    found = f"mode {mode}" + (", 16 bits a channel" if wide and mode == "RGB" else "")
    help_ = "; other_bits: rescale in the manifest takes it" if may_rescale else ""
    raise ValueError(f"expected {wanted}, found {found}{help_}")


def resize(array: Array, domain: Domain, size: int) -> Array:
    """The whole frame at `size` x `size`, in the store's integers, as ``Resize((size, size))``.

    Antialiased bilinear filter for all modalities, so that partners stay aligned; see
    `resampling` for what makes it fast and how near to Pillow's it is. Where the
    domain has an invalid value, the average is over valid pixels only,
    ``filter(value * valid) / filter(valid)``, and a pixel under half of whose weight is valid
    has no reading. Depth becomes whole millimetres (uint16), 0 = no reading.
    """
    if domain.modality == "rgb":
        return resample_colour(array, size)
    value = array.astype(np.float32)
    valid = None if domain.invalid is None else array != domain.invalid
    if valid is None or valid.all():
        readable: Array | None = None
        averaged = resample_values(value, size)
    else:
        weight = resample_values(valid.astype(np.float32), size)
        readable = weight >= 0.5
        kept = value if domain.invalid == 0 else value * valid
        averaged = resample_values(kept, size) / np.maximum(weight, 1e-6)
    highest, no_reading = 2**domain.bits - 1, domain.invalid
    if domain.modality == "depth":
        averaged = averaged * (domain.scale * MILLIMETRES_PER_METRE)
        highest, no_reading = 65535, 0
    stored = np.clip(np.rint(averaged), 0, highest)
    if valid is not None and no_reading is not None:
        # an average must not round to the integer that means "no reading"
        stored = np.where(stored == no_reading, beside(no_reading, highest), stored)
        if readable is not None:
            stored = np.where(readable, stored, no_reading)
    return stored.astype(np.uint8 if highest == 255 else np.uint16)
