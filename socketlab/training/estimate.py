"""How much memory a training will need, before it begins; and the batch size that fits."""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from socketlab.data.free_memory import free_memory, in_words
from socketlab.data.views import ImagePairs, Images
from socketlab.models.classifier import Classifier
from socketlab.training.memory import held_memory
from socketlab.training.optimiser import AUTO, BatchSize, SgdOptions
from socketlab.training.precision import Precision
from socketlab.training.rehearsal import MemoryModel, Rehearsal, measure
from socketlab.training.state import StateFile
from socketlab.training.task import Task

USUAL = 32
CHOICES = (256, 128, 64, 32, 16, 8, 4, 2)
SHARE = 0.8
"""Of the free memory, what `auto` fills; the rest is for whatever else there is."""
LEAST_STEPS = 10
"""Steps an epoch that `auto` leaves, where there are enough images."""
KEPT = "batch_size"
"""What a chosen batch size is called in a task's memory, which is kept with the state."""


class Chooses(Task):
    """A training that can be rehearsed, and whose batch size may be `auto`.

    Attributes:
        options: what a person chose.
        expected: the memory that it will need, where somebody has asked.
    """

    options: SgdOptions
    crop: int
    expected: "Expected | None" = None

    def chosen_batch_size(self, most: int) -> int:
        """The batch size of `options`, `most` at most; or that of `expected`, which is kept."""
        if self.options.batch_size != AUTO:
            return min(self.options.batch_size, most)
        if self.expected is None:
            raise RuntimeError("batch_size: auto is decided by `expect`, which nobody has asked.")
        self.memory[KEPT] = torch.tensor(self.expected.batch_size)
        return self.expected.batch_size

    def alike(self, images: Images, *networks: Classifier) -> Hashable:
        """What decides the memory of this training, but its batch size and how many `images`."""
        options = self.options.model_copy(update={"batch_size": 0}).model_dump_json()
        sizes = (sum(p.numel() for p in network.parameters()) for network in networks)
        names = (f"{network.backbone} {network.classes}" for network in networks)
        pixels = (tuple(images.raw.shape[1:]), images.raw.dtype)
        return (type(self), options, self.crop, str(self.precision), *pixels, *names, *sizes)

    def small_copy(self, batch_size: int) -> Self:
        """A copy, not set up yet, with another batch size; it is not compiled."""
        copied = copy.copy(self)
        for made in ("memory", "compiling"):
            vars(copied).pop(made, None)
        copied.options = self.options.model_copy(update={"batch_size": batch_size})
        copied.precision = replace(self.precision, compiler="off")
        return copied


@dataclass(frozen=True)
class Expected:
    """The memory that a training is expected to need, and its batch size.

    Attributes:
        batch_size: images a step.
        peak: MiB at the peak: on CUDA of the tensors, else of the process.
        held: MiB of it that were taken before.
        free: MiB that could be had beyond those; None where nobody says.
        reason: why this batch size; empty where a person chose it.
        fitting: where there is too little, the largest batch size that fits, or 0.
    """

    batch_size: int
    peak: float
    held: float
    free: float | None
    reason: str = ""
    fitting: int | None = None

    def beside(self, measured: float) -> str:
        """The MiB that were measured at the peak, beside those that were expected."""
        return f"{_mebibytes(measured)} at the peak, {_mebibytes(self.peak)} were expected"

    def __str__(self) -> str:
        needed, free = _mebibytes(self.peak - self.held), ""
        if self.free is not None:
            free = f" of {_mebibytes(self.free)} that are free"
        chosen = f" ({self.reason})" if self.reason else ""
        said = (
            f"memory: {needed} more{free}, {_mebibytes(self.peak)} at the peak; "
            f"batch size {self.batch_size}{chosen}"
        )
        if self.fitting is None:
            return said
        instead = f"batch_size: {self.fitting} fits" if self.fitting else "no batch size fits"
        return f"{said}\nWarning: this is more memory than is free; {instead}."


class NotEnoughMemory(RuntimeError):  # noqa: N818 - reads as the thing found
    """Not even a batch of two fits; says how much is missing."""


def expect_memory(
    rehearse: Callable[[int], Rehearsal],
    *,
    precision: Precision,
    asked: BatchSize,
    images: int,
    most: int | None = None,
    kept: int | None = None,
    resident: int = 0,
    alike: Hashable = None,
) -> Expected:
    """Rehearse a training and say what it will need; nothing of it is changed.

    Args:
        rehearse: makes a small copy of it with a given batch size.
        precision: of the training.
        asked: the batch size, or `auto`: the largest of `CHOICES` that fits into 80 % of the free
            memory and leaves ten steps an epoch.
        images: how many it learns from.
        most: images that there are for a batch, where they are fewer.
        kept: the batch size that `auto` had before the training was interrupted.
        resident: bytes of its images that move to the device.
        alike: the same for trainings that differ in nothing but seed, batch size and how many
            images there are; the first one's rehearsal then serves them all.

    Raises:
        NotEnoughMemory: if `auto` finds that nothing fits.
    """
    device = precision.device
    model = measure(rehearse, device, resident, alike)
    held, free = held_memory(device), free_memory(device)
    most = min(images, most if most is not None else images)
    if asked != AUTO:
        size, reason = min(asked, most), ""
    elif kept:
        size, reason = kept, "auto: as before the interruption"
    else:
        size, reason = choose(model, most, images, free)
    needed, fitting = model.peak(size), None
    if free is not None and needed > free:
        smaller = (n for n in CHOICES if n < size and model.peak(n) <= free)
        fitting = next(smaller, 0)
    return Expected(
        batch_size=size,
        peak=(held + needed) / 2**20,
        held=held / 2**20,
        free=None if free is None else free / 2**20,
        reason=reason,
        fitting=fitting,
    )


def choose(model: MemoryModel, most: int, images: int, free: int | None) -> tuple[int, str]:
    """A batch size and why: the largest that fits and leaves enough steps an epoch.

    Raises:
        NotEnoughMemory: if not even two images fit.
    """
    if free is None:
        return min(USUAL, most), "auto: nobody says how much memory is free, so the usual"
    room = SHARE * free
    fitting = [n for n in CHOICES if model.peak(n) <= room]
    if not fitting:
        raise NotEnoughMemory(
            f"batch_size: auto finds that a batch of {CHOICES[-1]} needs "
            f"{in_words(model.peak(CHOICES[-1]))}, and may take {SHARE:.0%} of the "
            f"{in_words(free)} that are free. Free some memory, choose a smaller crop or backbone, "
            "or give batch_size a number to try it all the same."
        )
    enough = [n for n in fitting if n <= most and images // n >= LEAST_STEPS]
    if not enough:
        return min(fitting[-1], most), f"auto: {images} images are too few for more"
    size = enough[0]
    why = f"the largest of {CHOICES[0]}, {CHOICES[1]}, ... that "
    if size == fitting[0]:
        return size, f"auto: {why}fits into {SHARE:.0%} of the free memory"
    return size, f"auto: {why}leaves {LEAST_STEPS} steps an epoch"


def kept_batch_size(state: StateFile | None) -> int | None:
    """The batch size that `auto` had in a training that was interrupted."""
    saved = state.load() or state.load_within(0) if state is not None else None
    kept = saved["memory"].get(KEPT) if saved is not None else None
    return None if kept is None else int(kept)


def moving(images: Sequence[Images | ImagePairs | None], device: torch.device) -> int:
    """Bytes that images will take on the device, where they are not there yet."""
    raw = []
    for each in images:
        if isinstance(each, ImagePairs):
            raw += [each.source.raw, each.target.raw]
        elif each is not None:
            raw.append(each.raw)
    return sum(part.nbytes for part in raw if part.device.type != device.type)


def _mebibytes(number: float) -> str:
    return in_words(round(number * 2**20))
