"""A folder of image pairs that belong to no data set: two file patterns, no labels, no manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from socketlab.data.layouts.threads import in_threads
from socketlab.data.modality import PixelFormat
from socketlab.data.pair_patterns import PairFolderError, check_pattern, find_pairs
from socketlab.data.picture_file import UNREADABLE, Kind, Picture, kind_of, read_picture
from socketlab.data.views import ImagePairs, Images

HALVES = ("first", "second")
AT_ONCE = 256
NAMED = 5
LOW, HIGH = 1, 99
MOST_VALUES = 4_000_000
WIDE_TOP = 65535


@dataclass(frozen=True)
class FoundPairs:
    """Pairs of a folder, and in `notes` what was left out or scaled, a sentence each.

    Each half of `pairs` is uint8 [N, S, S, 3] where its files have colour, uint8 [N, S, S] where
    they are grey, uint16 [N, S, S] where they hold more than 8 bits. Pair ids are the `{id}`s.
    """

    pairs: ImagePairs
    notes: tuple[str, ...]


def read_pairs(
    folder: Path, first: str, second: str, *, size: int, most: int | None = None, seed: int = 0
) -> FoundPairs:
    """All pairs of a folder at `size` x `size` pixels, sorted by id.

    `{id}` stands for any text, which may hold `/`: '{id}_rgb.jpg' finds `kitchen/0017_rgb.jpg` too.
    A file that both patterns fit belongs to the one that says more of its name. The whole picture
    is brought to the size, its proportions given up. One channel of 16 bits or of floats (depth,
    thermal) is scaled from the 1st to the 99th percentile of the values in all pictures of that
    half, zeros (no reading) left out and shown as 0: one scale, so that what is far in one picture
    is far in another. Three channels of 16 bits are read as their upper 8.

    Args:
        most: with more pairs than this, a sample drawn by `seed` is read, which a note says.

    Raises:
        PairFolderError: for a missing folder, a bad pattern, no pair, no readable pair, or a half
            that mixes 8-bit and wider files.
    """
    if check_pattern(first, "first") == check_pattern(second, "second"):
        raise PairFolderError(f"first and second are both {first!r}. Give one pattern each.")
    halves, notes = find_pairs(folder, first, second)
    ids = sorted(halves[0].keys() & halves[1].keys())
    if most is not None and len(ids) > most:
        notes.append(f"A sample of {most} of {len(ids)} pairs.")
        drawn = np.random.default_rng(seed).permutation(len(ids))[:most]
        ids = [ids[row] for row in sorted(drawn.tolist())]
    files = [[half[name] for name in ids] for half in halves]
    kinds = [_kind_of_all(folder, name, half) for name, half in zip(HALVES, files, strict=True)]

    def read(pair: tuple[str, ...]) -> list[Picture | str]:
        return [_read(folder, *each, size) for each in zip(pair, kinds, strict=True)]

    pictures = list(in_threads(read, list(zip(*files, strict=True)), at_once=AT_ONCE))
    failed = [found for pair in pictures for found in pair if isinstance(found, str)]
    good = [row for row, pair in enumerate(pictures) if not any(isinstance(p, str) for p in pair)]
    if failed:
        named = "; ".join(failed[:NAMED]) + ("; ..." if len(failed) > NAMED else "")
        if not good:
            raise PairFolderError(f"None of {len(ids)} pairs in {folder} can be read: {named}.")
        notes.append(
            f"{len(ids) - len(good)} of {len(ids)} pairs are left out, for {len(failed)} files "
            f"cannot be read: {named}."
        )
    names = tuple(ids[row] for row in good)
    made = []
    for half, name in enumerate(HALVES):
        raw, pixels, note = _stored(name, np.stack([pictures[row][half] for row in good]))
        made.append(Images(torch.from_numpy(raw), pixels, names))
        notes += [note] if note else []
    return FoundPairs(ImagePairs(made[0], made[1], names), tuple(notes))


def _kind_of_all(folder: Path, name: str, files: Sequence[str]) -> Kind:
    """The one kind of a half's files; those that cannot be read are met again when they are."""

    def look(file: str) -> Kind | None:
        try:
            return kind_of(folder / file)
        except UNREADABLE:
            return None

    found = list(in_threads(look, files, at_once=AT_ONCE))
    wide = found.count("wide")
    narrow = len(found) - wide - found.count(None)
    if wide and narrow:
        example = next(file for file, kind in zip(files, found, strict=True) if kind == "wide")
        raise PairFolderError(
            f"{name}: {wide} files hold more than 8 bits, e.g. {example}, and {narrow} hold 8. One "
            "scale does not fit both: give a pattern that finds one sort."
        )
    if wide:
        return "wide"
    return "colour" if "colour" in found else "grey"


def _read(folder: Path, file: str, kind: Kind, size: int) -> Picture | str:
    try:
        return read_picture(folder / file, kind, size)
    except UNREADABLE as error:
        return f"{file} ({error})"


def _stored(name: str, pictures: Picture) -> tuple[Picture, PixelFormat, str]:
    """A half as the store would keep it, what its integers mean, and how they were scaled."""
    if pictures.dtype == np.uint8:
        return pictures, PixelFormat("rgb" if pictures.ndim == 4 else "nir", 0, 255, None), ""
    values = pictures[pictures != 0]
    if len(values) > MOST_VALUES:
        values = values[np.random.default_rng(0).integers(len(values), size=MOST_VALUES)]
    low, high = np.percentile(values, [LOW, HIGH]).tolist() if len(values) else (0.0, 0.0)
    note = (
        f"{name}: more than 8 bits, shown from {low:g} (1st percentile) to {high:g} (99th) of the "
        "folder's values; 0 is taken as no reading."
    )
    scaled = np.clip((pictures - low) / max(high - low, 1e-12), 0, 1) * WIDE_TOP
    scaled[pictures == 0] = 0
    return scaled.round().astype(np.uint16), PixelFormat("depth", 0, WIDE_TOP, None), note
