"""A table of ids, classes and splits beside the images of a part."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from socketlab.data.layouts.folder_files import Key
from socketlab.data.schema import UNLABELLED, Manifest

TABLE_COLUMNS = ("id", "class", "split")

Named = dict[Key, tuple[str, str]]
"""The class and the split of each image."""


def read_table(
    path: Path,
    manifest: Manifest,
    present: Collection[Key],
    problems: list[str],
    *,
    names: tuple[str, str] | None,
) -> Named:
    """The class and the split of the images in `present`, as the table at `path` says.

    `names`: None where folders say the class, which the rows then repeat, and every image must
    have a row. Else (class, split) of images without a row, and rows say the class of the others.
    What is wrong is added to `problems`.
    """
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
    known = {*manifest.class_names, UNLABELLED}
    named: Named = {}
    for line, (image, class_name, split) in enumerate(rows, start=2):
        place = f"{path}, line {line}: id {image}"
        key = Key(class_name if names is None else "", image)
        if class_name not in known:
            problems.append(f"{place} has the unknown class {class_name!r}")
        elif split not in manifest.splits:
            problems.append(
                f"{place} has the unknown split {split!r}; known: {', '.join(manifest.splits)}"
            )
        elif key in named:
            problems.append(f"{place} of class {class_name} is there twice")
        elif key not in present:
            problems.append(f"{place} of class {class_name} has no files")
        named.setdefault(key, (class_name, split))
    without = sorted(key for key in present if key not in named)
    if names is None:
        problems += [f"{path} has no row for {key}" for key in without]
        return named
    return named | dict.fromkeys(without, names)
