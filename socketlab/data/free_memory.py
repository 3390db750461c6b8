"""How much memory is free, on the machine and on its devices."""

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
GROUP_USED = Path("/sys/fs/cgroup/memory.current")
GROUP_DETAILS = Path("/sys/fs/cgroup/memory.stat")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be had on the device now; None where nobody says.

    On CUDA, what no process has taken and what torch keeps for later. On a CPU, what Linux calls
    available, and in a container no more than what is left of its limit.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    available = number_in(MEMINFO, "MemAvailable:") if device.type == "cpu" else None
    if available is None:
        return None
    known = [1024 * available]
    if GROUP_LIMIT.exists() and GROUP_LIMIT.read_text().strip() != "max":
        # pages of files count as used, and are given up when somebody needs them
        used = int(GROUP_USED.read_text()) - (number_in(GROUP_DETAILS, "inactive_file") or 0)
        known.append(int(GROUP_LIMIT.read_text()) - used)
    return max(0, min(known))


def in_words(size: int) -> str:
    """Bytes as people say them: `220 MiB`, `1.5 GiB`."""
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def number_in(table: Path, name: str) -> int | None:
    """The number behind a name, in a file where Linux says such things; None where it does not."""
    lines = table.read_text().splitlines() if table.exists() else []
    rows = (line.split() for line in lines)
    return next((int(row[1]) for row in rows if row and row[0] == name), None)
