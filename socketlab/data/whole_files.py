"""Writing a file whole: a reader sees the old one or the new one, never a part."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # no POSIX: there, what a killed process has left is not told from other files
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)  # of the device, and of what one may have of it


def replace_file(path: Path, *content: bytes | memoryview, keep: Path | None = None) -> None:
    """Write under a temporary name, then rename; after a failure no temporary file stays.

    Args:
        path: the file.
        content: what it holds from now on, piece by piece.
        keep: where the file before is kept; by default it is gone.

    Raises:
        OSError: if it cannot be written; of a full device it names the file.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            _claim(file)
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is no space left on a device."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def remove_abandoned(partial: Iterable[Path]) -> list[Path]:
    """Remove those temporary files that nobody writes any more; returns them.

    Who writes one holds a lock on it, which the operating system frees when a process dies.
    """
    return [path for path in partial if _is_abandoned(path) and _removed(path)]


def _claim(file: IO[Any]) -> bool:
    """Hold a lock on an open file until it is closed; False while another process has one."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_abandoned(path: Path) -> bool:
    if fcntl is None or not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return _claim(file)
    return False


def _removed(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
        return True
    return False
