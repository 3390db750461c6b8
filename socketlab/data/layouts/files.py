"""From image files to the prepared arrays, on all cores: what layouts of files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.image_files import UNREADABLE, Array, read_image, resize
from socketlab.data.layouts.records import Arrays, partner_keys
from socketlab.data.layouts.threads import in_threads
from socketlab.data.schema import Manifest, Progress

# small images take under a millisecond, and handing a task to a thread costs a tenth of that
GROUPS_PER_TASK = 8
TASKS_AT_ONCE = 64

Read = Callable[[Path, str, Domain], Array]
"""(root, path of a sample, domain) to the frame: uint8 [H, W, 3], or uint8 / uint16 [H, W]."""
Group = list[tuple[str, str, int]]
"""Partners: (domain, path, row) of each."""


def read_file(root: Path, path: str, domain: Domain) -> Array:
    """The frame in the file `root / path`; raises as `read_image` does."""
    return read_image(root / path, domain)


def fill(
    manifest: Manifest,
    root: Path,
    samples: pd.DataFrame,
    arrays: Arrays,
    progress: Progress | None,
    *,
    read: Read = read_file,
) -> list[str]:
    """Decode and resize every image on all cores; partners must be of one frame size.

    `read(root, path, domain)` gives a frame in the domain's stored integers. Returns every problem
    with its file; the arrays are worth nothing when there is one.
    """
    by_key: dict[str, Group] = {}
    columns = (partner_keys(samples), samples["domain"], samples["path"], samples["row"])
    for key, *image in zip(*columns, strict=True):
        by_key.setdefault(key, []).append((image[0], image[1], image[2]))
    groups = list(by_key.values())
    tasks = [groups[at : at + GROUPS_PER_TASK] for at in range(0, len(groups), GROUPS_PER_TASK)]

    def write(task: list[Group]) -> tuple[int, list[str]]:
        found = [_write_partners(manifest, root, group, arrays, read) for group in task]
        return sum(map(len, task)), [problem for problems in found for problem in problems]

    problems: list[str] = []
    done = 0
    for images, found in in_threads(write, tasks, at_once=TASKS_AT_ONCE):
        problems += found
        done += images
        if progress is not None:
            progress(done, len(samples))
    return problems


def _write_partners(
    manifest: Manifest, root: Path, group: Group, arrays: Arrays, read: Read
) -> list[str]:
    problems: list[str] = []
    frames: dict[str, tuple[int, ...]] = {}
    for domain, path, row in group:
        try:
            image = read(root, path, manifest.domains[domain])
        except UNREADABLE as error:
            problems.append(f"{root / path}: {error}")
            continue
        frames[path] = image.shape[:2]
        target = arrays[domain]
        target[row] = resize(image, manifest.domains[domain], target.shape[1])
    if len(set(frames.values())) > 1:
        sizes = " but ".join(
            f"{root / path} is {width} x {height}" for path, (height, width) in frames.items()
        )
        problems.append(f"partners differ in size: {sizes}")
    return problems
