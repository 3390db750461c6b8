"""What the names of image files say: modality, id, and which folders are parts of a data set.

Imports no torch.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from socketlab.data.domain_schema import Modality

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")

MODALITY_WORDS: dict[str, Modality | None] = {
    **dict.fromkeys(("rgb", "color", "colour", "vis", "visible"), "rgb"),
    **dict.fromkeys(("depth", "depths"), "depth"),
    **dict.fromkeys(("nir", "ir", "infrared"), "nir"),
    # these say that it is a picture, and not of what
    **dict.fromkeys(("image", "images", "img", "photo", "photos", "frame", "frames"), None),
}
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
PART_WORDS = (
    *("pairs", "paired", "source", "target", "ti", "tr"),
    *("labelled", "labeled", "unlabelled", "unlabeled"),
)
CLASS_WORDS = ("class", "category", "label")

_WORDS = "|".join(sorted(MODALITY_WORDS, key=len, reverse=True))
_MORE = r"(?:[_\-. ](?:raw|registered|aligned|filled|map|image|img|left|right))*"
_AFTER = re.compile(rf"(.+?)([_\-. ]({_WORDS}){_MORE})", re.IGNORECASE)
_GLUED = re.compile(rf"(.*\d)(({_WORDS}))", re.IGNORECASE)
_BEFORE = re.compile(rf"(({_WORDS}){_MORE}[_\-. ]|({_WORDS})(?=\d))(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class NamedFile:
    """An image file by its name.

    `folders` holds each folder's name where it says the modality (``rgb/``), "" elsewhere;
    `levels` the names of the others. The file is called `before` + `id` + `after`.
    """

    path: PurePosixPath
    folders: tuple[str, ...]
    levels: tuple[str, ...]
    before: str
    id: str
    after: str
    modality: Modality | None

    @property
    def shape(self) -> tuple[tuple[str, ...], str, str]:
        """What files of one pattern have in common."""
        return self.folders, self.before, self.after


@dataclass(frozen=True)
class NamedPart:
    """Files that one part of a manifest can hold: below one folder, equally deep, of one split."""

    folder: PurePosixPath
    split: str | None
    files: tuple[NamedFile, ...]


def image_files(folder: Path) -> tuple[list[PurePosixPath], Counter[str]]:
    """The image files below `folder`, sorted, and how many others there are, by ending.

    Hidden files and folders are passed over.
    """
    found: list[PurePosixPath] = []
    others: Counter[str] = Counter()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                continue
            path = PurePosixPath((Path(place) / name).relative_to(folder).as_posix())
            if path.suffix.lower() in IMAGE_ENDINGS:
                found.append(path)
            else:
                others[path.suffix.lower() or "without ending"] += 1
    return found, others


def named_parts(files: Iterable[PurePosixPath]) -> list[NamedPart]:
    """`files` by part, in the order of the folders; paths in a part are relative to its folder."""
    return list(_parts(list(files), PurePosixPath(), None))


def are_recordings(names: Iterable[str]) -> bool:
    """Whether folder names are numbered, ``seq01`` or ``2024-05-17``, and not names of classes."""
    names = set(names)
    bare = {re.sub(r"[\d_\-.: T]+", "", name).lower() for name in names}
    numbered = all(any(sign.isdigit() for sign in name) for name in names)
    return numbered and len(bare) == 1 and not bare & set(CLASS_WORDS)


def read_name(path: PurePosixPath) -> NamedFile:
    """What the name of one file, and of the folders that it is in, say."""
    before, image, after, word = "", path.stem, "", ""
    if match := _AFTER.fullmatch(path.stem) or _GLUED.fullmatch(path.stem):
        image, after, word = match[1], match[2], match[3]
    elif match := _BEFORE.fullmatch(path.stem):
        before, image, word = match[1], match[4], match[2] or match[3]
    names = path.parts[:-1]
    words = [_folder_word(name) for name in names]
    said = [MODALITY_WORDS[each.lower()] for each in (word, *reversed(words)) if each]
    return NamedFile(
        path=path,
        folders=tuple(name if said else "" for name, said in zip(names, words, strict=True)),
        levels=tuple(name for name, said in zip(names, words, strict=True) if not said),
        before=before,
        id=image,
        after=after + path.suffix,
        modality=next((modality for modality in said if modality), None),
    )


def _folder_word(name: str) -> str:
    """The word in a folder's name that says the modality, as in ``depth_raw``; or ""."""
    tokens = re.split(r"[_\-. ]", name.lower())
    return next((token for token in (tokens[0], tokens[-1]) if token in MODALITY_WORDS), "")


def _parts(
    files: Sequence[PurePosixPath], top: PurePosixPath, split: str | None
) -> Iterator[NamedPart]:
    inside: dict[str, list[PurePosixPath]] = defaultdict(list)
    here: list[PurePosixPath] = []
    for path in files:
        if len(path.parts) > 1 and not _folder_word(path.parts[0]):
            inside[path.parts[0]].append(path.relative_to(path.parts[0]))
        else:
            here.append(path)
    names = [name.lower() for name in inside]
    splits = bool(names) and all(name in SPLIT_WORDS for name in names)
    if splits or any(name in PART_WORDS for name in names) or _unlike(inside, here):
        for name, below in inside.items():
            yield from _parts(below, top / name, SPLIT_WORDS[name.lower()] if splits else split)
    else:
        here = list(files)
    by_depth: dict[int, list[NamedFile]] = defaultdict(list)
    for path in here:
        named = read_name(path)
        by_depth[len(named.levels)].append(named)
    for _, group in sorted(by_depth.items()):
        yield NamedPart(top, split, tuple(group))


def _unlike(inside: dict[str, list[PurePosixPath]], here: Sequence[PurePosixPath]) -> bool:
    """Whether folders are parts, and not classes: one alone, or most laid out unlike."""
    if len(inside) == 1 and not here:
        return True
    ids = {frozenset(path.with_suffix("") for path in below) for below in inside.values()}
    if len(ids) == 1:  # the same images in each: folders that say the modality without a word
        return False
    alike = Counter(frozenset(read_name(path).shape for path in below) for below in inside.values())
    return len(alike) > 1 and max(alike.values()) * 2 <= len(inside)
