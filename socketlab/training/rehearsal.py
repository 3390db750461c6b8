"""A small copy of a training, and what it says of the memory of a larger one.

A small copy of the training is rehearsed at two batch sizes: set up, looked at, two steps, looked
at again. What its tensors take after each operation is a straight line in the number of images that
the operation is given, so that the largest value at any batch size is known. The largest values
themselves do not lie on a line: in a small batch the optimiser needs most, in a large one the
activations.
"""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from socketlab.training.inference import looked_at_once
from socketlab.training.live_storage import LiveStorage
from socketlab.training.loop import take_step
from socketlab.training.memory import release_freed
from socketlab.training.task import Task

REHEARSED = (4, 8)
"""Batch sizes that are tried."""
LAST_STEP_OF = 100
"""Steps an epoch of a rehearsal, of which the last is taken: terms that begin late are there."""
HEAP_GAPS = 0.3
"""Of what tensors take on a CPU: blocks that are freed leave gaps in glibc's heap, where they are
smaller than 32 MiB. With each block mapped by itself the tensors explain the process to 5 %; as it
is, it has taken 10 to 70 % more than they do, mostly 20 to 35 % (measured; docs/log.md)."""
Scale = Literal["looked", "batch"]
"""What an operation's memory grows with: images that are looked at at once, or a batch."""


@dataclass(frozen=True)
class Rehearsal:
    """A small copy of a training that has not been set up yet.

    Attributes:
        task: the copy, with few images.
        set_up: makes its networks and its optimiser.
        look: what is said of the model at the start and after every epoch.
        images: how many it has.
    """

    task: Task
    set_up: Callable[[], object]
    look: Callable[[], object]
    images: int


@dataclass(frozen=True)
class Measured:
    """Bytes after each operation of a rehearsal, part by part; on CUDA the most in each part."""

    batch_size: int
    images: int
    parts: tuple[tuple[Scale, tuple[int, ...]], ...]


@dataclass(frozen=True)
class MemoryModel:
    """How much the tensors of a training take, by batch size.

    Attributes:
        measured: two rehearsals, of different sizes.
        looked: images that are looked at at once.
        gaps: what has to be added, as a share.
        resident: bytes of images that move to the device.
    """

    measured: tuple[Measured, Measured]
    looked: int
    gaps: float = 0.0
    resident: int = 0

    def peak(self, batch_size: int) -> int:
        """Bytes at the peak beyond what the process holds already."""
        first, second = self.measured
        most = 0.0
        for (scale, small), (_, large) in zip(first.parts, second.parts, strict=True):
            size, sizes = batch_size, (first.batch_size, second.batch_size)
            if scale == "looked":
                size, sizes = self.looked, (first.images, second.images)
            share = (size - sizes[0]) / (sizes[1] - sizes[0])
            if len(small) != len(large):  # other operations: only the largest can be compared
                small, large = (max(small),), (max(large),)
            points = zip(small, large, strict=True)
            most = max(most, max(a + share * (b - a) for a, b in points))
        return round(self.resident + (1 + self.gaps) * most)


_rehearsed_before: dict[Hashable, tuple[Measured, Measured]] = {}


def measure(
    rehearse: Callable[[int], Rehearsal],
    device: torch.device,
    resident: int = 0,
    alike: Hashable = None,
) -> MemoryModel:
    """Rehearse at two batch sizes; of trainings with the same `alike`, if not None, only one."""
    if alike is None or alike not in _rehearsed_before:
        measured = (
            _measured(rehearse, REHEARSED[0], device),
            _measured(rehearse, REHEARSED[1], device),
        )
        _rehearsed_before[alike] = measured
    first, second = _rehearsed_before[alike]
    gaps = HEAP_GAPS if device.type != "cuda" else 0.0
    return MemoryModel((first, second), looked_at_once(device), gaps, resident)


def few_rows(count: int, wanted: int) -> torch.Tensor:
    """Indices [wanted] of `count` images, again from the first where they are too few."""
    return torch.arange(wanted) % count


def _measured(
    rehearse: Callable[[int], Rehearsal], batch_size: int, device: torch.device
) -> Measured:
    index = [device.index or torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=index), _collected():
        return _rehearsed(rehearse(batch_size), batch_size, device)


def _rehearsed(rehearsal: Rehearsal, batch_size: int, device: torch.device) -> Measured:
    meter = _Allocated(device) if device.type == "cuda" else LiveStorage()
    with meter if isinstance(meter, LiveStorage) else nullcontext():
        parts = tuple((scale, meter.taken()) for scale in _played(rehearsal))
    return Measured(batch_size, rehearsal.images, parts)


def _played(rehearsal: Rehearsal) -> Iterator[Scale]:
    """Set up, look, two steps, look; the name of what each part's memory grows with."""
    task = rehearsal.task
    rehearsal.set_up()
    task.model.train()
    rehearsal.look()
    task.begin_epoch(0)
    yield "looked"
    task.steps_per_epoch *= LAST_STEP_OF
    last = task.epochs * task.steps_per_epoch - 1
    # The second has gradients and the optimiser's state, and terms that begin late.
    for step in (0, last) if last >= 0 else ():
        take_step(task, 1.0, step)
    yield "batch"
    task.settle()
    rehearsal.look()
    yield "looked"


@contextmanager
def _collected() -> Iterator[None]:
    """Without garbage before and after, and none collected within: the same in every rehearsal."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.collect()
        release_freed()


class _Allocated:
    """On CUDA: what torch has allocated beyond what there was before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)

    def taken(self) -> tuple[int, ...]:
        """The most since the last call."""
        most = torch.cuda.max_memory_allocated(self._device) - self._before
        torch.cuda.reset_peak_memory_stats(self._device)
        return (most,)
