"""Get a data set's files: use a folder that is already there, or download, verify and unpack."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import urllib.request
import zipfile
from pathlib import Path

from socketlab.data.manifest import Archive, Manifest
from socketlab.data.schema import Progress, Say

ROOT_VARIABLE = "SOCKETLAB_ROOT"
BLOCK = 1 << 20
ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
TIMEOUT_SECONDS = 60


class AcquireError(ValueError):
    """Files that are not there, or not the published ones; the message says what to do."""


def candidate_roots(manifest: Manifest, data_dir: Path) -> list[Path]:
    """Where a data set's folder is looked for, first to last."""
    project = Path(__file__).resolve().parents[2]
    folders = [data_dir / "raw" / manifest.name]
    if os.environ.get(ROOT_VARIABLE):
        folders.insert(0, Path(os.environ[ROOT_VARIABLE]) / manifest.name)
    folders += [
        beside.parent / "shared" / "data" / manifest.name for beside in (Path.cwd(), project)
    ]
    return list(dict.fromkeys(folders))


def resolve_root(manifest: Manifest, root: Path | None, data_dir: Path) -> Path:
    """The folder that holds the data set's files.

    An explicit `root` counts alone. Otherwise, in this order: ``$SOCKETLAB_ROOT/<name>``,
    ``<data_dir>/raw/<name>``, ``../shared/data/<name>`` beside the working folder or the project.
    Raises `AcquireError` saying what was looked at and what to do.
    """
    if root is not None:
        if root.is_dir():
            return root
        raise AcquireError(
            f"Data set {manifest.name!r}: the given root {root} is no folder. "
            "Correct --root, or leave it out to have the usual places looked at."
        )
    candidates = candidate_roots(manifest, data_dir)
    for folder in candidates:
        if folder.is_dir():
            return folder
    looked = ", ".join(map(str, candidates))
    raise AcquireError(
        f"Data set {manifest.name!r} was not found. Looked at: {looked}. Get it from "
        f"{manifest.homepage} ({manifest.terms}), then pass its folder with --root, "
        f"set {ROOT_VARIABLE} to the folder above it, or link it to "
        f"{data_dir / 'raw' / manifest.name}."
    )


def acquire(
    manifest: Manifest,
    *,
    data_dir: Path,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download every archive of the manifest, verify it and unpack it; returns the data folder.

    The folder is ``<data_dir>/raw/<name>``; what is already there is not fetched again. Archives
    stay in ``<data_dir>/raw/.archives`` and count only once they are whole and verified.
    `progress` hears (bytes done, bytes in all) of each archive whose size is known.

    Raises `AcquireError` where the manifest has no archives, an address does not answer, or a
    file is not the published one.
    """
    tell = say or (lambda line: None)
    folder = data_dir / "raw" / manifest.name
    if folder.is_dir():
        tell(f"{manifest.name} is already in {folder}")
        return folder
    if not manifest.archives:
        raise AcquireError(
            f"Data set {manifest.name!r} has no archive to download. Get it from "
            f"{manifest.homepage} ({manifest.terms}) and pass its folder with --root."
        )
    archives = data_dir / "raw" / ".archives"
    archives.mkdir(parents=True, exist_ok=True)
    paths = []
    for archive in manifest.archives:
        path = archives / archive.filename
        if not path.is_file():
            tell(f"Downloading {archive.url}")
            _download(archive, path, progress)
        paths.append(path)
    partial = data_dir / "raw" / f".{manifest.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path in paths:
            tell(f"Unpacking {path}")
            unpack(path, partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def verify_archive(archive: Archive, path: Path) -> None:
    """Raise `AcquireError` unless `path` has the published size and checksum, if there are any."""
    found = path.stat().st_size
    if archive.bytes is not None and found != archive.bytes:
        raise AcquireError(
            f"{path}: {found} bytes, expected {archive.bytes}. Delete it and download "
            f"{archive.url} again; if it stays so, the published file has changed."
        )
    kind, _, digest = archive.checksum.partition(":")
    if not digest:
        return
    with path.open("rb") as file:
        computed = hashlib.file_digest(file, kind).hexdigest()
    if computed != digest:
        raise AcquireError(
            f"{path}: {kind} is {computed}, expected {digest}. Delete it and download "
            f"{archive.url} again; if it stays so, the published file has changed."
        )


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`; any other file is copied there.

    Raises `AcquireError` for a broken archive and for one whose members would land elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not path.name.endswith(ARCHIVE_ENDINGS):
            shutil.copy2(path, folder / path.name)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # drops ".." and leading slashes by itself
        else:
            with tarfile.open(path) as archive_file:
                archive_file.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise AcquireError(f"{path} cannot be unpacked: {error}. Delete it and start again.") from (
            error
        )


def _download(archive: Archive, path: Path, progress: Progress | None) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        with (
            urllib.request.urlopen(archive.url, timeout=TIMEOUT_SECONDS) as answer,
            partial.open("wb") as file,
        ):
            done = 0
            while block := answer.read(BLOCK):
                file.write(block)
                done += len(block)
                if progress is not None and archive.bytes is not None:
                    progress(done, archive.bytes)
        verify_archive(archive, partial)
        partial.replace(path)
    except OSError as error:
        raise AcquireError(
            f"{archive.url} cannot be downloaded: {error}. Get it by hand from there and put it "
            f"at {path}."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
