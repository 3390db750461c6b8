"""Device and number format, chosen once at the start, with the reason."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch

DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
DtypeChoice = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Precision:
    """Where and in which number format networks run.

    Attributes:
        device: the torch device.
        dtype: the format of the forward pass; weights, losses and statistics stay float32.
        reason: why, in words, for the terminal and `run.json`.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    @property
    def name(self) -> str:
        """`cuda (NVIDIA H200)` or `cpu`."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {dtype}: {self.reason}"


def choose_precision(device: DeviceChoice = "auto", dtype: DtypeChoice = "auto") -> Precision:
    """Choose device and number format.

    `auto` takes CUDA where there is one, else the CPU; and bfloat16 where the hardware multiplies
    it natively, else float32. MPS is never chosen by itself: its BatchNorm statistics differ.

    Raises:
        ValueError: for a device that this machine does not have.
    """
    available: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        why = "a CUDA device is there" if kind == "cuda" else "no CUDA device is there"
    elif device not in available:
        raise ValueError(f"Unknown device {device!r}. Known: auto, {', '.join(available)}.")
    elif not available[device]():
        have = [name for name, there in available.items() if there()]
        raise ValueError(f"Device {device!r} is not on this machine. It has: {', '.join(have)}.")
    else:
        kind, why = device, f"{device} was asked for"
    if kind == "mps":
        why += "; its BatchNorm statistics differ from the reference, which is CPU and CUDA"
    chosen, reason = _choose_dtype(kind, dtype)
    return Precision(torch.device(kind), chosen, f"{why}; {reason}")


def _choose_dtype(kind: str, dtype: DtypeChoice) -> tuple[torch.dtype, str]:
    if dtype not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"Unknown dtype {dtype!r}. Known: auto, float32, bfloat16.")
    if dtype != "auto":
        return getattr(torch, dtype), f"{dtype} was asked for"
    checks: dict[str, Callable[[], bool]] = {
        "cuda": lambda: bool(torch.cuda.is_bf16_supported(including_emulation=False)),
        "cpu": lambda: bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "mps": lambda: False,
    }
    if checks[kind]():
        return torch.bfloat16, "it multiplies bfloat16 natively"
    return torch.float32, "it does not multiply bfloat16 natively"
