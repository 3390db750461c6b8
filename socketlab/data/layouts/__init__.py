"""Where a data set's images are: per layout, its table of samples and how its images are drawn.

A layout is two functions. ``list_samples(manifest, root)`` gives the table, ``fill(...)`` writes
the prepared images into the arrays; a new layout is a file here, a line in `LAYOUTS` and a model
in ``manifest.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from socketlab.data.layouts import files, nyu_depth, paired_folders, scenes, sunrgbd
from socketlab.data.layouts.records import Fill, SampleRecord
from socketlab.data.manifest import Manifest, UnknownName


@dataclass(frozen=True)
class LayoutFunctions:
    """`needs_root`: whether the images lie in a folder that has to be found first.

    `version` enters the store's name: raise it where the same manifest gives other pixels.
    """

    list_samples: Callable[[Manifest, Path], list[SampleRecord]]
    fill: Fill
    needs_root: bool
    version: str


LAYOUTS: dict[str, LayoutFunctions] = {
    "paired_folders": LayoutFunctions(
        paired_folders.list_samples, files.fill, True, paired_folders.VERSION
    ),
    "sunrgbd": LayoutFunctions(sunrgbd.list_samples, files.fill, True, sunrgbd.VERSION),
    "nyu_depth_v2": LayoutFunctions(
        nyu_depth.list_samples, nyu_depth.fill, True, nyu_depth.VERSION
    ),
    "scenes": LayoutFunctions(scenes.list_samples, scenes.fill, False, scenes.VERSION),
}


def layout_functions(kind: str) -> LayoutFunctions:
    """The functions of the layout called `kind`; raises `UnknownName`."""
    if kind not in LAYOUTS:
        raise UnknownName("layout", kind, LAYOUTS)
    return LAYOUTS[kind]


__all__ = ["LAYOUTS", "LayoutFunctions", "SampleRecord", "layout_functions"]
