"""Filling the arrays of a store part by part, so that what was interrupted goes on where it was.

Until it is whole, a store is the folder ``.<name>.partial``. Its arrays have their full size from
the beginning. After each part they are written to disk, and only then ``progress.json`` says that
the part is done: which groups of partners, and of which preparation.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from socketlab.data.layouts import layout_functions
from socketlab.data.layouts.records import PreparationError, partner_keys
from socketlab.data.layouts.threads import cores
from socketlab.data.pace import Pace
from socketlab.data.schema import Manifest, Progress, Say
from socketlab.data.store_files import (
    SAMPLES_FILE,
    STORE_VERSION,
    array_file,
    checksums,
    dtype_of,
    library_versions,
    open_array,
)
from socketlab.data.whole_files import replace_file

PROGRESS_FILE = "progress.json"
GROUPS_PER_PART = 512
# pages that were written stay in memory until the part is done
BYTES_PER_PART = 64 * 2**20
GROUPS_PER_CORE = 16

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Preparation:
    """One data set on its way to one size: `samples` is its whole table, `root` its images."""

    manifest: Manifest
    root: Path
    samples: pd.DataFrame
    size: int

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Per domain the shape of its array: [N, S, S, 3] for rgb, else [N, S, S]."""
        counts = self.samples["domain"].value_counts()
        return {
            name: (
                int(counts.get(name, 0)),
                self.size,
                self.size,
                *((3,) if domain.modality == "rgb" else ()),
            )
            for name, domain in self.manifest.domains.items()
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(
            prod(shape) * np.dtype(dtype_of(self.manifest.domains[name])).itemsize
            for name, shape in self.shapes.items()
        )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for the parts of two calls to belong together."""
        table = self.samples.to_csv(index=False).encode()
        return {
            "store_version": STORE_VERSION,
            "size": self.size,
            "samples_sha256": hashlib.sha256(table).hexdigest(),
            "root": str(self.root.resolve()),
            "versions": library_versions(),
        }


def fill_store(
    given: Preparation, folder: Path, *, say: Say, progress: Progress | None = None
) -> None:
    """Fill `folder` with the arrays, ``samples.parquet`` and ``store.json``, and go on if it can.

    Whoever calls holds the lock of `folder`. An interruption of any sort leaves the parts that
    are done; the next call finds them if `given` is the same, else it begins anew.

    Raises `PreparationError` with every problem in the images, after all of them were looked at,
    and where the disk is full.
    """
    numbers = _group_numbers(given.samples)
    with _disk_space_named(folder):
        done = _begin(given, folder, int(numbers.max(initial=-1)) + 1)
        before = int(done[numbers].sum())
        if before:
            say(f"Going on after an interruption: {before:,} images are there ({folder})")
        pace = Pace(len(numbers), before, progress=progress, say=say)
        try:
            problems = _fill_parts(given, folder, numbers, done, pace)
            if problems:
                kept = f"; the parts without one are kept in {folder}" if done.any() else ""
                heading = f"Data set {given.manifest.name!r} cannot be prepared{kept}"
                raise PreparationError(heading, problems)
        except BaseException:
            if not done.any():
                shutil.rmtree(folder)
            raise
        _finish(given, folder)


def _group_numbers(samples: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Per sample the number of its group of partners. Groups follow each other as paths do.

    Neighbouring files are read fastest from a disk, and scenes of one class are drawn fastest.
    """
    keys = pd.Index(partner_keys(samples))
    first = samples["path"].groupby(keys.to_numpy()).min().sort_values(kind="stable")
    return first.index.get_indexer(keys)


def _begin(given: Preparation, folder: Path, groups: int) -> Flags:
    """Which groups are done in `folder`; where it is of no use it is made anew, with none done."""
    try:
        found = json.loads((folder / PROGRESS_FILE).read_text())
        shapes = {name: open_array(folder, name, "r").shape for name in given.shapes}
        if found["identity"] == given.identity and shapes == given.shapes:
            flags = np.frombuffer(bytes.fromhex(found["done"]), np.uint8)
            return np.unpackbits(flags, count=groups).astype(bool)
    except (FileNotFoundError, ValueError, KeyError):
        pass  # killed before the first part was begun, or by another release
    if folder.exists():
        shutil.rmtree(folder)
    needed, free = given.nbytes, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} are free"
        )
    folder.mkdir()
    try:
        for name, shape in given.shapes.items():
            _allocate(folder / array_file(name), dtype_of(given.manifest.domains[name]), shape)
    except OSError:
        shutil.rmtree(folder)
        raise
    done = np.zeros(groups, bool)
    _save(given, folder, done)
    return done


def _allocate(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # writing to a mapped file on a full disk would kill the process without a word
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fill_parts(
    given: Preparation,
    folder: Path,
    numbers: np.ndarray[Any, np.dtype[np.intp]],
    done: Flags,
    pace: Pace,
) -> list[str]:
    """Fill every part that is not done, and mark it in `done` and on disk if nothing is wrong."""
    fill = layout_functions(given.manifest.layout.kind).fill
    waiting = np.flatnonzero(~done)
    most = BYTES_PER_PART * len(done) // max(given.nbytes, 1)
    length = max(GROUPS_PER_CORE * cores(), min(GROUPS_PER_PART, most))
    problems: list[str] = []
    ready = int(done[numbers].sum())
    for part in (waiting[at : at + length] for at in range(0, len(waiting), length)):
        samples = given.samples[np.isin(numbers, part)]
        # opened for each part: closing them is what gives their memory back
        arrays = {name: open_array(folder, name, "r+") for name in given.shapes}
        before = ready

        def step(images: int, _: int, before: int = before) -> None:
            pace.step(before + images)

        found = fill(given.manifest, given.root, samples, arrays, step)
        ready += len(samples)
        problems += found
        if not found:
            for array in arrays.values():
                array.flush()
            done[part] = True
            _save(given, folder, done)
    return problems


def _save(given: Preparation, folder: Path, done: Flags) -> None:
    record = {"identity": given.identity, "done": np.packbits(done).tobytes().hex()}
    replace_file(folder / PROGRESS_FILE, json.dumps(record).encode())


def _finish(given: Preparation, folder: Path) -> None:
    given.samples.to_parquet(folder / SAMPLES_FILE, index=False)
    files = [*(array_file(name) for name in given.shapes), SAMPLES_FILE]
    record = {
        "name": given.manifest.name,
        "manifest_sha256": given.manifest.digest(),
        "size": given.size,
        "store_version": STORE_VERSION,
        "images": {name: shape[0] for name, shape in given.shapes.items()},
        "sha256": checksums(folder, files),
        "versions": library_versions(),
    }
    replace_file(folder / "store.json", (json.dumps(record, indent=2) + "\n").encode())
    (folder / PROGRESS_FILE).unlink()


@contextmanager
def _disk_space_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PreparationError(
            f"No space for the prepared images in {folder.parent}. Free some, or give another "
            "folder (--data-dir), and run the same again: it goes on where it was",
            [error.strerror or str(error)],
        ) from error
