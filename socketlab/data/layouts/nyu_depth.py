"""NYU Depth v2, the labelled set: one MATLAB file of 1,449 pairs, and its split in another.

``nyu_depth_v2_labeled.mat`` is HDF5 and so holds every array transposed: images [N, 3, W, H]
(uint8), depths and rawDepths [N, W, H] (float32, metres), sceneTypes [1, N] (references to
characters). ``splits.mat`` counts from one.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from socketlab.data.domain_schema import Domain
from socketlab.data.layout_schema import NyuDepthLayout
from socketlab.data.layouts import files
from socketlab.data.layouts.corrections import correct
from socketlab.data.layouts.image_files import Array
from socketlab.data.layouts.records import Arrays, PreparationError, SampleRecord
from socketlab.data.schema import Manifest, Progress, sensor_of

if TYPE_CHECKING:
    import h5py

VERSION = "1"

IMAGES_FILE = "nyu_depth_v2_labeled.mat"
SPLITS_FILE = "splits.mat"

ROWS, COLUMNS = slice(44, 471), slice(40, 601)
"""Where the toolbox's get_projection_mask has depth, 427 x 561 pixels: without the white border."""

CACHE_BYTES = 256 * 2**20
"""Of unpacked chunks per array. A chunk may hold strips of many images, and images come in order:
kept, it is unpacked once, not once for each of them."""

MILLIMETRES_PER_METRE = 1000.0


def list_samples(manifest: Manifest, root: Path) -> list[SampleRecord]:
    """Both halves of each pair, with the official split and the class in the authors' words.

    A sample's path is ``nyu_depth_v2_labeled.mat#<index from 0>``. Raises `PreparationError` with
    all of: files or arrays that are missing, unknown classes, images in none or both of the splits.
    """
    layout = _layout(manifest)
    for name, domain in manifest.domains.items():
        if domain.modality == "depth" and (domain.bits, domain.scale) != (16, 0.001):
            raise ValueError(
                f"Domain {name!r}: metres are read as whole millimetres; write bits: 16 and "
                f"scale: 0.001, found {domain.bits} and {domain.scale:g}."
            )
    missing = [
        f"{root / name} is missing"
        for name in (IMAGES_FILE, SPLITS_FILE)
        if not (root / name).is_file()
    ]
    if missing:
        raise _wrong(manifest, root, missing)
    classes, problems = _classes(root / IMAGES_FILE, layout.depth)
    if problems:
        raise _wrong(manifest, root, problems)
    splits = _splits(root / SPLITS_FILE, len(classes), problems)
    problems += [
        f"class {name!r} ({classes.count(name)} images) is no class of the manifest"
        for name in sorted(set(classes) - set(manifest.class_names))
    ]
    if problems:
        raise _wrong(manifest, root, problems)
    return [
        SampleRecord(
            id=f"{domain}/{index:04}",
            class_name=class_name,
            domain=domain,
            split=splits[index],
            pair_id=f"{sensor_of(domain)}/{index:04}",
            path=f"{IMAGES_FILE}#{index}",
        )
        for domain in manifest.domains
        for index, class_name in enumerate(classes)
    ]


def fill(
    manifest: Manifest,
    root: Path,
    samples: pd.DataFrame,
    arrays: Arrays,
    progress: Progress | None,
) -> list[str]:
    """Read, crop and resize every image, as `files.fill`; the file is open only meanwhile."""
    with _open(root / IMAGES_FILE) as file:
        read = Reader(file, _layout(manifest).depth)
        return files.fill(manifest, root, samples, arrays, progress, read=read)


class Reader:
    """Frames of the open file: uint8 [427, 561, 3], or depth as uint16 [427, 561] millimetres."""

    def __init__(self, file: h5py.File, depth: str) -> None:
        # opened once: the cache of unpacked chunks is an open array's
        self._arrays = {"rgb": file["images"], "depth": file[depth]}
        self._lock = Lock()

    def __call__(self, root: Path, path: str, domain: Domain) -> Array:
        """The frame of the sample at `path`; 0 is depth without a reading.

        Raises:
            ValueError: for a modality that the file does not hold.
        """
        if domain.modality not in self._arrays:
            raise ValueError(f"the file holds rgb and depth, no {domain.modality}")
        index = int(path.rpartition("#")[2])
        # h5py reads one thing at a time whatever one does; so waiting threads do not hold its lock
        with self._lock:
            stored = self._arrays[domain.modality][index]
        frame = np.ascontiguousarray(stored.T[ROWS, COLUMNS])
        return frame if domain.modality == "rgb" else correct(_millimetres(frame), domain)


def _millimetres(metres: Array) -> Array:
    value = np.nan_to_num(metres * MILLIMETRES_PER_METRE, nan=0.0)
    return np.clip(np.rint(value), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _open(path: Path) -> h5py.File:
    import h5py

    return h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES, rdcc_nslots=100_003)


def _classes(path: Path, depth: str) -> tuple[list[str], list[str]]:
    """The class of every image, and problems with the file."""
    try:
        file = _open(path)
    except OSError as error:
        return [], [f"{path} is no HDF5 file, or cut short ({error}); fetch it again"]
    with file:
        names = ("images", depth, "sceneTypes")
        missing = [f"{path} holds no array {name!r}" for name in names if name not in file]
        if missing:
            return [], missing
        references = np.asarray(file["sceneTypes"]).reshape(-1)
        classes = ["".join(map(chr, np.asarray(file[ref]).reshape(-1))) for ref in references]
        shapes = {"images": (len(classes), 3, 640, 480), depth: (len(classes), 640, 480)}
        problems = [
            f"{path}: {name} should be {wanted}, as MATLAB stores it, found {file[name].shape}"
            for name, wanted in shapes.items()
            if file[name].shape != wanted
        ]
    return classes, problems


def _splits(path: Path, images: int, problems: list[str]) -> list[str]:
    from scipy.io import loadmat

    found: dict[str, Any] = loadmat(path)
    splits: list[list[str]] = [[] for _ in range(images)]
    for split, name in (("train", "trainNdxs"), ("test", "testNdxs")):
        if name not in found:
            problems.append(f"{path} holds no array {name!r}")
            return []
        for number in found[name].reshape(-1).tolist():
            if 1 <= number <= images:
                splits[number - 1].append(split)
            else:
                problems.append(f"{path}: {name} names image {number}, of 1 to {images}")
    for number, names in enumerate(splits, start=1):
        if len(names) != 1:
            named = " and ".join(names) or "no split"
            problems.append(f"{path}: image {number} is in {named}")
    return ["".join(names) for names in splits]


def _wrong(manifest: Manifest, root: Path, problems: list[str]) -> PreparationError:
    return PreparationError(f"Data set {manifest.name!r} in {root} is not as expected", problems)


def _layout(manifest: Manifest) -> NyuDepthLayout:
    if not isinstance(manifest.layout, NyuDepthLayout):
        raise ValueError(
            f"Layout of {manifest.name!r} is {manifest.layout.kind!r}, not 'nyu_depth_v2'."
        )
    return manifest.layout
