"""From a file to its pixels, whatever its bit depth: the one place that knows Pillow's silences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

Array = np.ndarray[Any, np.dtype[Any]]

SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on a file that is cut short or is not what its name says."""

BITS_PER_SAMPLE, PHOTOMETRIC, PLANES = 258, 262, 284
WHITE_IS_ZERO, ONE_PLANE_PER_CHANNEL = 0, 2


def is_wide(image: Image.Image) -> bool:
    """Whether an opened, not yet loaded file holds more than 8 bits a channel.

    Pillow's modes say so of grey files alone: 16-bit colour is plain ``RGB`` there.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits: tuple[int, ...] = image.tag_v2.get(BITS_PER_SAMPLE, (1,))
        return max(bits) > 8
    return isinstance(image, ImageFile.ImageFile) and any("16" in str(t[3]) for t in image.tile)


def read_pixels(image: Image.Image, path: Path) -> Array:
    """The pixels of an opened file: uint8 [H, W] or [H, W, channels], uint16 [H, W] for wide grey.

    See `upright`, also for what is raised.
    """
    array = np.asarray(upright(image, path))
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.byteorder == ">" else array


def upright(image: Image.Image, path: Path) -> Image.Image:
    """An opened file decoded, and turned as its orientation tag says, as every viewer does.

    16-bit colour comes as the upper 8 of its bits, ``value >> 8``: what Pillow gives, and exactly
    what undoes a multiplication by 257. `path` is the file's, for what Pillow cannot read of it.

    Raises one of `UNREADABLE`, also for 16-bit grey TIFFs that count down from white.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        wide, channels = is_wide(image), len(image.getbands())
        if wide and channels > 1 and image.tag_v2.get(PLANES) == ONE_PLANE_PER_CHANNEL:
            return _planar_colour(path)
        if wide and channels == 1 and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            raise ValueError("a 16-bit TIFF whose 0 is white; save it with 0 as black")
        # mapped into memory, an uncompressed TIFF that lies on its side is read in wrong rows
        image.filename = ""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _planar_colour(path: Path) -> Image.Image:
    """The upper 8 bits of a TIFF that stores channel after channel, which Pillow misreads."""
    import tifffile

    planes = tifffile.imread(path)
    if planes.dtype != np.uint16 or planes.ndim != 3 or planes.shape[0] != 3:
        raise ValueError(f"expected 3 planes of 16 bits, found {planes.dtype} {planes.shape}")
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(planes >> 8, 0, -1), dtype=np.uint8))
