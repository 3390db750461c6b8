"""What decides numbers beside the parameters: versions of packages, and the machine itself."""

import functools
import importlib.metadata
import platform
import re
import site
from pathlib import Path

PACKAGES = ("socketlab", "torch", "torchvision", "timm", "numpy", "scikit-learn", "umap-learn")
_CPU = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def versions() -> dict[str, str]:
    """Of what decides the numbers most, of Python, and of the system."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | {"python": platform.python_version(), "platform": platform.platform()}


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    # Not all of sys.path: a worker of Ray has Ray's own copies of a few packages there.
    places = [*site.getsitepackages(), site.getusersitepackages()]
    listed = importlib.metadata.distributions(path=places)
    found = {str(each.metadata["Name"]): each.version for each in listed}
    return tuple(sorted(found.items(), key=lambda item: item[0].lower()))


def packages() -> dict[str, str]:
    """Every installed distribution with its version, as `pip freeze` lists them."""
    return dict(_installed())


def machine(kind: str) -> dict[str, str]:
    """What computes here, and how: `kind` is cpu, cuda or mps. Loads torch.

    Of the CPU its model, the instructions that torch uses of it, and how many threads share a sum,
    for another number of threads adds in another order. Of CUDA its version, that of cuDNN, that of
    the driver, and whether convolutions and products of float32 are rounded to TF32.
    """
    import torch

    found = {
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    if kind == "cuda":
        rounded = {
            "convolutions": torch.backends.cudnn.conv.fp32_precision == "tf32",  # type: ignore[attr-defined]
            "products": torch.backends.cuda.matmul.fp32_precision == "tf32",
        }
        found |= {
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "driver": _driver(),
            "tf32": ", ".join(name for name, used in rounded.items() if used) or "no",
        }
    return found


def _cpu() -> str:
    """As Linux calls the model; elsewhere the architecture, for want of better."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(_CPU), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _driver() -> str:
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\S+)", _text(_DRIVER))
    return found[1] if found else "unknown"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # not Linux, or no such driver
        return ""
