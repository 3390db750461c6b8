"""Is an archive the right one: published checksums, and the lock file for those without.

``<data_dir>/raw/archives.lock.json`` holds what was first seen of each archive whose authors
publish no checksum: from then on the file must stay the same. Imports no torch.
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from rich.filesize import decimal

from socketlab.data.domain_schema import Frozen
from socketlab.data.schema import Archive, Manifest
from socketlab.data.whole_files import replace_file

LOCK_FILE = "archives.lock.json"
NONE_PUBLISHED = "none published"


class AcquireError(ValueError):
    """Files that are not there, or not the published ones; the message says what to do."""


class Seen(Frozen):
    """An archive as it was when it was first used."""

    url: str
    filename: str
    bytes: int
    sha256: str
    first_seen: date


_LOCK = TypeAdapter(dict[str, Seen])


def seen_before(raw: Path, manifest: Manifest, archive: Archive) -> Seen | None:
    """What the lock file in `raw` holds of an archive; raises `AcquireError` for a damaged one."""
    return _read(raw / LOCK_FILE).get(_key(manifest, archive))


def expected_of(raw: Path, manifest: Manifest, archive: Archive) -> tuple[int | None, str | None]:
    """(bytes, ``kind:digest``) that a file must have, published or seen before; None: unknown."""
    if archive.checksum != NONE_PUBLISHED:
        return archive.bytes, archive.checksum
    seen = seen_before(raw, manifest, archive)
    return (seen.bytes, f"sha256:{seen.sha256}") if seen else (archive.bytes, None)


def what_to_do(raw: Path, manifest: Manifest, archive: Archive) -> str:
    """The next action where a file is not the expected one."""
    seen = seen_before(raw, manifest, archive)
    if archive.checksum != NONE_PUBLISHED or seen is None:
        return f"Get it again from {archive.url}; if it stays so, the published file has changed."
    return (
        f"It is not the file first used on {seen.first_seen}. Get that one again from "
        f"{archive.url}; if the published file has changed and you trust the new one, delete "
        f"{_key(manifest, archive)!r} from {raw / LOCK_FILE}."
    )


def verify(raw: Path, manifest: Manifest, archive: Archive, path: Path) -> None:
    """Raise `AcquireError` unless `path` has the size and checksum that it must have."""
    size, checksum = expected_of(raw, manifest, archive)
    advice = what_to_do(raw, manifest, archive)
    found = path.stat().st_size
    if size is not None and found != size:
        raise AcquireError(f"{path}: {found} bytes, expected {size}. {advice}")
    if checksum is not None:
        kind, _, digest = checksum.partition(":")
        computed = _digest(path, kind)
        if computed != digest:
            raise AcquireError(f"{path}: {kind} is {computed}, expected {digest}. {advice}")


def remember(raw: Path, manifest: Manifest, archive: Archive, path: Path) -> None:
    """Write size and SHA-256 of an archive without a published checksum into the lock file."""
    if archive.checksum != NONE_PUBLISHED or seen_before(raw, manifest, archive):
        return
    new = Seen(
        url=archive.url,
        filename=archive.filename,
        bytes=path.stat().st_size,
        sha256=_digest(path, "sha256"),
        first_seen=datetime.now(UTC).date(),
    )
    target = raw / LOCK_FILE
    with FileLock(raw / f".{LOCK_FILE}.lock"):
        entries = dict(sorted({**_read(target), _key(manifest, archive): new}.items()))
        replace_file(target, _LOCK.dump_json(entries, indent=2) + b"\n")


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not be there yet."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise `AcquireError` where `needed` bytes for `purpose` are more than are free."""
    free = free_space(folder)
    if needed > free:
        raise AcquireError(
            f"{folder}: {purpose} takes about {decimal(needed)}, and {decimal(free)} are free. "
            "Free some space, or choose another disk with --data-dir."
        )


def _read(path: Path) -> dict[str, Seen]:
    if not path.is_file():
        return {}
    try:
        return _LOCK.validate_json(path.read_bytes())
    except ValidationError as error:
        raise AcquireError(
            f"{path}: not readable as a lock file: {error.errors()[0]['msg']}. Restore it, or "
            "delete it to trust the archives that are there now."
        ) from error


def _key(manifest: Manifest, archive: Archive) -> str:
    return f"{manifest.name}/{archive.filename}"


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
