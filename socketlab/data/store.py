"""Prepared images: decoded once, kept as memory-mapped arrays with a table of samples.

A store is a folder ``<data_dir>/<name>/<size>-<12 hexadecimal digits>``: one ``.npy`` per domain
(uint8 RGB, uint16 depth in millimetres with 0 = no reading, uint8 or uint16 NIR),
``samples.parquet`` and ``store.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from socketlab.data.acquire import resolve_root
from socketlab.data.layouts import SampleRecord, layout_functions
from socketlab.data.layouts.records import PreparationError
from socketlab.data.schema import Domain, Manifest, Progress, Say, UnknownName

STORE_VERSION = 1
COLUMNS = ("id", "class", "domain", "split", "pair_id", "path", "row")
DATA_FOLDER = Path("data")


class NotPrepared(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """There is no store for this data set and size yet; the message holds the command."""


@dataclass(frozen=True)
class Store:
    """A data set at one preparation size; `samples` has the columns of `COLUMNS`."""

    manifest: Manifest
    folder: Path
    size: int
    samples: pd.DataFrame

    def array(self, domain: str) -> np.memmap[Any, np.dtype[Any]]:
        """The read-only images of `domain`, [N, S, S, 3] or [N, S, S]; raises `UnknownName`."""
        if domain not in self.manifest.domains:
            raise UnknownName(f"domain of {self.manifest.name!r}", domain, self.manifest.domains)
        images = np.load(self.folder / _file_name(domain), mmap_mode="r")
        if not isinstance(images, np.memmap):
            raise ValueError(f"{self.folder / _file_name(domain)} is no plain array file.")
        return images

    def verify(self) -> list[str]:
        """Array files whose SHA-256 is not the one written when they were prepared."""
        written = json.loads((self.folder / "store.json").read_text())["sha256"]
        return [name for name, digest in written.items() if _sha256(self.folder / name) != digest]


def prepare(
    manifest: Manifest,
    *,
    root: Path | None,
    size: int,
    data_dir: Path = DATA_FOLDER,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Store:
    """Decode (or render) every image once at `size` x `size`; a second call finds the store.

    `root`: the data set's folder, None to look for it (see `acquire.resolve_root`). `say` hears
    one line per stage, `progress` (images done, images in all). The same manifest, images and
    size give the same bytes. Nothing half-prepared stays behind, whatever happens.

    Raises `PreparationError`, whose ``problems`` names every file, table row and count that is
    not as the manifest says.
    """
    tell = say or (lambda line: None)
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, found {size}.")
    folder = _folder(manifest, size, data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder, tell):
        if (folder / "store.json").is_file():
            tell(
                f"{manifest.name} is already prepared at {size} px: {folder} "
                "(delete that folder to prepare it anew)"
            )
            return open_store(manifest, size=size, data_dir=data_dir)
        layout = layout_functions(manifest.layout.kind)
        where = resolve_root(manifest, root, data_dir) if layout.needs_root else data_dir
        samples = _table(layout.list_samples(manifest, where))
        check_counts(manifest, samples)
        tell(f"Preparing {len(samples)} images of {manifest.name} at {size} px")
        with _partial(folder) as partial:
            _write(manifest, where, samples, size, partial, progress)
            os.replace(partial, folder)
    tell(f"Prepared {len(samples)} images: {folder}")
    return open_store(manifest, size=size, data_dir=data_dir)


def open_store(manifest: Manifest, *, size: int, data_dir: Path = DATA_FOLDER) -> Store:
    """The prepared store; raises `NotPrepared` with the command that makes it."""
    folder = _folder(manifest, size, data_dir)
    if not (folder / "store.json").is_file():
        raise NotPrepared(
            f"Data set {manifest.name!r} is not prepared at {size} px (looked for {folder}). "
            f"Run: socketlab data prepare {manifest.name} --size {size}"
            + ("" if data_dir == DATA_FOLDER else f" --data-dir {data_dir}")
        )
    samples = pd.read_parquet(folder / "samples.parquet")
    check_counts(manifest, samples)
    return Store(manifest, folder, size, samples)


def check_counts(manifest: Manifest, samples: pd.DataFrame) -> None:
    """Raise `PreparationError` with each domain, class and split whose count is not expected."""
    found = Counter(zip(samples["domain"], samples["class"], samples["split"], strict=True))
    expected = {
        (domain, class_name, split): count
        for domain, classes in manifest.expected.items()
        for class_name, counts in classes.items()
        for split, count in counts.items()
    }
    problems = [
        f"{key[0]}, class {key[1]}, split {key[2]}: "
        f"expected {expected.get(key, 0)} images, found {found[key]}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key, 0) != found[key]
    ]
    if problems:
        raise PreparationError(
            f"Data set {manifest.name!r} does not have the counts of its manifest", problems
        )


def _folder(manifest: Manifest, size: int, data_dir: Path) -> Path:
    """The store's folder, named after whatever decides the pixels and the table.

    Titles, ranges and protocols are read anew with each opening: to change one is not to
    prepare again.
    """
    content = {
        "store": STORE_VERSION,
        "layout_version": layout_functions(manifest.layout.kind).version,
        "size": size,
        "layout": manifest.layout.model_dump(mode="json"),
        "classes": manifest.classes.model_dump(mode="json"),
        "domains": {
            name: domain.model_dump(mode="json", exclude={"range", "unit"})
            for name, domain in manifest.domains.items()
        },
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return data_dir / manifest.name / f"{size}-{digest[:12]}"


def _table(records: list[SampleRecord]) -> pd.DataFrame:
    table = pd.DataFrame([asdict(record) for record in records])
    table = table.rename(columns={"class_name": "class"})
    table = table.sort_values(["domain", "id"], kind="stable").reset_index(drop=True)
    repeated = sorted(table.loc[table["id"].duplicated(), "id"])
    if repeated:
        raise PreparationError("Ids are there twice", repeated)
    table["row"] = table.groupby("domain").cumcount()
    return table[list(COLUMNS)]


@contextmanager
def _lock(folder: Path, tell: Say) -> Iterator[None]:
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        tell(f"Another process is preparing {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    # we hold the lock, so whatever lies here was left by a process that was killed
    for stale in folder.parent.glob(f".{folder.name}.partial*"):
        shutil.rmtree(stale)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    partial.chmod(0o755)  # mkdtemp makes it private, and stores are shared on servers
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(
    manifest: Manifest,
    root: Path,
    samples: pd.DataFrame,
    size: int,
    folder: Path,
    progress: Progress | None,
) -> None:
    images = {
        name: np.lib.format.open_memmap(
            folder / _file_name(name),
            mode="w+",
            dtype=_dtype(domain),
            shape=(
                int((samples["domain"] == name).sum()),
                size,
                size,
                *((3,) if domain.modality == "rgb" else ()),
            ),
        )
        for name, domain in manifest.domains.items()
    }
    problems = layout_functions(manifest.layout.kind).fill(
        manifest, root, samples, images, progress
    )
    if problems:
        raise PreparationError(f"Data set {manifest.name!r} cannot be prepared", problems)
    for array in images.values():
        array.flush()
    samples.to_parquet(folder / "samples.parquet", index=False)
    record = {
        "name": manifest.name,
        "manifest_sha256": manifest.digest(),
        "size": size,
        "store_version": STORE_VERSION,
        "images": {name: len(array) for name, array in images.items()},
        "sha256": {_file_name(name): _sha256(folder / _file_name(name)) for name in images},
        "versions": {name: version(name) for name in ("numpy", "pandas", "pillow")},
    }
    (folder / "store.json").write_text(json.dumps(record, indent=2) + "\n")


def _dtype(domain: Domain) -> type[np.uint8] | type[np.uint16]:
    return np.uint16 if domain.modality == "depth" or domain.bits == 16 else np.uint8


def _file_name(domain: str) -> str:
    return domain.replace("/", "_") + ".npy"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
