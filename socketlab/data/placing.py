"""Where the images of a set are kept: on the device that needs them if they fit, else streamed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from socketlab.data.free_memory import free_memory, in_words
from socketlab.data.streaming import Array, Streamed

SHARE = 0.5
"""Of the free memory, for one set of images; the rest is for networks and other images."""

Raw = Tensor | Streamed
"""Stored integers of images: all of them on a device, or read batch by batch."""


def mapped(array: Array, rows: Array) -> Raw:
    """The `rows` [N] of a memory-mapped array: copied to this machine's memory, if they fit."""
    cpu = torch.device("cpu")
    reason = _too_large(len(rows) * array[:1].nbytes, cpu)
    if reason:
        return _of_one(array, rows, cpu, reason)
    return torch.from_numpy(np.ascontiguousarray(array[rows]))


def placed(raw: Raw, device: torch.device | str) -> Raw:
    """Images on another device: all of them where they fit, else streamed to it."""
    device = torch.device(device)
    if isinstance(raw, Streamed) and device.type == raw.device.type:
        return raw if device == raw.device else raw.streamed_to(device, raw.reason)
    if isinstance(raw, Tensor) and (device.type == "cpu" or raw.device.type != "cpu"):
        return raw.to(device)
    reason = _too_large(raw.nbytes, device)
    if isinstance(raw, Streamed):
        return raw.streamed_to(device, reason) if reason else raw.loaded(device)
    if not reason:
        return raw.to(device)
    return _of_one(raw.numpy(), np.arange(len(raw)), device, reason)


def chosen(raw: Raw, index: Tensor) -> Raw:
    """The images at `index` [n] in that order; of streamed ones all at once, if these fit."""
    if isinstance(raw, Streamed):
        part = raw.chosen(index)
        return part if _too_large(part.nbytes, part.device) else part.loaded(part.device)
    return indexable(raw)[index.to(raw.device)].view(raw.dtype)


def indexable(raw: Tensor) -> Tensor:
    """The same bits in a type that can be indexed on every device, which uint16 cannot."""
    return raw.view(torch.int16) if raw.dtype == torch.uint16 else raw


def joined(parts: Sequence[Raw]) -> Raw:
    """Images of several sets on the CPU, one set after the other; streamed if one of them is."""
    streamed = [part for part in parts if isinstance(part, Streamed)]
    if len(parts) == 1:
        return parts[0]
    if not streamed:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return Streamed.one_after_the_other(
        [
            part
            if isinstance(part, Streamed)
            else _of_one(part.numpy(), np.arange(len(part)), part.device, streamed[0].reason)
            for part in parts
        ]
    )


def _of_one(array: Array, rows: Array, device: torch.device, reason: str) -> Streamed:
    return Streamed([array], np.zeros_like(rows), rows, device=device, reason=reason)


def _too_large(needed: int, device: torch.device) -> str:
    """Why `needed` bytes do not fit on the device; empty where they do."""
    free = free_memory(device)
    if free is None or needed <= SHARE * free:
        return ""
    kind = "memory" if device.type == "cpu" else f"memory of {device.type}"
    return f"more than {SHARE:.0%} of the {in_words(free)} of free {kind}"
