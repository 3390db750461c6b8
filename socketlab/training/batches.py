"""Batches on the device: which samples, which crop and flip, as functions of (seed, epoch, step).

Nothing here keeps a state, so a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from socketlab.data.modality import Encoding, to_unit
from socketlab.data.views import ImagePairs, Images


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed that depends on all parts: derive(0, "target", 3) != derive(0, "pairs", 3)."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one purpose: the same numbers whatever the device."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def shuffled_batch(count: int, batch_size: int, seed: int, stream: str, position: int) -> Tensor:
    """Indices [batch_size] of a batch in an endless sweep without replacement.

    The sweep runs through one permutation of `count` samples after another; batch number
    `position` starts at sample position * batch_size of it and may cross into the next one.
    """
    start = position * batch_size
    taken: list[Tensor] = []
    while batch_size > 0:
        cycle, offset = divmod(start, count)
        order = torch.randperm(count, generator=generator(seed, stream, "order", cycle))
        taken.append(order[offset : offset + batch_size])
        start += len(taken[-1])
        batch_size -= len(taken[-1])
    return torch.cat(taken)


@dataclass(frozen=True)
class Window:
    """One square crop, possibly mirrored, per sample: top, left [B] int64, flip [B] bool."""

    top: Tensor
    left: Tensor
    flip: Tensor
    crop: int


def random_window(
    count: int, size: int, crop: int, seed: int, stream: str, position: int
) -> Window:
    """A random crop and horizontal flip for each of `count` samples of `size` pixels."""
    _check_crop(size, crop)
    random = generator(seed, stream, "window", position)
    top, left = torch.randint(size - crop + 1, (2, count), generator=random)
    return Window(top, left, torch.rand(count, generator=random) < 0.5, crop)


def centre_window(count: int, size: int, crop: int) -> Window:
    """The middle of each sample, not mirrored: what is scored."""
    _check_crop(size, crop)
    middle = torch.full((count,), (size - crop) // 2)
    return Window(middle, middle, torch.zeros(count, dtype=torch.bool), crop)


def _check_crop(size: int, crop: int) -> None:
    if not 1 <= crop <= size:
        raise ValueError(
            f"crop must lie between 1 and the prepared size {size}, found {crop}. "
            "Prepare larger images or choose a smaller crop."
        )


def take(images: Images, index: Tensor, window: Window, encoding: Encoding = "replicate") -> Tensor:
    """Gather, crop, mirror and scale a batch in one pass over only the pixels that are needed.

    Args:
        images: prepared integers on a device.
        index: samples [B], on any device.
        window: the crop and flip of each sample.
        encoding: how depth or nir is shown, see `to_unit`.

    Returns:
        [B, 1 or 3, crop, crop] float32 in [0, 1] on the images' device.
    """
    raw = images.raw
    device = raw.device
    sample, top, left, flip = (
        part.to(device, non_blocking=True) for part in (index, window.top, window.left, window.flip)
    )
    span = torch.arange(window.crop, device=device)
    rows = top[:, None] + span
    columns = left[:, None] + torch.where(flip[:, None], span.flip(0), span)
    # Indexing is not implemented for uint16 on every device; the bits are the same as int16's.
    bits = raw.view(torch.int16) if raw.dtype == torch.uint16 else raw
    pixels = bits[sample[:, None, None], rows[:, :, None], columns[:, None, :]]
    return to_unit(pixels.view(raw.dtype), images.format, encoding)


def take_pairs(
    pairs: ImagePairs,
    index: Tensor,
    window: Window,
    encoding: Encoding = "replicate",
) -> tuple[Tensor, Tensor]:
    """Both halves of a batch of pairs, with the same crop and flip."""
    return take(pairs.source, index, window), take(pairs.target, index, window, encoding)
