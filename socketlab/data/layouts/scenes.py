"""The built-in data set: scenes are rendered straight into the arrays, without image files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from socketlab.data.layout_schema import ScenesLayout
from socketlab.data.layouts.records import Arrays, PreparationError, SampleRecord
from socketlab.data.layouts.threads import in_threads
from socketlab.data.rendering import scenes
from socketlab.data.schema import Manifest, Progress, UnknownName, sensor_of

# as many as the renderer draws at once at 64 px: more in a task would leave cores without one
SCENES_PER_TASK = 16
TASKS_AT_ONCE = 64

VERSION = hashlib.sha256(
    b"".join(
        (Path(__file__).parents[1] / "rendering" / name).read_bytes()
        for name in ("scenes.py", "rooms.py", "frames.py", "raymarch.py", "shapes.py")
    )
).hexdigest()[:12]
"""The renderer's own text: another renderer draws other scenes, so its stores are other stores."""


def list_samples(manifest: Manifest, root: Path | None) -> list[SampleRecord]:
    """The scenes that the layout's counts ask for. Each sensor sees scenes of its own.

    Raises `PreparationError` for a class or a sensor that the renderer does not know.
    """
    layout = _layout(manifest)
    problems = [
        str(UnknownName("scene class", name, (*scenes.TASK_RELEVANT, *scenes.TASK_IRRELEVANT)))
        for name in manifest.class_names
        if name not in (*scenes.TASK_RELEVANT, *scenes.TASK_IRRELEVANT)
    ]
    problems += [
        str(UnknownName("sensor", sensor, scenes.SENSORS))
        for sensor in manifest.sensors
        if sensor not in scenes.SENSORS
    ]
    if problems:
        raise PreparationError(f"The renderer cannot draw data set {manifest.name!r}", problems)
    records: list[SampleRecord] = []
    for sensor in manifest.sensors:
        domains = [name for name in manifest.domains if sensor_of(name) == sensor]
        for class_name in manifest.class_names:
            relevant = class_name in manifest.classes.task_relevant
            counts = layout.counts.get("task_relevant" if relevant else "task_irrelevant", {})
            splits = [split for split in sorted(counts) for _ in range(counts[split])]
            for number, split in enumerate(splits):
                records += _scene(domains, sensor, class_name, number, split)
    return records


def _scene(
    domains: list[str], sensor: str, class_name: str, number: int, split: str
) -> list[SampleRecord]:
    path = f"{sensor}/{class_name}/{number}"
    # ids must not show the class, and numbers run per class: so a digest
    key = hashlib.sha256(path.encode()).hexdigest()[:12]
    return [
        SampleRecord(f"{domain}/{key}", class_name, domain, split, f"{sensor}/{key}", path)
        for domain in domains
    ]


def fill(
    manifest: Manifest,
    root: Path | None,
    samples: pd.DataFrame,
    arrays: Arrays,
    progress: Progress | None,
) -> list[str]:
    """Render every scene once and write each of its modalities; there is nothing to go wrong."""
    layout = _layout(manifest)
    size = next(iter(arrays.values())).shape[1]
    rows = samples.set_index(["domain", "path"])["row"]
    # sorted: a class at a time is what renders fastest
    every = sorted(samples["path"].unique())
    tasks = []
    for sensor in manifest.sensors:
        paths = [path for path in every if path.startswith(f"{sensor}/")]
        starts = range(0, len(paths), SCENES_PER_TASK)
        tasks += [paths[start : start + SCENES_PER_TASK] for start in starts]

    def draw(task: list[str]) -> int:
        parts = [path.split("/") for path in task]
        sensor = parts[0][0]
        drawn = scenes.render(
            [class_name for _, class_name, _ in parts],
            [int(number) for _, _, number in parts],
            sensor=sensor,
            seed=layout.seed,
            size=size,
        )
        domains = [name for name in manifest.domains if sensor_of(name) == sensor]
        for domain in domains:
            image = getattr(drawn, manifest.domains[domain].modality)
            arrays[domain][rows.loc[[(domain, path) for path in task]].to_numpy()] = image
        return len(task) * len(domains)

    done = 0
    for images in in_threads(draw, tasks, at_once=TASKS_AT_ONCE):
        done += images
        if progress is not None:
            progress(done, len(samples))
    return []


def _layout(manifest: Manifest) -> ScenesLayout:
    if not isinstance(manifest.layout, ScenesLayout):
        raise ValueError(f"Layout of {manifest.name!r} is {manifest.layout.kind!r}, not 'scenes'.")
    return manifest.layout
