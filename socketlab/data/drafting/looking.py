"""Look at a folder of images: which patterns its files follow, and what they hold."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from socketlab.data.domain_schema import Modality
from socketlab.data.drafting.names import (
    IMAGE_ENDINGS,
    NamedFile,
    NamedPart,
    are_recordings,
    image_files,
    named_parts,
)
from socketlab.data.drafting.pixels import Kind, Look, look_at, sample_of
from socketlab.data.layouts.folder_tables import TABLE_COLUMNS
from socketlab.data.picture_file import UNREADABLE, kind_of
from socketlab.data.schema import UNLABELLED

Folders = Literal["classes", "recordings"]


class LookError(ValueError):
    """A folder that no manifest can describe as it is; the message says what to change."""


@dataclass(frozen=True)
class FoundPattern:
    """Files of one pattern: `modality` is None where neither name nor colour tells it."""

    pattern: str
    modality: Modality | None
    kind: Kind
    keys: frozenset[tuple[tuple[str, ...], str]]
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class FoundPart:
    """Files below one folder: `classes` are the names of its class folders, none without them."""

    folder: Path
    split: str | None
    table: str | None
    classes: tuple[str, ...]
    patterns: tuple[FoundPattern, ...]

    @property
    def images(self) -> int:
        """How many files the patterns stand for."""
        return sum(len(pattern.keys) for pattern in self.patterns)


@dataclass(frozen=True)
class Found:
    """All that was seen, and in `notes` what was passed over, a sentence each."""

    folder: Path
    parts: tuple[FoundPart, ...]
    notes: tuple[str, ...]


def look(folder: Path, folders: Folders | None = None) -> Found:
    """The parts of a data set below `folder`: a sample of the files of each pattern is read.

    `folders`: what folders of images stand for, where their names do not say it.

    Raises `LookError` for no image at all, for images in more than two levels of folders, for
    colour and grey under one pattern, and for files that cannot be read or that no domain holds.
    """
    if not folder.is_dir():
        raise LookError(f"{folder} is no folder. Correct the path.")
    paths, others = image_files(folder)
    if not paths:
        endings = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5))
        raise LookError(
            f"{folder} holds no image ({', '.join(IMAGE_ENDINGS)}); found {endings or 'nothing'}. "
            "Name the folder above the images, or unpack archives first."
        )
    notes: list[str] = []
    parts = [_part(folder, part, folders, notes) for part in named_parts(paths)]
    others.pop(".csv", None)
    if others:
        listed = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5))
        notes.append(f"Passed over, for they are no images: {listed}.")
    return Found(folder, tuple(parts), tuple(notes))


def _part(root: Path, named: NamedPart, folders: Folders | None, notes: list[str]) -> FoundPart:
    folder = root / named.folder
    groups: dict[tuple[tuple[str, ...], str, str], list[NamedFile]] = defaultdict(list)
    for file in named.files:
        groups[file.shape].append(file)
    kinds = {shape: _kinds(folder, files) for shape, files in groups.items()}
    if len({kind for found in kinds.values() for kind in found.values()}) > 1:
        groups = _told_apart(groups, kinds)
    depth = {len(file.levels) for files in groups.values() for file in files}
    if len(depth) > 1:
        raise LookError(f"{folder}: files of one sort lie in {sorted(depth)} levels of folders.")
    files = [file for group in groups.values() for file in group]
    places = _places(folder, files, folders, notes)
    classes: list[str] = []
    if "{class}" in places:
        level = places.index("{class}")
        classes = sorted({file.levels[level] for file in files} - {UNLABELLED})
    return FoundPart(
        folder,
        named.split,
        _table(folder, notes),
        tuple(classes),
        tuple(_pattern(folder, group, places) for group in groups.values()),
    )


def _kinds(folder: Path, files: Sequence[NamedFile]) -> dict[tuple[str, ...], Kind]:
    """Colour or grey, for each combination of folders; the head of one file of each is read."""
    firsts: dict[tuple[str, ...], NamedFile] = {}
    for file in files:
        firsts.setdefault(file.levels, file)
    try:
        return {
            levels: "colour" if kind_of(folder / file.path) == "colour" else "grey"
            for levels, file in firsts.items()
        }
    except UNREADABLE as error:
        raise LookError(f"{folder}: an image cannot be read: {error}") from error


def _told_apart(
    groups: dict[tuple[tuple[str, ...], str, str], list[NamedFile]],
    kinds: dict[tuple[tuple[str, ...], str, str], dict[tuple[str, ...], Kind]],
) -> dict[tuple[tuple[str, ...], str, str], list[NamedFile]]:
    """The groups with folders such as ``left/`` and ``kinect/``, which are of one kind each.

    They say the modality without a word for it, so they are part of the pattern.
    """
    count = max(len(levels) for found in kinds.values() for levels in found)
    for level in range(count):
        by_name: dict[str, set[Kind]] = defaultdict(set)
        for found in kinds.values():
            for levels, kind in found.items():
                by_name[levels[level]].add(kind)
        if len(by_name) > 1 and all(len(found) == 1 for found in by_name.values()):
            again: dict[tuple[tuple[str, ...], str, str], list[NamedFile]] = defaultdict(list)
            for files in groups.values():
                for file in files:
                    moved = _as_pattern(file, level)
                    again[moved.shape].append(moved)
            return again
    return groups


def _as_pattern(file: NamedFile, level: int) -> NamedFile:
    place = [row for row, name in enumerate(file.folders) if not name][level]
    folders = list(file.folders)
    folders[place] = file.levels[level]
    levels = file.levels[:level] + file.levels[level + 1 :]
    return replace(file, folders=tuple(folders), levels=levels)


def _places(
    folder: Path, files: Sequence[NamedFile], folders: Folders | None, notes: list[str]
) -> list[str]:
    """What each level of folders stands for: a name that all share, {class} or {set}."""
    levels = [sorted(set(names)) for names in zip(*(file.levels for file in files), strict=True)]
    places = [names[0] if len(names) == 1 else "" for names in levels]
    open_levels = [row for row, place in enumerate(places) if not place]
    if len(open_levels) > 2:
        raise LookError(
            f"{folder} holds images in {len(open_levels)} levels of folders, e.g. "
            f"{files[0].path}. A pattern has a class and a set: look at one of the inner folders, "
            "or join two levels into one."
        )
    recordings = [row for row in open_levels if folders is None and are_recordings(levels[row])]
    if folders == "recordings":
        recordings = open_levels[-1:]
    if len(open_levels) == 2 and len(recordings) != 1:
        # the inner folder names a class where several outer ones hold it
        pairs = {tuple(file.levels[row] for row in open_levels) for file in files}
        repeated = len({second for _, second in pairs}) < len(pairs)
        recordings = [open_levels[0] if repeated else open_levels[1]]
    for row in open_levels:
        places[row] = "{set}" if row in recordings else "{class}"
        shown = ", ".join(levels[row][:4]) + (", ..." if len(levels[row]) > 4 else "")
        meant = "recordings, part of the id" if row in recordings else "classes"
        other = "classes" if row in recordings else "recordings"
        notes.append(
            f"{len(levels[row])} folders of {folder} are taken as {meant} ({shown}); "
            f"--folders {other} takes them as {other}."
        )
    return places


def _pattern(folder: Path, files: Sequence[NamedFile], places: Sequence[str]) -> FoundPattern:
    first = files[0]
    levels = iter(places)
    parts = [name or next(levels) for name in first.folders]
    pattern = "/".join([*parts, f"{first.before}{{id}}{first.after}"])
    looks = tuple(_look(path) for path in sample_of([folder / file.path for file in files]))
    kinds = {one.kind: one.path for one in looks}
    if len(kinds) > 1:
        raise LookError(
            f"{folder / pattern} stands for colour ({kinds['colour']}) and for grey "
            f"({kinds['grey']}). Give each its own folder or ending."
        )
    kind = looks[0].kind
    says = {file.modality for file in files}
    modality = says.pop() if len(says) == 1 else None
    if kind == "colour" and modality in ("depth", "nir"):
        raise LookError(
            f"{looks[0].path} is named {modality}, but holds colour. Export the sensor's numbers "
            "as one channel of 8 or 16 bits: a colour map cannot be undone."
        )
    if kind == "grey" and modality == "rgb":
        raise LookError(
            f"{looks[0].path} is named rgb, but holds one channel. Rename it if it is depth or "
            "nir; a source camera needs colour."
        )
    keys = frozenset((file.levels, file.id) for file in files)
    return FoundPattern(pattern, "rgb" if kind == "colour" else modality, kind, keys, looks)


def _look(path: Path) -> Look:
    try:
        return look_at(path)
    except ValueError as error:
        raise LookError(str(error)) from error


def _table(folder: Path, notes: list[str]) -> str | None:
    """The CSV file of the folder that names ids, classes and splits; notes say of all others."""
    found: str | None = None
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
        if found is None and set(TABLE_COLUMNS) <= set(columns):
            found = path.name
        else:
            notes.append(
                f"{path} is not used: columns {', '.join(columns) or 'none'}. A table has the "
                f"columns {', '.join(TABLE_COLUMNS)}, and a part has one table."
            )
    return found
