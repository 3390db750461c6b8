"""A folder per class, one file per domain and id: ``bedroom/0055_rgb.jpg``, ``0055_depth.png``."""

from __future__ import annotations

import csv
import glob
import hashlib
import re
from pathlib import Path

import pandas as pd

from socketlab.data.layouts.image_files import UNREADABLE, read_image, resize
from socketlab.data.layouts.records import Arrays, PreparationError, SampleRecord
from socketlab.data.layouts.threads import in_threads
from socketlab.data.schema import Manifest, PairedFoldersLayout, Progress, sensor_of

VERSION = "1"
GROUPS_AT_ONCE = 256

TABLE_COLUMNS = ("id", "class", "split")

Key = tuple[str, str]
"""(class, id as the file names have it)"""


def list_samples(manifest: Manifest, root: Path) -> list[SampleRecord]:
    """The samples under `root`, every one with all partners, a known class and a split.

    Raises `PreparationError` with all of: unknown class folders, class folders that are missing,
    files without partner, table rows without files, files without table row, ids written twice,
    unknown classes and splits.
    """
    layout = _layout(manifest)
    problems = _folder_problems(manifest, root)
    found = {domain: _find(manifest, root, pattern) for domain, pattern in layout.patterns.items()}
    complete: dict[str, set[Key]] = {}
    for sensor in manifest.sensors:
        domains = [domain for domain in found if sensor_of(domain) == sensor]
        every = set().union(*(found[domain] for domain in domains))
        for domain in domains:
            for class_name, key in sorted(every - found[domain].keys()):
                other = next(d for d in domains if (class_name, key) in found[d])
                missing = f"{class_name}/{layout.patterns[domain].format(id=key)}"
                problems.append(
                    f"{found[other][class_name, key]} has no {domain} partner ({missing})"
                )
        complete[sensor] = every
    splits = _splits(manifest, root, set().union(*complete.values()), problems)
    if problems:
        raise PreparationError(f"Data set {manifest.name!r} in {root} is not as expected", problems)
    # the class must not be readable from an id, and an id must be one image's
    readable = all(
        len({key for _, key in keys}) == len(keys)
        and not any(class_name in key for class_name, key in keys)
        for keys in complete.values()
    )
    return [
        SampleRecord(
            id=f"{domain}/{_public(key, readable)}",
            class_name=key[0],
            domain=domain,
            split=splits[key],
            pair_id=f"{sensor_of(domain)}/{_public(key, readable)}",
            path=path,
        )
        for domain, paths in found.items()
        for key, path in sorted(paths.items())
    ]


def _public(key: Key, readable: bool) -> str:
    """The id that travels with an image: the one of the file names where that can be shown."""
    return key[1] if readable else hashlib.sha256("/".join(key).encode()).hexdigest()[:12]


def _folder_problems(manifest: Manifest, root: Path) -> list[str]:
    folders = {path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."}
    known = set(manifest.class_names)
    return [
        *(f"{root / name} is no class of the manifest" for name in sorted(folders - known)),
        *(f"{root / name} (class folder) is missing" for name in sorted(known - folders)),
    ]


def _find(manifest: Manifest, root: Path, pattern: str) -> dict[Key, str]:
    before, after = pattern.split("{id}")
    expression = re.compile(f"{re.escape(before)}([^/]+){re.escape(after)}")
    files: dict[Key, str] = {}
    for class_name in manifest.class_names:
        for path in (root / class_name).glob(f"{glob.escape(before)}*{glob.escape(after)}"):
            match = expression.fullmatch(path.relative_to(root / class_name).as_posix())
            if match and path.is_file():
                files[class_name, match[1]] = path.relative_to(root).as_posix()
    return files


def _splits(
    manifest: Manifest, root: Path, present: set[Key], problems: list[str]
) -> dict[Key, str]:
    table = _layout(manifest).table
    if table is None:
        return dict.fromkeys(present, "all")
    path = root / table
    if not path.is_file():
        problems.append(f"{path} (the table of ids, classes and splits) is missing")
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not set(TABLE_COLUMNS) <= set(reader.fieldnames or ()):
            problems.append(
                f"{path}: needs columns {', '.join(TABLE_COLUMNS)}, "
                f"found {', '.join(reader.fieldnames or ()) or 'none'}"
            )
            return {}
        rows = [tuple(str(row[name] or "") for name in TABLE_COLUMNS) for row in reader]
    splits: dict[Key, str] = {}
    for line, (key, class_name, split) in enumerate(rows, start=2):
        place = f"{path}, line {line}: id {key}"
        if class_name not in manifest.class_names:
            problems.append(f"{place} has the unknown class {class_name!r}")
        elif split not in manifest.splits:
            problems.append(
                f"{place} has the unknown split {split!r}; known: {', '.join(manifest.splits)}"
            )
        elif (class_name, key) in splits:
            problems.append(f"{place} of class {class_name} is there twice")
        elif (class_name, key) not in present:
            problems.append(f"{place} of class {class_name} has no files")
        splits.setdefault((class_name, key), split)
    problems += [f"{path} has no row for {'/'.join(key)}" for key in sorted(present - set(splits))]
    return splits


def fill(
    manifest: Manifest,
    root: Path,
    samples: pd.DataFrame,
    arrays: Arrays,
    progress: Progress | None,
) -> list[str]:
    """Decode and resize every file on all cores; partners must be of one frame size.

    Returns every problem with its file; the arrays are worth nothing when there is one.
    """
    groups = [
        list(zip(group["domain"], group["path"], group["row"], strict=True))
        for _, group in samples.groupby("pair_id", sort=True)
    ]

    def write(group: list[tuple[str, str, int]]) -> list[str]:
        problems: list[str] = []
        frames: dict[str, tuple[int, ...]] = {}
        for domain, path, row in group:
            try:
                image = read_image(root / path, manifest.domains[domain])
            except UNREADABLE as error:
                problems.append(f"{root / path}: {error}")
                continue
            frames[path] = image.shape[:2]
            target = arrays[domain]
            target[row] = resize(image, manifest.domains[domain], target.shape[1])
        if len(set(frames.values())) > 1:
            sizes = " but ".join(
                f"{root / path} is {width} x {height}" for path, (height, width) in frames.items()
            )
            problems.append(f"partners differ in size: {sizes}")
        return problems

    problems: list[str] = []
    done = 0
    results = in_threads(write, groups, at_once=GROUPS_AT_ONCE)
    for group, found in zip(groups, results, strict=True):
        problems += found
        done += len(group)
        if progress is not None:
            progress(done, len(samples))
    return problems


def _layout(manifest: Manifest) -> PairedFoldersLayout:
    if not isinstance(manifest.layout, PairedFoldersLayout):
        raise ValueError(
            f"Layout of {manifest.name!r} is {manifest.layout.kind!r}, not 'paired_folders'."
        )
    return manifest.layout
