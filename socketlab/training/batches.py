"""Batches on the device: which samples, which crop and flip, as functions of (seed, epoch, step).

Nothing here keeps a state, so a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.data.modality import Encoding, to_unit
from socketlab.data.placing import Raw, indexable
from socketlab.data.streaming import Streamed
from socketlab.data.views import ImagePairs, Images

READ_AHEAD = 2
"""Batches after a step's own that are read meanwhile, of images that are streamed."""


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
        taken.append(_order(count, seed, stream, cycle)[offset : offset + batch_size])
        start += len(taken[-1])
        batch_size -= len(taken[-1])
    return torch.cat(taken)  # a copy: the permutation itself is kept


@lru_cache(maxsize=8)
def _order(count: int, seed: int, stream: str, cycle: int) -> Tensor:
    """A permutation of `count` samples; kept, for each of its batches asks for it again."""
    return torch.randperm(count, generator=generator(seed, stream, "order", cycle))


@dataclass(frozen=True)
class Window:
    """One square crop, possibly mirrored, per sample: top, left [B] int64, flip [B] bool."""

    top: Tensor
    left: Tensor
    flip: Tensor
    crop: int

    def rows(self, index: Tensor | slice) -> "Window":
        """Of the samples at `index` alone."""
        return Window(self.top[index], self.left[index], self.flip[index], self.crop)


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


def read_ahead(images: Images, order: Callable[[int], Tensor], step: int) -> None:
    """Begin to read the batches of `step` and of the next ones; nothing where images do not stream.

    Args:
        images: of which `order(step)` are about to be taken.
        order: the indices [B] of any step, as a pure function of it.
        step: the step that begins.
    """
    if isinstance(images.raw, Streamed):
        images.raw.expect(map(order, range(step, step + 1 + READ_AHEAD)))


def in_order(images: Images, batch_size: int) -> Iterator[Tensor]:
    """Indices of all images, batch after batch; the next ones are read ahead where they stream."""
    batches = torch.split(torch.arange(len(images)), batch_size)
    for place, index in enumerate(batches):
        if isinstance(images.raw, Streamed):
            images.raw.expect(batches[place : place + 1 + READ_AHEAD])
        yield index


def take(images: Images, index: Tensor, window: Window, encoding: Encoding = "replicate") -> Tensor:
    """Gather, crop, mirror and scale a batch in one pass over only the pixels that are needed.

    Args:
        images: prepared integers on a device, or streamed to one.
        index: samples [B], on the CPU.
        window: the crop and flip of each sample.
        encoding: how depth or nir is shown, see `to_unit`.

    Returns:
        [B, 1 or 3, crop, crop] float32 in [0, 1] on the images' device.
    """
    places = _Places(index, window, images.raw.device)
    return to_unit(_gathered(images.raw, places), images.format, encoding)


def take_pairs(
    pairs: ImagePairs,
    index: Tensor,
    window: Window,
    encoding: Encoding = "replicate",
) -> tuple[Tensor, Tensor]:
    """Both halves of a batch of pairs, with the same crop and flip."""
    first, second = pairs.source, pairs.target
    places = _Places(index, window, first.raw.device)
    return (
        to_unit(_gathered(first.raw, places), first.format),
        to_unit(_gathered(second.raw, places), second.format, encoding),
    )


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Small values of the CPU on a device, for which the program does not wait."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class _Places:
    """Where the pixels of a batch lie: once for both halves of pairs."""

    def __init__(self, index: Tensor, window: Window, device: torch.device) -> None:
        self.index, self.window, self.device = index, window, device

    @cached_property
    def on_device(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sample [B], rows [B, crop] and columns [B, crop], sent in one piece."""
        window = self.window
        span = torch.arange(window.crop)
        rows = window.top[:, None] + span
        columns = window.left[:, None] + torch.where(window.flip[:, None], span.flip(0), span)
        sent = to_device(torch.cat([self.index[:, None], rows, columns], dim=1), self.device)
        return sent[:, 0], sent[:, 1 : 1 + window.crop], sent[:, 1 + window.crop :]


def _gathered(raw: Raw, places: _Places) -> Tensor:
    """The crops [B, crop, crop] or [B, crop, crop, 3], mirrored where it is due, as stored."""
    if isinstance(raw, Streamed):
        read = raw[places.index]
        count = torch.arange(len(read))
        return _gathered(read, _Places(count, places.window, read.device))
    if raw.device.type == "cpu":
        return _windows(raw, places.index, places.window)
    return _indexed(raw, *places.on_device)


def _windows(raw: Tensor, index: Tensor, window: Window) -> Tensor:
    """On a CPU: whole rows of a crop are copied, which is faster than pixel by pixel."""
    pixels: npt.NDArray[Any] = raw.numpy()
    if raw.dim() == 4:
        pixels = pixels.view("V3")[..., 0]  # a pixel is one thing to be copied
    crops = np.lib.stride_tricks.sliding_window_view(pixels, (window.crop, window.crop), (1, 2))
    taken = crops[index.numpy(), window.top.numpy(), window.left.numpy()]
    flip = window.flip.numpy()
    taken[flip] = taken[flip][:, :, ::-1]
    stored = taken.view(np.uint8).reshape(*taken.shape, 3) if raw.dim() == 4 else taken
    return torch.from_numpy(stored)


def _indexed(raw: Tensor, sample: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """On other devices: every pixel by its own index, in one kernel."""
    pixels = indexable(raw)[sample[:, None, None], rows[:, :, None], columns[:, None, :]]
    return pixels.view(raw.dtype)
