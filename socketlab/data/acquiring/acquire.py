"""Get a data set's files: use what is already there, or download, verify and unpack.

Imports no torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from socketlab.data.acquiring.archives import (
    AcquireError,
    expected_of,
    remember,
    require_space,
    verify,
    what_to_do,
)
from socketlab.data.acquiring.downloads import download
from socketlab.data.acquiring.locating import (
    Piece,
    candidate_roots,
    find_root,
    how_by_hand,
    needed_space,
    pieces_of,
    resolve_root,
)
from socketlab.data.acquiring.unpacking import is_packed, unpack
from socketlab.data.locks import alone
from socketlab.data.manifest import Manifest
from socketlab.data.schema import Progress, Say

__all__ = ["AcquireError", "acquire", "candidate_roots", "find_root", "resolve_root"]

SAME = "getting the same files"
Bars = Callable[[str], AbstractContextManager[Progress]]
"""Opens a bar with a title; what it gives hears (bytes done, bytes in all)."""


def acquire(
    manifest: Manifest,
    *,
    data_dir: Path,
    archives: Sequence[Path] = (),
    say: Say | None = None,
    bars: Bars | None = None,
) -> Path:
    """Download every missing archive, verify and unpack all; returns the data set's folder.

    The folder is ``<data_dir>/raw/<name>``, or where `find_root` finds it. `archives` are files
    that are already on disk; they are used where they lie, as are those in the usual places
    (see `pieces_of`). Others are downloaded to ``<data_dir>/raw/.archives``. A file that is no
    archive becomes a hard link in the folder, or a symbolic one to another disk. Of two processes
    one waits. Nothing half-unpacked stays; what has been downloaded does.

    Whoever calls this accepts the terms. Raises `AcquireError` where the manifest has no archives,
    a person must download one, an address does not answer, the disk is too small, or a file is not
    the published one or is refused (see `unpacking`).
    """
    tell = say or (lambda line: None)
    open_bar: Bars = bars or (lambda title: nullcontext(lambda done, total: None))
    raw = data_dir / "raw"
    there = find_root(manifest, data_dir)
    if there is None and not manifest.archives:
        raise AcquireError(
            f"Data set {manifest.name!r} has no archive to download. Get it from "
            f"{manifest.homepage} ({manifest.terms}) and pass its folder with --root."
        )
    if there is None:
        (raw / ".archives").mkdir(parents=True, exist_ok=True)
        with alone(raw / f".{manifest.name}.lock", tell, SAME):
            there = find_root(manifest, data_dir)  # another process may have got it meanwhile
            if there is None:
                pieces = pieces_of(manifest, data_dir, archives)
                return _get(manifest, raw, pieces, tell, open_bar)
    tell(f"{manifest.name} is already in {there}")
    return there


def _get(manifest: Manifest, raw: Path, pieces: Sequence[Piece], tell: Say, open_bar: Bars) -> Path:
    missing = [piece for piece in pieces if piece.archive.manual and not piece.present]
    if missing:
        lines = [how_by_hand(manifest, piece) for piece in missing]
        raise AcquireError(
            "\n".join([*lines, f"Then run again: socketlab data get {manifest.name}"])
        )
    folder = raw / manifest.name
    if folder.exists() and any(folder.iterdir()):
        raise AcquireError(
            f"{folder} is there, but does not hold all of {manifest.name!r}. Move the archives in "
            f"it to {raw / '.archives'}, delete the folder and start again."
        )
    require_space(raw, needed_space(pieces), f"getting {manifest.name!r}")
    for piece in pieces:
        if piece.present:
            tell(f"Checking {piece.path}")
            verify(raw, manifest, piece.archive, piece.path)
    for piece in pieces:
        if not piece.present:
            _fetch(manifest, raw, piece, tell, open_bar)
    partial = raw / f".{manifest.name}.partial"
    with _fresh(partial):
        for piece in pieces:
            if is_packed(piece.archive.filename):
                tell(f"Unpacking {piece.path}")
                with open_bar(piece.archive.filename) as bar:
                    unpack(piece.path, partial, bar)
            else:
                _link(piece.path, partial / piece.archive.filename)
        # only what could be unpacked is worth remembering
        for piece in pieces:
            remember(raw, manifest, piece.archive, piece.path)
        partial.rename(folder)
    return folder


def _fetch(manifest: Manifest, raw: Path, piece: Piece, tell: Say, open_bar: Bars) -> None:
    archive, path = piece.archive, piece.path
    with alone(path.with_name(f".{path.name}.lock"), tell, SAME):
        if path.is_file():  # for another data set that is made of the same archive
            return verify(raw, manifest, archive, path)
        size, checksum = expected_of(raw, manifest, archive)
        tell(f"Downloading {archive.url}")
        advice = what_to_do(raw, manifest, archive)
        with open_bar(archive.filename) as bar:
            download(archive.url, path, size=size, checksum=checksum, advice=advice, progress=bar)


def _link(path: Path, link: Path) -> None:
    target = path.resolve()
    try:
        os.link(target, link)
    except OSError:  # another disk, another owner, or a file system without hard links
        link.symlink_to(target)


@contextmanager
def _fresh(folder: Path) -> Iterator[None]:
    # we hold the lock, so whatever lies here was left by a process that was killed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
