"""A figure that moves: the sheets of a run's epochs as one animated PNG."""

import io
import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Indices = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.int64]

_COLOURS: Final = 255
_EXACT: Final = 128
_UNCHANGED: Final = 255  # the palette's last entry: the pixel of the frame before shows through
_SAMPLED_PIXELS: Final = 1_000_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def animated_png(frames: Sequence[bytes], milliseconds: int = 700, last: int = 2500) -> bytes:
    """PNG files of one size as one animated PNG that plays for ever, every frame in its turn.

    A frame stands for `milliseconds`, the last one for `last`. A viewer that does not know
    animation shows the first frame, a single frame gives a PNG that does not move, and the same
    frames give the same bytes. All frames share one palette: the 128 most frequent colours as they
    are, and 127 for the rest (median cut, no dithering: its grain would be half of the file); a
    pixel that did not change is not stored again. Ten sheets of 1300 x 700 pixels with eight
    pictures take about 1 MB.
    Format: PNG Specification (Third Edition), W3C 2025, section 11.3.4 (animation).
    Raises ValueError for no frame, frames of unlike size, a file that is no PNG, or times under
    1 ms or over 65,535 ms, the most that the format can say.
    """
    if not frames:
        raise ValueError("There is no frame. Give one PNG file at least.")
    for name, time in (("milliseconds", milliseconds), ("last", last)):
        if not 1 <= time <= 65_535:
            raise ValueError(f"{name} is {time}. Give a time from 1 to 65535 ms.")
    images = [_read(number, frame) for number, frame in enumerate(frames)]
    size = images[0].size
    for number, image in enumerate(images):
        if image.size != size:
            raise ValueError(
                f"Frame {number} is {image.width} x {image.height} pixels, frame 0 "
                f"{size[0]} x {size[1]}. Give frames of one size."
            )
    frequent, palette = _palette(images)
    whole = [_quantised(image, frequent, palette) for image in images]
    changes = [whole[0]] + [
        np.where(now == before, np.uint8(_UNCHANGED), now)
        for before, now in itertools.pairwise(whole)
    ]
    drawn = [_image(change, palette) for change in changes]
    buffer = io.BytesIO()
    drawn[0].save(
        buffer,
        format="PNG",
        save_all=True,
        append_images=drawn[1:],
        duration=[milliseconds] * (len(drawn) - 1) + [last],
        loop=0,
        blend=1,  # over: what is not stored again stays
        transparency=_UNCHANGED,
    )
    return buffer.getvalue()


def _read(number: int, frame: bytes) -> Image.Image:
    if not frame.startswith(_PNG):
        raise ValueError(
            f"Frame {number} is no PNG file (it begins with {frame[:8]!r}). Give what "
            "figures.to_png makes."
        )
    return Image.open(io.BytesIO(frame)).convert("RGB")


def _packed(image: Image.Image, step: int = 1) -> Colours:
    """The colours as numbers 0xRRGGBB [H, W], of every `step`-th row and column."""
    red, green, blue = np.moveaxis(np.asarray(image)[::step, ::step].astype(np.int64), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def _palette(images: Sequence[Image.Image]) -> tuple[Colours, Image.Image]:
    """The most frequent colours, in rising order, and an image whose palette begins with them.

    Paper, ink and bars keep their very colours; the rest of the palette is for the pictures.
    """
    width, height = images[0].size
    step = math.ceil(math.sqrt(width * height * len(images) / _SAMPLED_PIXELS))
    sampled = np.concatenate([_packed(image, step).ravel() for image in images])
    found, counts = np.unique(sampled, return_counts=True)
    frequent = np.sort(found[np.argsort(-counts, kind="stable")[:_EXACT]])
    colours = _channels(frequent).ravel().tolist()
    rest = sampled[~np.isin(sampled, frequent)]
    if rest.size:
        pictures = Image.fromarray(_channels(rest)[None])
        cut = pictures.quantize(_COLOURS - len(frequent), method=Image.Quantize.MEDIANCUT)
        colours += list(cut.getpalette() or [])
    palette = Image.new("P", (1, 1))
    # Places that are left over hold the first colour again, so that nothing new comes in.
    palette.putpalette((colours + colours[:3] * 256)[: 3 * _COLOURS])
    return frequent, palette


def _channels(packed: Colours) -> npt.NDArray[np.uint8]:
    """Colours 0xRRGGBB [N] as [N, 3]."""
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def _quantised(image: Image.Image, frequent: Colours, palette: Image.Image) -> Indices:
    """Places in the palette [H, W]: of a frequent colour its own, else about the nearest."""
    # Pillow looks a colour up by its upper six bits only, which makes white a little grey.
    nearest = np.asarray(image.quantize(palette=palette, dither=Image.Dither.NONE))
    packed = _packed(image)
    own = np.searchsorted(frequent, packed).clip(max=len(frequent) - 1)
    return np.where(frequent[own] == packed, own.astype(np.uint8), nearest)


def _image(indices: Indices, palette: Image.Image) -> Image.Image:
    image = Image.fromarray(indices)  # grey values, which become places in the palette
    colours = list(palette.getpalette() or [])[: 3 * _COLOURS]
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image
