"""One process at a time; whoever has to wait is told why. Imports no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from socketlab.data.schema import Say


@contextmanager
def alone(path: Path, tell: Say, doing: str) -> Iterator[None]:
    """Hold the lock at `path`; while another process holds it, wait, and tell what it is `doing`.

    The operating system frees the lock when a process dies.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        tell(f"Another process is {doing}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
