"""One process at a time; whoever has to wait is told why. Imports no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from socketlab.data.schema import Say


@contextmanager
def alone(path: Path, tell: Say, doing: str, *, again: bool = False) -> Iterator[bool]:
    """Hold the lock at `path`; while another process holds it, wait, and tell what it is `doing`.

    The operating system frees the lock when a process dies, and no clock decides anything. Gives
    whether there was somebody to wait for.

    Args:
        path: of the lock.
        tell: is told that there is somebody to wait for.
        doing: what the other one is doing.
        again: a process that holds it already, in whatever thread, may hold it once more: a
            generator that was broken off may not have let go yet.
    """
    lock = FileLock(path, is_singleton=again, thread_local=not again)
    waited = False
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waited = True
        tell(f"Another process is {doing}; waiting for it")
        lock.acquire()
    try:
        yield waited
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock at `path` at this moment; False where there is none."""
    if not path.exists():
        return False
    lock = FileLock(path, is_singleton=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:  # a folder that can only be read: whoever worked there could write
        return False
    lock.release()
    return False
