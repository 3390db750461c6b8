"""Where a data set's files are on this machine: its folder, or the archives it is made of.

Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from socketlab.data.acquiring.archives import AcquireError
from socketlab.data.acquiring.downloads import part_of, remote_size
from socketlab.data.acquiring.unpacking import is_packed
from socketlab.data.layout_schema import PairedFoldersLayout
from socketlab.data.manifest import Archive, Manifest

ROOT_VARIABLE = "SOCKETLAB_ROOT"


def candidate_roots(manifest: Manifest, data_dir: Path) -> list[Path]:
    """Where a data set's folder is looked for, first to last."""
    project = Path(__file__).resolve().parents[3]
    folders = [data_dir / "raw" / manifest.name]
    if os.environ.get(ROOT_VARIABLE):
        folders.insert(0, Path(os.environ[ROOT_VARIABLE]) / manifest.name)
    folders += [
        beside.parent / "shared" / "data" / manifest.name for beside in (Path.cwd(), project)
    ]
    return list(dict.fromkeys(folders))


def own_root(manifest: Manifest) -> Path | None:
    """A root for a data set all of whose parts lie in folders of their own, absolute or from ~.

    None for all others, whose root has to be found or given, and where there are archives.
    """
    if manifest.archives or not isinstance(manifest.layout, PairedFoldersLayout):
        return None
    folders = [Path(part.folder).expanduser() for part in manifest.layout.parts]
    if not all(each.is_absolute() for each in folders):
        return None
    root = Path(os.path.commonpath(folders))
    # a folder that has gone is found out, and named, when the samples are listed
    return next(each for each in (root, *root.parents) if each.is_dir())


def find_root(manifest: Manifest, data_dir: Path) -> Path | None:
    """`own_root`, or the first of `candidate_roots` that holds the data set; None where none does.

    A folder with nothing but archives that must be unpacked does not hold it, nor does one that
    lacks a published file that is used as it is.
    """
    own = own_root(manifest)
    if own is not None:
        return own
    packed = {item.filename for item in manifest.archives if is_packed(item.filename)}
    plain = {item.filename for item in manifest.archives} - packed
    for folder in candidate_roots(manifest, data_dir):
        if folder.is_dir():
            names = {entry.name for entry in folder.iterdir()}
            if plain <= names and (names - packed or not packed):
                return folder
    return None


def resolve_root(manifest: Manifest, root: Path | None, data_dir: Path) -> Path:
    """The folder that holds the data set's files.

    An explicit `root` counts alone. Otherwise, in this order: the parts' own folders,
    ``$SOCKETLAB_ROOT/<name>``, ``<data_dir>/raw/<name>``, ``../shared/data/<name>`` beside the
    working folder or the project.
    Raises `AcquireError` saying what was looked at and what to do.
    """
    if root is not None:
        if root.is_dir():
            return root
        raise AcquireError(
            f"Data set {manifest.name!r}: the given root {root} is no folder. "
            "Correct --root, or leave it out to have the usual places looked at."
        )
    found = find_root(manifest, data_dir)
    if found is not None:
        return found
    looked = ", ".join(map(str, candidate_roots(manifest, data_dir)))
    get = f"Run: socketlab data get {manifest.name}. Or get" if manifest.archives else "Get"
    raise AcquireError(
        f"Data set {manifest.name!r} was not found. Looked at: {looked}. {get} it from "
        f"{manifest.homepage} ({manifest.terms}), then pass its folder with --root, "
        f"set {ROOT_VARIABLE} to the folder above it, or link it to "
        f"{data_dir / 'raw' / manifest.name}."
    )


@dataclass(frozen=True)
class Piece:
    """One archive of a data set on this machine.

    Attributes:
        path: where it lies, or where it will be downloaded (by hand, if `archive.manual`).
        present: whether it lies there.
        size: its bytes; None where nobody says.
        arrived: bytes of an earlier download that broke off.
    """

    archive: Archive
    path: Path
    present: bool
    size: int | None
    arrived: int = 0


def pieces_of(
    manifest: Manifest, data_dir: Path, archives: Sequence[Path] = (), *, ask: bool = True
) -> list[Piece]:
    """Where each archive of the manifest is: among `archives`, or in one of the usual places.

    Those are ``<data_dir>/raw/.archives`` and the `candidate_roots`. With `ask`, a server is asked
    for the size of what is missing where the manifest does not state it.

    Raises `AcquireError` for a given file that is not there or belongs to no archive.
    """
    given = _match(manifest, archives)
    store = data_dir / "raw" / ".archives"
    places = [store, *candidate_roots(manifest, data_dir)]
    pieces = []
    for archive in manifest.archives:
        usual = [place / archive.filename for place in places]
        found = given.get(archive.filename) or next(filter(Path.is_file, usual), None)
        if found is not None:
            pieces.append(Piece(archive, found, True, found.stat().st_size))
            continue
        path = store / archive.filename
        part = part_of(path)
        size = archive.bytes
        if size is None and ask and not archive.manual:
            size = remote_size(archive.url)
        arrived = part.stat().st_size if part.is_file() else 0
        pieces.append(Piece(archive, path, False, size, arrived))
    return pieces


def needed_space(pieces: Sequence[Piece]) -> int:
    """Bytes still to come, and as many as all archives that are unpacked; of known sizes only."""
    coming = sum((piece.size or 0) - piece.arrived for piece in pieces if not piece.present)
    return coming + sum(piece.size or 0 for piece in pieces if is_packed(piece.archive.filename))


def how_by_hand(manifest: Manifest, piece: Piece) -> str:
    """What a person must click, and where the file has to be."""
    return (
        f"{piece.archive.filename} of {manifest.name!r} must be downloaded by a person. Open "
        f"{piece.archive.url}. {piece.archive.manual} Put the file at {piece.path}, or pass it "
        "with --archive."
    )


def _match(manifest: Manifest, given: Sequence[Path]) -> dict[str, Path]:
    names = [archive.filename for archive in manifest.archives]
    matched: dict[str, Path] = {}
    for path in given:
        if not path.is_file():
            raise AcquireError(f"--archive {path}: there is no such file. Correct the path.")
        name = names[0] if len(names) == 1 else path.name
        if name not in names or name in matched:
            raise AcquireError(
                f"--archive {path}: {manifest.name!r} is made of {', '.join(names) or 'no archive'}"
                ", each once. Give the file its published name, or leave it out."
            )
        matched[name] = path.absolute()
    return matched
