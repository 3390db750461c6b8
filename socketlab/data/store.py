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
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from socketlab.data.acquiring.acquire import resolve_root
from socketlab.data.layouts import SampleRecord, layout_functions
from socketlab.data.layouts.records import PreparationError
from socketlab.data.locks import alone
from socketlab.data.preparing import Preparation, fill_store
from socketlab.data.schema import Manifest, Progress, Say, UnknownName, sensor_of
from socketlab.data.store_files import SAMPLES_FILE, STORE_VERSION, array_file, damaged_files

Counts = Mapping[tuple[str, str, str], int]
"""Images by domain, class and split."""
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
        images = np.load(self.folder / array_file(domain), mmap_mode="r")
        if not isinstance(images, np.memmap):
            raise ValueError(f"{self.folder / array_file(domain)} is no plain array file.")
        return images

    def verify(self) -> list[str]:
        """Files whose SHA-256 is not the one written when they were prepared, or that are gone."""
        return damaged_files(self.folder)


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

    What it finds is compared with the checksums that were written with it; damaged, it is made
    anew. `open_store` reads no pixels and compares nothing.

    `root`: the data set's folder, None to look for it (see `acquire.resolve_root`). `say` hears
    one line per stage, and how far it is where no terminal shows that; `progress` hears (images
    done, images in all). The same manifest, images and size give the same bytes, also where an
    earlier call was interrupted: the parts that it had done are taken over, if `root` and the
    table of samples are the same. Nothing half-prepared is ever taken for a store.

    Raises `PreparationError`, whose ``problems`` names every file, table row and count that is
    not as the manifest says, or says that the disk is full.
    """
    tell = say or (lambda line: None)
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, found {size}.")
    folder = _folder(manifest, size, data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if _is_prepared(folder, manifest, size, tell):
        return open_store(manifest, size=size, data_dir=data_dir)
    with alone(folder.parent / f".{folder.name}.lock", tell, f"preparing {folder}"):
        if _is_prepared(folder, manifest, size, tell):
            return open_store(manifest, size=size, data_dir=data_dir)
        layout = layout_functions(manifest.layout.kind)
        where = resolve_root(manifest, root, data_dir) if layout.needs_root else data_dir
        samples = _table(layout.list_samples(manifest, where))
        check_counts(manifest, samples)
        if not manifest.expected:
            tell(f"The manifest expects no counts; found: {_counts(samples)}")
        tell(f"Preparing {len(samples)} images of {manifest.name} at {size} px")
        partial = folder.with_name(f".{folder.name}.partial")
        given = Preparation(manifest, where, samples, size)
        fill_store(given, partial, say=tell, progress=progress)
        if folder.exists():
            shutil.rmtree(folder)  # damaged, and until now perhaps of use to somebody
        os.replace(partial, folder)
    tell(f"Prepared {len(samples)} images: {folder}")
    return open_store(manifest, size=size, data_dir=data_dir)


def _is_prepared(folder: Path, manifest: Manifest, size: int, tell: Say) -> bool:
    if not (folder / "store.json").is_file():
        return False
    called = f"{manifest.name} is already prepared at {size} px: {folder}"
    damaged = damaged_files(folder)
    if damaged:
        tell(f"{called}, but not as it was written: {', '.join(damaged)}. It is prepared anew")
        return False
    tell(f"{called} (delete that folder to prepare it anew)")
    return True


def open_store(manifest: Manifest, *, size: int, data_dir: Path = DATA_FOLDER) -> Store:
    """The prepared store; raises `NotPrepared` with the command that makes it."""
    folder = _folder(manifest, size, data_dir)
    if not (folder / "store.json").is_file():
        raise NotPrepared(
            f"Data set {manifest.name!r} is not prepared at {size} px (looked for {folder}). "
            f"Run: socketlab data prepare {manifest.name} --size {size}"
            + ("" if data_dir == DATA_FOLDER else f" --data-dir {data_dir}")
        )
    samples = pd.read_parquet(folder / SAMPLES_FILE)
    try:
        check_counts(manifest, samples)
    except PreparationError as error:
        raise PreparationError(
            f"What is prepared in {folder} does not have the counts of the manifest of "
            f"{manifest.name!r}: delete that folder and prepare again",
            error.problems,
        ) from error
    return Store(manifest, folder, size, samples)


def check_counts(manifest: Manifest, samples: pd.DataFrame) -> None:
    """Raise `PreparationError` with each domain, class and split whose count is not expected.

    A manifest without expected counts takes what there is, but not a domain without an image. One
    with `unknown_labels` takes that many images more.
    """
    if not manifest.expected:
        empty = sorted(set(manifest.domains) - set(samples["domain"]))
        if empty:
            raise PreparationError(f"Data set {manifest.name!r} has domains without images", empty)
        return
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
    if problems and not _explained(manifest, found, expected):
        raise PreparationError(
            f"Data set {manifest.name!r} does not have the counts of its manifest", problems
        )


def _explained(manifest: Manifest, found: Counts, expected: Counts) -> bool:
    """Whether nothing is missing, and no domain has more beyond what `unknown_labels` allows."""
    if any(found.get(key, 0) < count for key, count in expected.items()):
        return False
    more: Counter[str] = Counter()
    for key, count in found.items():
        more[key[0]] += count - expected.get(key, 0)
    allowed = manifest.unknown_labels
    return all(count <= allowed.get(sensor_of(domain), 0) for domain, count in more.items())


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
            name: domain.model_dump(mode="json", exclude={"range", "unit", "intrinsics"})
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


def _counts(samples: pd.DataFrame) -> str:
    classes = samples.groupby("domain")["class"].agg(["size", "nunique"])
    return ", ".join(
        f"{domain} {images} images of {names} classes"
        for domain, images, names in classes.itertuples()
    )
