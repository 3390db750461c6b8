"""The parts of a drafted manifest: one pattern a modality, and which sensor they are of."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal, cast

from socketlab.data.domain_schema import Modality
from socketlab.data.drafting.answers import Open
from socketlab.data.drafting.looking import Found, FoundPart, FoundPattern, LookError
from socketlab.data.drafting.protocols import PAIRS
from socketlab.data.schema import UNLABELLED


@dataclass(frozen=True)
class Part:
    """A part with one pattern a modality. `classes` are those of its folders or of its table."""

    found: FoundPart
    patterns: dict[Modality, FoundPattern]
    classes: tuple[str, ...]
    sensor: str = ""

    @property
    def paired(self) -> bool:
        """Whether it holds pairs."""
        return len(self.patterns) > 1

    @property
    def says_class(self) -> bool:
        """Whether its folders name the classes."""
        return any("{class}" in pattern.pattern for pattern in self.patterns.values())


def found_parts(found: Found, made: Open) -> list[Part]:
    """The parts of what was found; what is passed over is added to the notes of `made`.

    Raises `LookError` for a modality that one channel cannot be.
    """
    return _with_sensors([_part(part, found, made) for part in found.parts], made.answers.sensor)


def _part(part: FoundPart, found: Found, made: Open) -> Part:
    by_modality: dict[Modality, list[FoundPattern]] = defaultdict(list)
    for pattern in part.patterns:
        by_modality[pattern.modality or _asked(part, pattern, found, made)].append(pattern)
    chosen: dict[Modality, FoundPattern] = {}
    for modality, patterns in sorted(by_modality.items(), key=lambda item: item[0] != "rgb"):
        # depth beside its picture of 8 bits: the numbers are in the wide files
        patterns.sort(key=lambda each: (each.looks[0].bits, len(each.keys)), reverse=True)
        chosen[modality] = patterns[0]
        made.notes += [
            f"Passed over: {len(other.keys)} files like {part.folder / other.pattern}, for "
            f"{patterns[0].pattern} holds the {modality} of this folder already."
            for other in patterns[1:]
        ]
    classes = part.classes
    if not classes and part.table is not None:
        rows = table_rows(part)
        classes = tuple(dict.fromkeys(row["class"] for row in rows if row["class"] != UNLABELLED))
    made_part = Part(part, chosen, classes)
    if made_part.paired and part.table is None and not made_part.says_class:
        return replace(made_part, classes=(PAIRS,))
    return made_part


def _asked(part: FoundPart, pattern: FoundPattern, found: Found, made: Open) -> Modality:
    """Depth or nir, for files whose names do not say it."""
    bits = pattern.looks[0].bits
    alike = {
        other.modality
        for each in found.parts
        for other in each.patterns
        if other.kind == "grey" and other.modality and other.looks[0].bits == bits
    }
    if made.answers.modality is None and len(alike) == 1:
        modality = str(alike.pop())
        made.notes.append(f"{part.folder / pattern.pattern} is taken as {modality}, as the others.")
    else:
        modality = made.decide(
            str(part.folder / pattern.pattern),
            "--modality",
            made.answers.modality,
            f"{len(pattern.keys)} files like {part.folder / pattern.pattern} hold one channel of "
            f"{bits} bits: depth or nir",
            "depth",
        )
    if modality not in ("depth", "nir"):
        raise LookError(f"Modality {modality!r} is not depth or nir, which one channel can be.")
    return cast(Literal["depth", "nir"], modality)


def _with_sensors(parts: list[Part], sensor: str) -> list[Part]:
    """One sensor for all, or one a part, where parts hold depth or nir of other bits."""
    bits: dict[Modality, set[int]] = defaultdict(set)
    for part in parts:
        for modality, pattern in part.patterns.items():
            bits[modality].add(pattern.looks[0].bits)
    one = all(len(found) == 1 for modality, found in bits.items() if modality != "rgb")
    sensors: list[str] = []
    for number, part in enumerate(parts, start=1):
        name = re.sub(r"[^a-z0-9_]+", "_", part.found.folder.name.lower()).strip("_")
        name = sensor if one else name or f"part_{number}"
        sensors.append(name if one or name not in sensors else f"{name}_{number}")
    return [replace(part, sensor=name) for part, name in zip(parts, sensors, strict=True)]


def table_rows(part: FoundPart) -> list[dict[str, str]]:
    with (part.folder / str(part.table)).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
