"""Unpack zip and tar archives that nobody has looked into. Imports no torch.

Refused are absolute paths, ``..``, links of any sort, devices, names that are there twice, and
sizes past `allowed`: a data set's images hardly shrink in an archive, so one that grows
twentyfold is no data set. A zip member that holds more than it declares fails its check sum.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import IO

from rich.filesize import decimal

from socketlab.data.acquiring.archives import AcquireError, require_space
from socketlab.data.schema import Progress

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
FLOOR = 1 << 30
FACTOR = 20
BLOCK = 1 << 20
GZIP_BEGINS = b"\x1f\x8b"
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # a password, or a way to compress that zipfile does not know
)


def is_packed(filename: str) -> bool:
    """Whether a file of this name is an archive; any other is used as it is."""
    return filename.lower().endswith(ARCHIVE_ENDINGS)


def allowed(packed: int) -> int:
    """How many bytes `packed` bytes of an archive may become."""
    return max(FLOOR, FACTOR * packed)


def unpack(path: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a zip or tar archive into `folder`, which is made where it is missing.

    `progress` hears (bytes done, bytes in all): unpacked ones of a zip, packed ones of a tar.
    Times, owners and permissions of the archive are not kept.

    Raises `AcquireError` for a broken archive, a member that is refused (see above) and a full
    disk; `folder` is then worth nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hear = progress or (lambda done, total: None)
    try:
        if path.name.lower().endswith(".zip"):
            _unzip(path, folder, hear)
        else:
            _untar(path, folder, hear)
    except BROKEN as error:
        raise AcquireError(
            f"{path} cannot be unpacked: {error}. It is damaged, or no archive of its kind: "
            "delete it and get it again. If other programs can unpack it, do that by hand and "
            "pass the folder with --root."
        ) from error
    except FileExistsError as error:
        raise AcquireError(
            f"{path} cannot be unpacked: {error.filename} is there twice. Unpack it by hand and "
            "pass the folder with --root."
        ) from error
    except OSError as error:
        raise AcquireError(
            f"{path} cannot be unpacked into {folder}: {error}. Mend that and start again."
        ) from error


def _unzip(path: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        _bound(path, "its members", total, path.stat().st_size)
        require_space(folder, total, f"unpacking {path.name}")
        done = 0
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(path, member.filename, "is a link or a device")
            _bound(path, f"member {member.filename!r}", member.file_size, member.compress_size)
            target = _place(path, folder, member.filename)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                with archive.open(member) as source:
                    _write(source, target)
            done += member.file_size
            progress(done, total)


def _untar(path: Path, folder: Path, progress: Progress) -> None:
    size = path.stat().st_size
    total = 0
    with path.open("rb") as packed:
        compressed = packed.read(len(GZIP_BEGINS)) == GZIP_BEGINS
        packed.seek(0)
        stream = gzip.GzipFile(fileobj=packed) if compressed else packed
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                total += member.size
                _bound(path, "its members", total, size)
                target = _place(path, folder, member.name)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                source = archive.extractfile(member) if member.isfile() else None
                if source is None:
                    raise _refused(path, member.name, "is a link or a device")
                with source:
                    _write(source, target)
                progress(packed.tell(), size)
            # tarfile takes a damaged or missing header for the end, and leaves gzip's check sum
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it does not end as a tar archive does")
            while stream.read(BLOCK):
                pass
    progress(size, size)


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, BLOCK)


def _place(path: Path, folder: Path, name: str) -> Path:
    # Windows' rules know both slashes and drive letters, and some zips are written with "\"
    inner = PureWindowsPath(name)
    if inner.anchor or ".." in inner.parts or "\0" in name:
        raise _refused(path, name, "would land outside of the data set's folder")
    return folder.joinpath(*inner.parts)


def _bound(path: Path, what: str, unpacked: int, packed: int) -> None:
    if unpacked > allowed(packed):
        raise AcquireError(
            f"{path}: {what} would unpack from {decimal(packed)} to {decimal(unpacked)}; at most "
            f"{decimal(allowed(packed))} are unpacked. If you trust it, unpack it by hand and pass "
            "the folder with --root."
        )


def _refused(path: Path, name: str, reason: str) -> AcquireError:
    return AcquireError(
        f"{path}: member {name!r} {reason}. Nothing of it is used; get the archive from its "
        "official address."
    )
