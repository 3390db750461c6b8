"""What can happen to a run, in words that say what to do. Imports no torch."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from socketlab.data.whole_files import is_full, replace_file

FULL: Final = "no space left on device"
MEMORY: Final = "out of memory"
LOST: Final = "ended without a word: killed, or the machine went down"
RESERVE: Final = ".reserve"
RESERVED: Final = 256 * 1024  # bytes: several times what run.json takes
_LEAST: Final = 16 * 1024
_LONGEST: Final = 300
_EVENTS: Final = Path("/sys/fs/cgroup/memory.events")

# Of Python, of the C library, of Rust (safetensors), and of libraries that hand on their text.
_SAYS_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b", re.I)
_SAYS_MEMORY = re.compile(
    r"OutOfMemoryError|\bMemoryError\b|out of memory|can(no|')t allocate memory|bad_alloc"
    r"|not enough memory: you tried to allocate",
    re.I,
)


def explained(reason: str, expected: str = "") -> str:
    """`reason` with what to do, where the disk or the memory was full; else as it is.

    Args:
        reason: type and text of an error.
        expected: of a training, how much memory it was expected to need, in words.
    """
    if reason.startswith((FULL, MEMORY)):
        return reason
    if _SAYS_FULL.search(reason):
        return f"{FULL}: {_short(reason)}; free some, then run again"
    if _SAYS_MEMORY.search(reason):
        about = f" ({expected})" if expected else ""
        return (
            f"{MEMORY}{about}: {_short(reason)}. Set batch_size: auto or a smaller one, then run "
            "again"
        )
    return reason


def _short(reason: str) -> str:
    """Its first line, without a stop at the end."""
    found = reason.strip().splitlines()[0].strip().removesuffix(".")
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}..."


def hold_reserve(folder: Path) -> None:
    """Keep some space for the last words of a run: `run.json` could not grow on a full disk."""
    path = folder / RESERVE
    with suppress(FileNotFoundError):
        if path.stat().st_size == RESERVED:
            return
    try:
        replace_file(path, os.urandom(RESERVED))  # what a file system cannot compress
    except OSError as error:
        if not is_full(error):
            raise


def release_reserve(folder: Path) -> bool:
    """Give back half of what is kept, for there may be more than one last word; False if none."""
    path = folder / RESERVE
    try:
        size = path.stat().st_size
        if size > _LEAST:
            os.truncate(path, size // 2)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def remove_reserve(folder: Path) -> None:
    """A run that is done needs none."""
    (folder / RESERVE).unlink(missing_ok=True)


def memory_kills() -> int:
    """How many processes of this container were killed for lack of memory; 0 if unsaid."""
    with suppress(OSError, ValueError):
        for line in _EVENTS.read_text().splitlines():
            name, count = line.split()
            if name == "oom_kill":
                return int(count)
    return 0
