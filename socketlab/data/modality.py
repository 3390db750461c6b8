"""How rgb, depth and nir pixels become the tensors that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from socketlab.data.colormap import jet
from socketlab.data.encoding_names import Encoding, ImpossibleEncoding, problem_of
from socketlab.data.manifest import Domain, Modality

__all__ = ["HHA_FORMAT", "Encoding", "PixelFormat", "pixel_format", "to_unit"]

MILLIMETRES_PER_METRE = 1000.0
"""Prepared depth is stored in whole millimetres, 0 where there was no reading."""


@dataclass(frozen=True)
class PixelFormat:
    """What the stored integers of a prepared array mean.

    `low` and `high` are the ends of the range that is shown as 0 and 1, in stored integers
    (millimetres for depth); `invalid` is the integer that means "no reading". `made` says which
    encoding has been made of them already, of whole frames; they then have three channels.
    """

    modality: Modality
    low: float
    high: float
    invalid: int | None
    made: Literal["none", "hha"] = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"PixelFormat needs 0 <= low < high, found {self.low} and {self.high}")

    @property
    def channels_last(self) -> bool:
        """Whether the images are [N, H, W, 3] and not [N, H, W]."""
        return self.modality == "rgb" or self.made != "none"


HHA_FORMAT = PixelFormat("depth", 0, 255, None, made="hha")
"""Bytes as `hha.hha` makes them; no reading is 0 in all channels, as what has the value 0."""


def pixel_format(domain: Domain) -> PixelFormat:
    """The format in which the store keeps the images of `domain`."""
    low, high = domain.range
    if domain.modality == "depth":
        invalid = None if domain.invalid is None else 0
        return PixelFormat(
            "depth", low * MILLIMETRES_PER_METRE, high * MILLIMETRES_PER_METRE, invalid
        )
    return PixelFormat(domain.modality, low / domain.scale, high / domain.scale, domain.invalid)


def to_unit(raw: Tensor, pixel_format: PixelFormat, encoding: Encoding = "replicate") -> Tensor:
    """Stored integers as a network's input, before its normalisation.

    With v clipped to [low, high] and x = (v - low) / (high - low):

    - ``replicate``: x. One channel; whoever feeds a network repeats it or translates it.
    - ``inverse`` (depth only): the disparity (1/v - 1/high) / (1/low - 1/high), which spends more
      of the range on near things. One channel.
    - ``colormap`` (depth or nir): the colour of x, see `colormap.jet`. Three channels.
    - ``hha`` (depth only): the bytes that were made of whole frames, see `hha.py`, over 255. Three
      channels.

    A pixel without a reading is 0 in every channel of every encoding. What has three channels is
    for a classifier what RGB is: it goes past the translator.

    Shapes: uint8 [B, H, W, 3] -> float32 [B, 3, H, W]; uint8 or uint16 [B, H, W] -> float32
    [B, 1 or 3, H, W]; all in [0, 1], on the device of `raw`.

    Raises:
        ValueError: for another shape, an unknown encoding or one that the images cannot have, and
            for images of whole frames' ``hha`` under another encoding, or the other way round.
    """
    channels_last = pixel_format.channels_last
    expected = "[B, H, W, 3]" if channels_last else "[B, H, W]"
    if raw.dim() != (4 if channels_last else 3) or (channels_last and raw.shape[-1] != 3):
        raise ValueError(
            f"{pixel_format.modality} images must have shape {expected}, found {list(raw.shape)}."
        )
    _check(pixel_format, encoding)
    # float32 holds every 16-bit integer exactly, and torch has few operations on uint16
    stored = raw.permute(0, 3, 1, 2) if channels_last else raw.unsqueeze(1)
    unit = stored.to(torch.float32, copy=True)
    low, high, invalid = pixel_format.low, pixel_format.high, pixel_format.invalid
    # what lies at the near end is 0 already when it is only scaled
    scaled_to_zero = encoding in ("replicate", "hha") and invalid is not None and invalid <= low
    missing = None if invalid is None or scaled_to_zero else unit == invalid
    # In place and nothing needless: every step of a training waits for this.
    if low > 0 or raw.is_floating_point() or high < torch.iinfo(raw.dtype).max:
        unit.clamp_(low, high)
    if encoding == "inverse":
        unit.reciprocal_().sub_(1 / high).div_(1 / low - 1 / high)
    else:
        if low > 0:
            unit.sub_(low)
        unit.div_(high - low)
    if encoding == "inverse" or not (_is_exact(low) and _is_exact(high)):
        unit.clamp_(0.0, 1.0)  # rounding may step outside by one unit in the last place
    if encoding == "colormap":
        unit = jet(unit)
    return unit if missing is None else unit.masked_fill_(missing, 0.0)


def _is_exact(end: float) -> bool:
    """Whether float32 holds it and its distance from a stored integer."""
    return float(end).is_integer() and end < 2**24


def _check(pixel_format: PixelFormat, encoding: Encoding) -> None:
    if pixel_format.made == "hha" and encoding == "hha":
        return
    if pixel_format.made != "none":
        raise ImpossibleEncoding(
            f"These images are {pixel_format.made!r} already, and cannot be {encoding!r}. Open "
            f"them with encoding {encoding!r}."
        )
    problem = problem_of(encoding, pixel_format.modality, pixel_format.low)
    if problem:
        raise ImpossibleEncoding(f"Encoding {encoding!r} needs {problem}")
    if encoding == "hha":
        raise ImpossibleEncoding(
            "Encoding 'hha' is made of whole frames, and these images are crops or as stored. Open "
            "them with encoding 'hha' (open_views, encoded.encode)."
        )
