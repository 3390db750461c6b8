"""From what was seen in a folder to a manifest; what cannot be seen is asked, or assumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from socketlab.data.domain_schema import Modality
from socketlab.data.drafting.answers import Answers, Ask, Open
from socketlab.data.drafting.domains import domain
from socketlab.data.drafting.looking import Found, LookError
from socketlab.data.drafting.parts import Part, found_parts, table_rows
from socketlab.data.drafting.pixels import Look, sizes_of
from socketlab.data.drafting.protocols import (
    PAIRS,
    UNKNOWN_CLASSES,
    Counts,
    classes_of,
    protocols_of,
)
from socketlab.data.layouts.paired_folders import list_samples
from socketlab.data.schema import UNLABELLED, Manifest, sensor_of

LARGEST_SIZE = 256
TEST_SHARE = 0.3


@dataclass(frozen=True)
class Draft:
    """A manifest with its reasons.

    `raw` is what its file says; `assumed` holds sentences by the place in it ("domains.cam/depth.
    scale"), `notes` what was seen or passed over; `source` and `target` are domains to begin with.
    """

    manifest: Manifest
    raw: dict[str, Any]
    assumed: dict[str, str]
    notes: tuple[str, ...]
    source: str | None
    target: str


def draft(found: Found, answers: Answers, ask: Ask) -> Draft:
    """The manifest of what was found, with the number of images of each class.

    Raises `LookError` for an answer that does not fit and for folders without depth and nir,
    `PreparationError` for files and tables that do not agree.
    """
    made = Open(answers, ask, list(found.notes))
    parts = found_parts(found, made)
    looks: dict[str, list[Look]] = defaultdict(list)
    for part in parts:
        for modality, pattern in part.patterns.items():
            looks[f"{part.sensor}/{modality}"] += pattern.looks
    target = _target(found, parts)
    raw: dict[str, Any] = {
        "name": answers.name,
        "title": f"Images of {found.folder.name}",
        "layout": {
            "kind": "paired_folders",
            "size": _size(looks),
            "parts": [_layout_part(number, part, made) for number, part in enumerate(parts)],
        },
        "domains": {
            name: domain(name, _modality(name), files, made) for name, files in looks.items()
        },
    }
    counts = _counts(raw, parts, found.folder)
    named = {
        paired: list(dict.fromkeys(n for p in parts if p.paired == paired for n in p.classes))
        for paired in (False, True)
    }
    raw["classes"] = classes_of(named[False], named[True], counts, made)
    raw["protocols"] = protocols_of(
        raw["classes"],
        counts,
        target,
        several_sensors=len({part.sensor for part in parts}) > 1,
        pairs_from=answers.pairs_from,
    )
    raw["expected"] = counts
    _warn(parts, counts, raw["classes"], target, made)
    labelled = [
        name
        for name in counts
        if _modality(name) == "rgb" and set(counts[name]) & set(raw["classes"]["task_relevant"])
    ]
    source = next(iter([*labelled, *(name for name in counts if _modality(name) == "rgb")]), None)
    manifest = Manifest.model_validate(raw)
    return Draft(manifest, raw, made.assumed, tuple(made.notes), source, target)


def _target(found: Found, parts: Sequence[Part]) -> str:
    """The domain to move to: of target images alone, where there are some; depth before nir."""
    ranked = [
        (part.paired, modality == "nir", f"{part.sensor}/{modality}")
        for part in parts
        for modality in part.patterns
        if modality != "rgb"
    ]
    if not ranked:
        raise LookError(
            f"{found.folder} holds colour images only. Put the other camera's (depth or nir, one "
            "channel of 8 or 16 bits) below the same folder."
        )
    return min(ranked)[2]


def _layout_part(number: int, part: Part, made: Open) -> dict[str, Any]:
    seen = part.found
    raw: dict[str, Any] = {
        "folder": _shown(seen.folder),
        "patterns": {f"{part.sensor}/{m}": pattern.pattern for m, pattern in part.patterns.items()},
    }
    place = f"layout.parts.{number}"
    if not part.says_class:
        raw["class"] = PAIRS if part.paired and seen.table is None else UNLABELLED
    if seen.table is not None:
        raw["table"] = seen.table
    elif seen.split is not None:
        raw["split"] = seen.split
    elif part.classes and part.classes != (PAIRS,):
        raw["test_share"] = TEST_SHARE
        made.assumed[f"{place}.test_share"] = (
            f"assumed, for no table and no folder names a split: {TEST_SHARE:.0%} of each class, "
            "drawn by id, so that frames of one recording may be in both. A table with columns id, "
            "class, split is better."
        )
    keys = [pattern.keys for pattern in part.patterns.values()]
    alone = len(set().union(*keys)) - len(keys[0].intersection(*keys))
    if alone:
        raw["partners"] = "optional"
        made.notes.append(f"{alone} images of {seen.folder} have no partner.")
    return raw


def _counts(raw: dict[str, Any], parts: Sequence[Part], folder: Path) -> Counts:
    """Images by domain, class and split, as the layout itself lists them."""
    named = dict.fromkeys(name for part in parts for name in part.classes)
    tables = [row["split"] for part in parts if part.found.table for row in table_rows(part.found)]
    splits = [*dict.fromkeys(tables), "all"]
    parts_of_all = {key: ["all"] for key in ("source_splits", "adapt_splits", "score_splits")}
    manifest = Manifest.model_validate(
        {
            **raw,
            "classes": {"task_relevant": list(named) or list(UNKNOWN_CLASSES)},
            "protocols": {"all": {"description": "all", **parts_of_all}},
            "expected": {name: {UNLABELLED: dict.fromkeys(splits, 0)} for name in raw["domains"]},
        }
    )
    counts: Counts = {name: {} for name in raw["domains"]}
    for sample in list_samples(manifest, folder):
        by_split = counts[sample.domain].setdefault(sample.class_name, {})
        by_split[sample.split] = by_split.get(sample.split, 0) + 1
    return {
        name: {
            class_name: dict(sorted(by_split.items(), reverse=True))
            for class_name, by_split in sorted(by_class.items())
        }
        for name, by_class in counts.items()
    }


def _size(looks: dict[str, list[Look]]) -> int:
    short = min(min(look.width, look.height) for files in looks.values() for look in files)
    return max(8, min(LARGEST_SIZE, short))


def _warn(
    parts: Sequence[Part], counts: Counts, classes: dict[str, list[str]], target: str, made: Open
) -> None:
    """Notes on what a run could not do with this data set."""
    adapted = set(counts[target]) & {UNLABELLED, *classes["task_relevant"]}
    if not adapted:
        made.notes.append(
            f"No image of {target} is left to adapt on: all are pairs that nobody has named. Put "
            "images of what is to be recognised into a folder of their own (target/), or name "
            "some in a table."
        )
    if not classes["task_irrelevant"] and made.answers.pairs_from is None:
        made.notes.append(
            "There are no pairs of other classes, so methods that need pairs cannot run. Leave "
            "a class out of task_relevant, or add a folder of pairs, or name a data set with pairs "
            "by --pairs-from."
        )
    for part in parts:
        sizes = {name: sizes_of(each.looks) for name, each in part.patterns.items()}
        if len({frozenset(found) for found in sizes.values()}) > 1:
            words = ", ".join(
                f"{name} {' and '.join(f'{w} x {h}' for w, h in sorted(found))}"
                for name, found in sizes.items()
            )
            made.notes.append(
                f"Partners in {part.found.folder} differ in size ({words}), and preparing refuses "
                "that: pixels must show the same point. Register one camera to the other first."
            )


def _shown(folder: Path) -> str:
    """The folder's path, with ~ where it is the person's own."""
    whole = folder.expanduser().resolve()
    home = Path.home().resolve()
    if whole.is_relative_to(home) and whole != home:
        return f"~/{whole.relative_to(home).as_posix()}"
    return str(whole)


def _modality(name: str) -> Modality:
    return cast(Modality, name.removeprefix(sensor_of(name) + "/"))
