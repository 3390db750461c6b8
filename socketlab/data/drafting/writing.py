"""A drafted manifest as YAML that a person can read and edit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from socketlab.data.drafting.draft import Draft

WIDTH = 96
KEEP_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}

COMMENTS = {
    "layout.size": "pixels a side, where a run does not say otherwise",
    "layout.parts": (
        "Where the files are: {id} is what differs from image to image, {class} a folder named as "
        "a class, {set} a folder that is part of the id. Files that agree in all are partners."
    ),
    "domains": (
        "What the numbers of a file mean: value in unit = number * scale. range is shown as black "
        "to white, invalid is the number that means no reading."
    ),
    "classes": "task_relevant: to be recognised. task_irrelevant: pairs of anything else.",
    "protocols": "Which splits are trained on, adapted on and scored on; a run names one of these.",
    "expected": "Images that were there; preparing says what has come or gone since.",
}
"""What is said of a place, whatever was found."""


def manifest_text(draft: Draft, folder: str) -> str:
    """The file of a draft of `folder`: its notes first, what was assumed above each line."""
    comments = dict(COMMENTS)
    unplaced = []
    for place, sentence in draft.assumed.items():
        if _there(draft.raw, place):
            comments[place] = (
                f"{comments.get(place, '')} {sentence[0].upper()}{sentence[1:]}".strip()
            )
        else:
            unplaced.append(f"{place}: {sentence}")
    head = [f"Written by `socketlab data init` from what is in {folder}. Edit what is wrong."]
    lines = [line for text in (*head, *draft.notes, *unplaced) for line in _comment(text, 0)]
    return "\n".join([*lines, *_mapping(draft.raw, "", 0, comments)]) + "\n"


def _mapping(
    value: dict[str, Any], place: str, depth: int, comments: dict[str, str]
) -> Iterator[str]:
    for key, item in value.items():
        where = f"{place}.{key}" if place else key
        if depth == 0 and isinstance(item, dict):
            yield ""
        yield from _comment(comments.get(where, ""), depth)
        start = f"{'  ' * depth}{_scalar(key)}:"
        if where == "expected":
            yield start
            yield from _counts(item)
        elif isinstance(item, dict):
            yield start
            yield from _mapping(item, where, depth + 1, comments)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield start
            for number, each in enumerate(item):
                lines = list(_mapping(each, f"{where}.{number}", depth + 2, comments))
                yield from _as_item(lines, depth + 2)
        else:
            # a long list goes on below its beginning
            further = "  " * (depth + 1)
            yield from (
                textwrap.wrap(
                    f"{start} {_scalar(item)}", WIDTH, subsequent_indent=further, **KEEP_WORDS
                )
                if isinstance(item, list)
                else [f"{start} {_scalar(item)}"]
            )


def _counts(expected: dict[str, dict[str, dict[str, int]]]) -> Iterator[str]:
    """A line a class; a domain with the counts of the first one refers to it."""
    first = next(iter(expected))
    shared = sum(by_class == expected[first] for by_class in expected.values()) > 1
    for domain, by_class in expected.items():
        if shared and domain != first and by_class == expected[first]:
            yield f"  {_scalar(domain)}: *counts"
            continue
        yield f"  {_scalar(domain)}:" + (" &counts" if shared and domain == first else "")
        yield from (f"    {_scalar(name)}: {_scalar(splits)}" for name, splits in by_class.items())


def _as_item(lines: list[str], depth: int) -> Iterator[str]:
    """The lines of a mapping as an entry of a list: a dash before its first key."""
    pad = "  " * depth
    first = next(row for row, line in enumerate(lines) if not line.lstrip().startswith("#"))
    for row, line in enumerate(lines):
        yield f"{pad[:-2]}- {line[len(pad) :]}" if row == first else line


def _comment(text: str, depth: int) -> Iterator[str]:
    pad = "  " * depth + "# "
    yield from textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad, **KEEP_WORDS)


def _scalar(value: Any) -> str:
    """A value on one line, quoted where YAML needs it."""
    text = yaml.safe_dump([value], default_flow_style=True, width=10**6, sort_keys=False)
    return text.strip()[1:-1]


def _there(raw: Any, place: str) -> bool:
    """Whether a place in the manifest, dots between its keys, has a line of its own."""
    for key in place.split("."):
        if isinstance(raw, list):
            if not key.isdigit() or int(key) >= len(raw):
                return False
            raw = raw[int(key)]
        elif isinstance(raw, dict) and key in raw:
            raw = raw[key]
        else:
            return False
    return True
