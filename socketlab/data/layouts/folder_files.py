"""Which files of a folder a pattern such as ``{class}/{id}_rgb.png`` stands for."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PLACE = re.compile(r"\{(class|set|id)\}")


@dataclass(frozen=True, order=True)
class Key:
    """What partners agree in. `class_name` is what the folder says, "" where none says it."""

    class_name: str
    id: str

    def __str__(self) -> str:
        return f"{self.class_name}/{self.id}" if self.class_name else self.id


def find_files(folder: Path, pattern: str, classes: Collection[str]) -> dict[Key, Path]:
    """The files below `folder` that `pattern` stands for, of known classes only.

    ``{set}`` and ``{id}`` make up the id, with a slash between them, in the pattern's order.
    Hidden files and folders are passed over.
    """
    expression = _expression(pattern, classes)
    files: dict[Key, Path] = {}
    for path in sorted(folder.glob(_glob(pattern))):
        name = path.relative_to(folder).as_posix()
        match = expression.fullmatch(name)
        if match is None or _hidden(name) or not path.is_file():
            continue
        found = match.groupdict()
        image = "/".join(found[place] for place in PLACE.findall(pattern) if place != "class")
        files[Key(found.get("class", ""), image)] = path
    return files


def file_of(key: Key, pattern: str) -> str:
    """The path in the part's folder that `key` has by `pattern`."""
    images = iter(key.id.split("/"))
    return PLACE.sub(lambda match: key.class_name if match[1] == "class" else next(images), pattern)


def class_folders(folder: Path, pattern: str) -> Iterator[Path]:
    """The folders at the place of ``{class}``; nothing where it is only a part of a name."""
    parts = PurePosixPath(pattern).parts
    if "{class}" in parts[:-1]:
        above = "/".join(parts[: parts.index("{class}") + 1])
        for path in sorted(folder.glob(_glob(above))):
            if path.is_dir() and not _hidden(path.relative_to(folder).as_posix()):
                yield path


def _expression(pattern: str, classes: Collection[str]) -> re.Pattern[str]:
    # longest first: `office` must not take the `office_kitchen` of `{class}_{id}`
    known = "|".join(re.escape(name) for name in sorted(classes, key=len, reverse=True))
    pieces = PLACE.split(pattern)
    for number, piece in enumerate(pieces):
        if number % 2:
            pieces[number] = f"(?P<{piece}>{known if piece == 'class' else '[^/]+'})"
        else:
            pieces[number] = re.escape(piece)
    return re.compile("".join(pieces))


def _glob(pattern: str) -> str:
    # one star for neighbours such as {set}{id}: two would stand for any depth of folders
    return "*".join(glob.escape(piece) for piece in re.split(r"(?:\{(?:class|set|id)\})+", pattern))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
