"""How much memory a training needs at its peak."""

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from socketlab.data.free_memory import number_in

MEBIBYTE = 2**20
STATUS = Path("/proc/self/status")
"""What Linux says of this process, in KiB."""


@dataclass
class Peak:
    """The most memory in use at once, in MiB: of the device on CUDA, else of the process."""

    mebibytes: float = 0.0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Within it, the peak is watched; it is written into the yielded `Peak` at the end.

    On CUDA: the most that tensors took at once. Else: the most that the process had in memory,
    libraries and images included. Linux counts from the beginning of the block, when what was freed
    before has been given back; elsewhere the system knows only the most since the process began.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _forget_peak()
    try:
        yield peak
    finally:
        if device.type == "cuda":
            peak.mebibytes = torch.cuda.max_memory_allocated(device) / MEBIBYTE
        else:
            peak.mebibytes = _resident_peak()


def held_memory(device: torch.device) -> int:
    """Bytes that are taken now: on CUDA by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    kibibytes = number_in(STATUS, "VmRSS:")
    if kibibytes is None:  # not Linux: the most so far is all that the system knows
        return round(_resident_peak() * MEBIBYTE)
    return 1024 * kibibytes


def release_freed() -> None:
    """Give memory that was freed back to the system, where glibc keeps it for later."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        return


def _forget_peak() -> None:
    release_freed()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is since the process began
        return


def _resident_peak() -> float:
    kibibytes = number_in(STATUS, "VmHWM:")
    if kibibytes is not None:
        return kibibytes / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MEBIBYTE if sys.platform == "darwin" else most / 1024
