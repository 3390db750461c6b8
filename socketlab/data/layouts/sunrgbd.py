"""SUN RGB-D as its archive unpacks: a folder per sample, below ``SUNRGBD/<sensor>/<set>/...``.

A sample holds ``image/*.jpg``, ``depth/*.png``, ``depth_bfx/*.png`` and its class in
``scene.txt``. One without a class is left out.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from socketlab.data.layout_schema import SunRgbdLayout
from socketlab.data.layouts.records import PreparationError, SampleRecord
from socketlab.data.layouts.splitting import split_of
from socketlab.data.schema import Manifest, sensor_of

VERSION = "1"

ARCHIVE_FOLDER = "SUNRGBD"
SENSORS = ("kv1", "kv2", "realsense", "xtion")
SUFFIXES = {"rgb": ".jpg", "depth": ".png"}

B3DO_BLOCKS = (127, 167, 226, 267, 331, 378, 469, 519, 560, 642, 695, 767, 807)
"""First numbers of new blocks: each is of another class than the image before it."""
NYU_BLOCKS = (
    *(44, 84, 125, 167, 207, 250, 296, 336, 384, 430, 478, 527, 572, 612, 652, 693),
    *(735, 788, 833, 906, 948, 991, 1032, 1075, 1117, 1159, 1201, 1247, 1296, 1341, 1384, 1425),
)
"""First numbers of new blocks: there the official split of NYU Depth v2 changes, so the room."""

SPLIT_SEED = 1010
"""Chosen among 20,000 by counts of labels alone, before anything was trained: a test part near 30 %
of each sensor's common classes and near their frequencies, and no class of 5 images or more without
one to train on."""

DAY = re.compile(r"(\d{4})[-_](\d{1,2})[-_](\d{1,2})[-_]")
NUMBER = re.compile(r"\d+$")


def list_samples(manifest: Manifest, root: Path) -> list[SampleRecord]:
    """The labelled samples below `root` (the folder ``SUNRGBD`` or the one that holds it).

    Where the manifest has all four sensors, its task-relevant classes must be those that all four
    hold. Raises `PreparationError` with all of: missing folders of sensors and samples, unknown
    classes, classes that are task relevant here but not there.
    """
    layout = _layout(manifest)
    base = root / ARCHIVE_FOLDER if (root / ARCHIVE_FOLDER).is_dir() else root
    problems: list[str] = []
    records: list[SampleRecord] = []
    counts: dict[str, Counter[str]] = {}
    for sensor in manifest.sensors:
        if not (base / sensor).is_dir():
            problems.append(
                f"{base / sensor} (the folder of sensor {sensor}) is missing; unpack all of the "
                "archive, or take the sensor's domains out of the manifest"
            )
        counts[sensor] = Counter()
        for folder in _sample_folders(base / sensor):
            class_name = _class_of(folder)
            if class_name:
                counts[sensor][class_name] += 1
                records += _sample(manifest, layout, root, base, folder, class_name, problems)
    problems += _unknown_classes(manifest, counts)
    if not problems and set(SENSORS) == set(counts):
        problems += _other_common_classes(manifest, counts)
    if not problems and not records:
        problems.append(f"{base} holds no sample with a scene.txt")
    if problems:
        raise PreparationError(f"Data set {manifest.name!r} in {root} is not as expected", problems)
    return records


def recording(sample: str) -> str:
    """What a sample must share a split with, from its path below ``SUNRGBD`` alone.

    The place of SUN3D (every scan of it); the day of a time stamp, whatever the sensor, for some
    scenes were taken by three cameras within a minute; else a block of consecutive numbers.

    Raises:
        ValueError: if the path is like none of the archive's.
    """
    sensor, collection, *rest = sample.split("/")
    name = rest[-1] if rest else ""
    number, day = NUMBER.search(name), DAY.search(name)
    if collection == "sun3ddata" and rest:
        return f"{sensor}/{collection}/{rest[0]}"
    if collection in ("b3dodata", "NYUdata") and number:
        blocks = B3DO_BLOCKS if collection == "b3dodata" else NYU_BLOCKS
        return f"{sensor}/{collection}/{bisect.bisect_right(blocks, int(number[0]))}"
    if day:
        return f"{int(day[1]):04}-{int(day[2]):02}-{int(day[3]):02}"
    raise ValueError(
        f"Sample {sample!r} has neither a time stamp nor a place nor a known collection; "
        "take it out of the folder"
    )


def split_of_sample(sample: str, test_share: float) -> str:
    """``train`` or ``test``; this split is ours, the authors' own does not look at sensors."""
    return split_of(f"{SPLIT_SEED}/{recording(sample)}", test_share)


def _sample_folders(folder: Path) -> Iterator[Path]:
    """Every folder that holds an ``image`` folder, at any depth, in sorted order."""
    for path, folders, _ in os.walk(folder):
        if "image" in folders:
            folders.clear()
            yield Path(path)
        folders.sort()


def _class_of(folder: Path) -> str:
    """The class in ``scene.txt``, empty where there is none."""
    path = folder / "scene.txt"
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _sample(
    manifest: Manifest,
    layout: SunRgbdLayout,
    root: Path,
    base: Path,
    folder: Path,
    class_name: str,
    problems: list[str],
) -> list[SampleRecord]:
    sample = folder.relative_to(base).as_posix()
    sensor = sample.split("/")[0]
    # paths of SUN3D name the room, and ids must not show the class: so a digest
    key = hashlib.sha256(sample.encode()).hexdigest()[:12]
    try:
        split = split_of_sample(sample, layout.test_share)
    except ValueError as error:
        problems.append(str(error))
        return []
    records: list[SampleRecord] = []
    for domain, about in manifest.domains.items():
        if sensor_of(domain) != sensor:
            continue
        if about.modality not in SUFFIXES:
            raise ValueError(
                f"Domain {domain!r}: SUN RGB-D holds rgb and depth, no {about.modality}."
            )
        place = folder / ("image" if about.modality == "rgb" else layout.depth)
        suffix = SUFFIXES[about.modality]
        # an unpacking Mac leaves files whose names begin with a dot
        files = sorted(path for path in place.glob(f"*{suffix}") if path.name[0] != ".")
        if len(files) != 1:
            problems.append(f"{place} should hold one {suffix} file, found {len(files)}")
            continue
        path = files[0].relative_to(root).as_posix()
        records.append(
            SampleRecord(f"{domain}/{key}", class_name, domain, split, f"{sensor}/{key}", path)
        )
    return records


def _unknown_classes(manifest: Manifest, counts: dict[str, Counter[str]]) -> list[str]:
    found = sum(counts.values(), Counter[str]())
    return [
        f"class {name!r} ({found[name]} samples) is no class of the manifest; "
        "add it to task_irrelevant"
        for name in sorted(found.keys() - set(manifest.class_names))
    ]


def _other_common_classes(manifest: Manifest, counts: dict[str, Counter[str]]) -> list[str]:
    common = set.intersection(*(set(count) for count in counts.values()))
    stated = set(manifest.classes.task_relevant)
    problems = [
        f"class {name!r} is in all four sensors, but not task relevant in the manifest"
        for name in sorted(common - stated)
    ]
    for name in sorted(stated - common):
        missing = ", ".join(sensor for sensor in counts if not counts[sensor][name])
        problems.append(f"class {name!r} is task relevant in the manifest, but not in {missing}")
    return problems


def _layout(manifest: Manifest) -> SunRgbdLayout:
    if not isinstance(manifest.layout, SunRgbdLayout):
        raise ValueError(f"Layout of {manifest.name!r} is {manifest.layout.kind!r}, not 'sunrgbd'.")
    return manifest.layout
