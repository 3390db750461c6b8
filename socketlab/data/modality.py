"""How rgb, depth and nir pixels become the tensors that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from socketlab.data.manifest import Domain, Modality

Encoding = Literal["replicate", "inverse"]

MILLIMETRES_PER_METRE = 1000.0
"""Prepared depth is stored in whole millimetres, 0 where there was no reading."""


@dataclass(frozen=True)
class PixelFormat:
    """What the stored integers of a prepared array mean.

    `low` and `high` are the ends of the range that is shown as 0 and 1, in stored integers
    (millimetres for depth); `invalid` is the integer that means "no reading".
    """

    modality: Modality
    low: float
    high: float
    invalid: int | None

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"PixelFormat needs 0 <= low < high, found {self.low} and {self.high}")


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

    With v clipped to [low, high]: ``replicate`` gives (v - low) / (high - low), and ``inverse``
    (depth only) the disparity (1/v - 1/high) / (1/low - 1/high), which spends more of the range
    on near things. Pixels without a reading become 0 in both. One-channel images stay one
    channel; whoever feeds a network repeats it.

    Shapes: uint8 [B, H, W, 3] -> float32 [B, 3, H, W]; uint8 or uint16 [B, H, W] -> float32
    [B, 1, H, W]; all in [0, 1], on the device of `raw`.

    Raises ValueError for another shape, for an unknown encoding, and for ``inverse`` on
    anything but depth with a range that starts above 0.
    """
    channels_last = pixel_format.modality == "rgb"
    expected = "[B, H, W, 3]" if channels_last else "[B, H, W]"
    if raw.dim() != (4 if channels_last else 3) or (channels_last and raw.shape[-1] != 3):
        raise ValueError(
            f"{pixel_format.modality} images must have shape {expected}, found {list(raw.shape)}."
        )
    if encoding not in ("replicate", "inverse"):
        raise ValueError(f"Unknown encoding {encoding!r}. Known: replicate, inverse.")
    if encoding == "inverse" and (pixel_format.modality != "depth" or pixel_format.low <= 0):
        raise ValueError(
            f"Encoding 'inverse' needs depth with a range that starts above 0; found "
            f"{pixel_format.modality} from {pixel_format.low}. Use 'replicate'."
        )
    # float32 holds every 16-bit integer exactly, and torch has few operations on uint16
    stored = raw.permute(0, 3, 1, 2) if channels_last else raw.unsqueeze(1)
    value = stored.to(torch.float32)
    low, high = pixel_format.low, pixel_format.high
    clipped = value.clamp(low, high)
    if encoding == "inverse":
        unit = (clipped.reciprocal() - 1 / high) / (1 / low - 1 / high)
    else:
        unit = (clipped - low) / (high - low)
    unit = unit.clamp(0.0, 1.0)  # rounding may step outside by one unit in the last place
    if pixel_format.invalid is not None:
        unit = unit.masked_fill(value == pixel_format.invalid, 0.0)
    return unit
