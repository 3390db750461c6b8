"""Which files of a folder are pairs, by two patterns of their names; loads no image library."""

from __future__ import annotations

import re
from pathlib import Path


class PairFolderError(ValueError):
    """A folder or a pattern in which no pairs can be found."""


def check_pattern(pattern: str, name: str) -> str:
    """Return a pattern such as `{id}_rgb.jpg` or `nir/{id}.png`, if it is one.

    Raises:
        PairFolderError: naming `name`, what was found, and what a pattern looks like.
    """
    if pattern.count("{id}") != 1 or Path(pattern).is_absolute() or "*" in pattern:
        raise PairFolderError(
            f"{name} is {pattern!r}. Write a path below the folder of pairs that holds {{id}} "
            "once, in place of what differs from pair to pair: '{id}_rgb.jpg' or 'nir/{id}.png'."
        )
    return pattern


def find_pairs(folder: Path, first: str, second: str) -> tuple[list[dict[str, str]], list[str]]:
    """Files by id for both patterns, and a sentence on those that are alone.

    `{id}` stands for any text, which may hold `/`: '{id}_rgb.jpg' finds `kitchen/0017_rgb.jpg` too.
    A file that both patterns fit belongs to the one that says more of its name. What is hidden,
    by a dot, is not seen.

    Raises:
        PairFolderError: for a missing folder, or no id that both patterns find.
    """
    if not folder.is_dir():
        raise PairFolderError(f"The folder of pairs {str(folder)!r} does not exist.")
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = sorted(
        path.as_posix() for path in inside if not any(part[0] == "." for part in path.parts)
    )
    patterns = [
        re.compile("(.+)".join(re.escape(part) for part in pattern.split("{id}")))
        for pattern in (first, second)
    ]
    halves: list[dict[str, str]] = [{}, {}]
    for file in files:
        matches = [pattern.fullmatch(file) for pattern in patterns]
        # The shorter id leaves more of the name to the pattern.
        fitting = [(len(m[1]), half, m[1]) for half, m in enumerate(matches) if m is not None]
        if fitting:
            _, half, name = min(fitting)
            halves[half][name] = file
    shared = len(halves[0].keys() & halves[1].keys())
    if not shared:
        raise PairFolderError(
            f"No pair in {str(folder)!r}: {len(halves[0])} files fit first = {first!r}, "
            f"{len(halves[1])} fit second = {second!r}, and no {{id}} is in both. The first of its "
            f"{len(files)} files: {', '.join(files[:3]) or 'none'}. Change the patterns."
        )
    notes = [
        f"Left out, for they have no partner: {len(half) - shared} files like {pattern}."
        for half, pattern in zip(halves, (first, second), strict=True)
        if len(half) > shared
    ]
    return halves, notes
