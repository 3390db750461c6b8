"""Device, number format and compiler, chosen once at the start, with the reason."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import torch
from torch import nn

DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
DtypeChoice = Literal["auto", "float32", "bfloat16"]
Compiler = Literal["off", "default", "graphs"]
CompilerChoice = Literal["auto", "off", "default", "graphs"]
Network = TypeVar("Network", bound=nn.Module)
CUBLAS_VARIABLE: Final = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_FIXED: Final = (":4096:8", ":16:8")
"""Workspaces with which cuBLAS gives the same sums every time; it reads them as it starts."""


@dataclass(frozen=True)
class Precision:
    """Where and in which number format networks run.

    Attributes:
        device: the torch device.
        dtype: the format of the forward pass; weights, losses and statistics stay float32.
        reason: why, in words, for the terminal and `run.json`.
        compiler: how training compiles its networks: not at all, by `torch.compile`, or by it with
            CUDA graphs.
        devices: how many of its kind train together, each in a process of its own.
        deterministic: whether only algorithms are used that give the same numbers every time.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str
    compiler: Compiler = "off"
    devices: int = 1
    deterministic: bool = False

    def enforce(self) -> None:
        """Hold torch to this choice of algorithms, in the whole process, until the next call.

        Where it is `deterministic`, an operation that has no algorithm of the kind raises
        RuntimeError when it is reached; of ours none does (docs/results/determinism.md). Where it
        is not, that is allowed again, and cuDNN may try on CUDA which algorithm is fastest, which
        is not always the same one. TF32 rounds the same way every time and stays as it is.
        """
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.deterministic = self.deterministic
        # Every step has batches of the same shape.
        on_cuda = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = on_cuda and not self.deterministic

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    def placed(self, network: Network) -> Network:
        """`network` on the device, there with its weights in the layout that it works in.

        On CUDA convolutions want channels last, as their images are; on a CPU that gains nothing
        (docs/log.md).
        """
        cuda = self.device.type == "cuda"
        layout = torch.channels_last if cuda else torch.preserve_format
        return network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]

    @property
    def name(self) -> str:
        """`cuda (NVIDIA H200)`, `2 x cuda (NVIDIA H200)` or `cpu`."""
        kind = self.device.type
        if kind == "cuda":
            kind = f"cuda ({torch.cuda.get_device_name(self.device)})"
        return kind if self.devices == 1 else f"{self.devices} x {kind}"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {dtype}: {self.reason}"


def choose_precision(
    device: DeviceChoice = "auto",
    dtype: DtypeChoice = "auto",
    compiler: CompilerChoice = "off",
    devices: int | Literal["auto"] = 1,
    deterministic: bool = False,
) -> Precision:
    """Choose device, number format and compiler, how many such devices, and which algorithms.

    `auto` takes CUDA where there is one, else the CPU; and bfloat16 where the hardware multiplies
    it natively, else float32. MPS is never chosen by itself: its BatchNorm statistics differ.
    Networks are compiled on CUDA where that can work; on a CPU it gains nothing (measured).
    `devices: auto` takes all CUDA devices; on a CPU it is 1, and more are processes on it.
    `deterministic` compiles nothing, and is in force once the result is told to `enforce` it.

    Raises:
        ValueError: for a device that this machine does not have, an unknown name, or
            `deterministic` where CUDA has begun without it.
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
    if deterministic and kind == "cuda":
        _fix_cublas()
    chosen, reason = _choose_dtype(kind, dtype)
    compiles, because = _choose_compiler(kind, compiler)
    several = _choose_devices(kind, devices)
    if several > 1:  # compiled networks know only the hooks of when they were compiled
        compiles, because = "off", "; uncompiled, for there are several devices"
    if deterministic:
        compiles, because = "off", "; deterministic, and for that uncompiled"
    reason = f"{why}; {reason}{because}"
    return Precision(torch.device(kind), chosen, reason, compiles, several, deterministic)


def _fix_cublas() -> None:
    """Give cuBLAS a workspace of a fixed size, before it starts."""
    found = os.environ.get(CUBLAS_VARIABLE, "")
    if found in CUBLAS_FIXED:
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise ValueError(
            f"deterministic: CUDA has begun in this process with {CUBLAS_VARIABLE} = {found!r}, "
            "which it reads only then. Restart the kernel and run the notebook from its first cell."
        )
    os.environ[CUBLAS_VARIABLE] = CUBLAS_FIXED[0]


def _choose_devices(kind: str, devices: int | Literal["auto"]) -> int:
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if devices == "auto":
        return max(1, there)
    if devices < 1:
        raise ValueError(f"devices must be 1 or more, or auto, found {devices}.")
    if devices > 1 and kind == "mps":
        raise ValueError(f"There is one MPS device, found devices: {devices}. Set devices: 1.")
    if kind == "cuda" and devices > there:
        raise ValueError(
            f"devices: {devices}, and this machine has {there} CUDA devices. Set devices: {there}, "
            "or auto for all that are there."
        )
    return devices


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


def _choose_compiler(kind: str, compiler: CompilerChoice) -> tuple[Compiler, str]:
    if compiler not in ("auto", "off", "default", "graphs"):
        raise ValueError(f"Unknown compile {compiler!r}. Known: auto, off, default, graphs.")
    if compiler == "off":
        return "off", ""
    missing = _missing_for_compiling(kind)
    if missing:
        return "off", f"; uncompiled, for {missing}"
    if compiler == "auto" and kind == "cpu":
        return "off", "; uncompiled, for on a CPU it gains nothing"
    if compiler == "auto":
        return "default", "; compiled, for triton and a C compiler are there"
    if compiler == "graphs" and kind != "cuda":
        return "default", "; compiled without graphs, for they need CUDA"
    return compiler, f"; compile: {compiler} was asked for"


def _missing_for_compiling(kind: str) -> str:
    """What torch's compiler needs for a kind of device and does not find."""
    if kind == "mps":
        return "on mps it is untested"
    variable, names = ("CXX", ("g++", "c++")) if kind == "cpu" else ("CC", ("gcc", "cc", "clang"))
    if kind == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not any(shutil.which(name) for name in (os.environ.get(variable, ""), *names)):
        return f"no compiler is there ({', '.join(names)})"
    return ""
