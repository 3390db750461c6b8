"""Image files in folders, part by part: ``bedroom/0055_rgb.jpg``, ``rgb/0055.png``, ...

Files of one sensor that agree in class, set and id are partners, within their part. Where a part
has both a class of its own and a table, the table names the classes, and images without a row
have the part's class and split: `unlabelled`, as a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from socketlab.data.layout_schema import FolderPart, PairedFoldersLayout
from socketlab.data.layouts.folder_files import (
    PLACE,
    Key,
    class_folders,
    file_of,
    find_files,
)
from socketlab.data.layouts.folder_tables import Named, read_table
from socketlab.data.layouts.records import PreparationError, SampleRecord
from socketlab.data.layouts.splitting import drawn_splits
from socketlab.data.schema import UNLABELLED, Manifest, sensor_of

VERSION = "2"


@dataclass(frozen=True)
class _Part:
    """A part with what was found of it: its files by domain, and what each image is called."""

    says: FolderPart
    folder: Path
    files: dict[str, dict[Key, Path]]
    named: Named


def list_samples(manifest: Manifest, root: Path) -> list[SampleRecord]:
    """The samples of all parts, every one with its partners, a known class and a split.

    A path is relative to `root` where it lies below it, else absolute.

    Raises `PreparationError` with all of: missing folders, unknown class folders, class folders
    that are missing, patterns without files, files without partner or in two parts, table rows
    without files, files without table row, ids written twice, unknown classes and splits.
    """
    says = _layout(manifest).parts
    folders = [root / Path(part.folder).expanduser() for part in says]
    problems = _folder_problems(manifest, says, folders)
    parts = [
        _find(manifest, part, folder, problems)
        for part, folder in zip(says, folders, strict=True)
        if folder.is_dir()
    ]
    problems += _in_two_parts(parts)
    if problems:
        raise PreparationError(f"Data set {manifest.name!r} in {root} is not as expected", problems)
    public = {sensor: _public_ids(manifest, sensor, parts) for sensor in manifest.sensors}
    return [
        SampleRecord(
            id=f"{domain}/{public[sensor_of(domain)][number, key]}",
            class_name=part.named[key][0],
            domain=domain,
            split=part.named[key][1],
            pair_id=f"{sensor_of(domain)}/{public[sensor_of(domain)][number, key]}",
            path=(path.relative_to(root) if path.is_relative_to(root) else path).as_posix(),
        )
        for number, part in enumerate(parts)
        for domain, files in part.files.items()
        for key, path in sorted(files.items())
    ]


def _find(manifest: Manifest, says: FolderPart, folder: Path, problems: list[str]) -> _Part:
    classes = {*manifest.class_names, UNLABELLED}
    files: dict[str, dict[Key, Path]] = {domain: {} for domain in says.patterns}
    taken: set[Path] = set()
    # `1_rgb.png` fits `{id}.png` too: it is of the pattern that says more of its name
    for domain, pattern in sorted(
        says.patterns.items(), key=lambda each: -len(PLACE.sub("", each[1]))
    ):
        found = find_files(folder, pattern, classes)
        files[domain] = {key: path for key, path in found.items() if path not in taken}
        taken |= set(found.values())
    for domain, pattern in says.patterns.items():
        if not files[domain]:
            problems.append(f"{folder / pattern} (of {domain}) stands for no file")
    if says.partners == "required":
        problems += _without_partner(says, files)
    present = set().union(*files.values())
    if says.table is None:
        named = _by_folder(says, present)
    else:
        names = (says.class_name, says.split) if says.class_name else None
        named = read_table(folder / says.table, manifest, present, problems, names=names)
    return _Part(says, folder, files, named)


def _by_folder(says: FolderPart, present: Collection[Key]) -> Named:
    """The class that the part or its folders say, and the part's split or a share of each class."""
    if not says.test_share:
        return {key: (says.class_name or key.class_name, says.split) for key in present}
    named: Named = {}
    for folder, keys in groupby(sorted(present), key=lambda key: key.class_name):
        of_class = {str(key): key for key in keys}
        for text, split in drawn_splits(of_class, says.test_share).items():
            named[of_class[text]] = (says.class_name or folder, split)
    return named


def _without_partner(says: FolderPart, files: dict[str, dict[Key, Path]]) -> list[str]:
    problems = []
    for _, group in groupby(sorted(files), key=sensor_of):
        # a pattern that finds nothing has been named once already
        domains = [domain for domain in group if files[domain]]
        every = set().union(*(files[domain] for domain in domains))
        for domain in domains:
            for key in sorted(every - files[domain].keys()):
                other = next(d for d in domains if key in files[d])
                missing = file_of(key, says.patterns[domain])
                problems.append(f"{files[other][key]} has no {domain} partner ({missing})")
    return problems


def _folder_problems(
    manifest: Manifest, says: Sequence[FolderPart], folders: Sequence[Path]
) -> list[str]:
    known = {*manifest.class_names, UNLABELLED}
    problems = [
        f"{folder} (folder of part {number}) is missing"
        for number, folder in enumerate(folders, start=1)
        if not folder.is_dir()
    ]
    problems += [
        f"class {part.class_name!r} of part {number} is no class of the manifest"
        for number, part in enumerate(says, start=1)
        if part.class_name is not None and part.class_name not in known
    ]
    found: dict[Path, None] = {}
    places: dict[Path, None] = {}
    wanted = {
        name
        for name in manifest.class_names
        if not manifest.expected or any(by.get(name) for by in manifest.expected.values())
    }
    for part, folder in zip(says, folders, strict=True):
        for pattern in part.patterns.values():
            above, place, _ = (folder / pattern).as_posix().partition("/{class}/")
            if place and "{" not in above:
                places[Path(above)] = None
            found |= dict.fromkeys(class_folders(folder, pattern))
    strangers = [
        path
        for path in found
        if path.name not in known and not any(other.is_relative_to(path) for other in folders)
    ]
    problems += [f"{path} is no class of the manifest" for path in sorted(strangers)]
    elsewhere = {part.class_name for part in says} | {path.name for path in found}
    if places and not any(part.table and part.class_name for part in says):
        problems += [
            f"{next(iter(places)) / name} (class folder) is missing"
            for name in sorted(wanted - elsewhere)
        ]
    return problems


def _in_two_parts(parts: Sequence[_Part]) -> list[str]:
    taken: dict[Path, int] = {}
    problems = []
    for number, part in enumerate(parts, start=1):
        for files in part.files.values():
            for path in files.values():
                if path in taken:
                    problems.append(f"{path} is an image of parts {taken[path]} and {number}")
                taken.setdefault(path, number)
    return problems


def _public_ids(
    manifest: Manifest, sensor: str, parts: Sequence[_Part]
) -> dict[tuple[int, Key], str]:
    """The ids that travel with images: those of the file names where that can be shown.

    The class must not be readable from an id, and an id must be one image's.
    """
    keys = {
        (number, key): part.named[key][0]
        for number, part in enumerate(parts)
        for domain, files in part.files.items()
        if sensor_of(domain) == sensor
        for key in files
    }
    readable = len({key.id for _, key in keys}) == len(keys) and not any(
        class_name in key.id for (_, key), class_name in keys.items()
    )
    if readable:
        return {(number, key): key.id for number, key in keys}
    return {(number, key): _hidden(number, key) for number, key in keys}


def _hidden(number: int, key: Key) -> str:
    return hashlib.sha256(f"{number}/{key}".encode()).hexdigest()[:12]


def _layout(manifest: Manifest) -> PairedFoldersLayout:
    if not isinstance(manifest.layout, PairedFoldersLayout):
        raise ValueError(
            f"Layout of {manifest.name!r} is {manifest.layout.kind!r}, not 'paired_folders'."
        )
    return manifest.layout
