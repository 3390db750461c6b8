"""From an experiment to what the figures draw: example images, depths, changed answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from socketlab.data.manifest import sensor_of
from socketlab.data.modality import MILLIMETRES_PER_METRE
from socketlab.data.schema import UNLABELLED
from socketlab.data.views import Images
from socketlab.figures.images import painted
from socketlab.runs.experiment import Experiment
from socketlab.runs.stages import Trip
from socketlab.training.inference import Score

Array = npt.NDArray[Any]


def pixels(stored: Array, modality: str, invalid: int | None = 0) -> Array:
    """A stored image as figures take it: colour and NIR bytes, depth in metres with NaN.

    Depth that was encoded as three channels (hha) is bytes as it is.
    """
    if stored.dtype == np.uint8 and stored.shape[-1] == 3:
        return np.asarray(stored)
    if modality == "depth":
        metres = stored.astype(np.float32) / MILLIMETRES_PER_METRE
        return metres if invalid is None else np.where(stored == invalid, np.nan, metres)
    if stored.dtype == np.uint16:
        return (stored / 257).astype(np.uint8)
    return np.asarray(stored)


def example_columns(experiment: Experiment, count: int) -> tuple[list[dict[str, Array]], list[str]]:
    """One scene of each of `count` classes, TR first, seen by all cameras of the target's sensor.

    Images that nobody has labelled are shown as one class more. A camera that has not seen a scene
    has no image in its column. Returns the columns and titles that `pair_grid` takes.
    """
    manifest, store = experiment.manifest, experiment.store
    sensor = sensor_of(experiment.parameters.target)
    domains = {
        d.modality: name for name, d in manifest.domains.items() if sensor_of(name) == sensor
    }
    rules = manifest.protocol(experiment.parameters.protocol)
    half = min(len(rules.task_irrelevant), count // 2)
    names = [*rules.task_relevant[: count - half], UNLABELLED, *rules.task_irrelevant[:half]]
    mine = store.samples[store.samples["domain"].isin(domains.values())]
    modalities = {name: modality for modality, name in domains.items()}
    columns, titles = [], []
    for name in names:
        chosen = mine[mine["class"] == name].sort_values(["pair_id", "id"])
        if chosen.empty:
            continue
        first = chosen.iloc[0]
        scene = chosen[chosen["pair_id"] == first["pair_id"]] if first["pair_id"] else chosen[:1]
        column: dict[str, Array] = {}
        for domain, row in zip(scene["domain"], scene["row"], strict=True):
            image = store.array(domain)[int(row)]
            invalid = manifest.domain(domain).invalid
            column[modalities[domain]] = pixels(image, modalities[domain], invalid)
        columns.append(column)
        titles.append(f"{name} (TI)" if name in rules.task_irrelevant else name)
    return columns, titles


def class_table(experiment: Experiment) -> dict[str, dict[str, int]]:
    """Images of the target domain per class and split, as `class_counts` takes them.

    Task-relevant classes are there also where nobody has labelled an image of them.
    """
    samples = experiment.store.samples
    mine = samples[samples["domain"] == experiment.parameters.target]
    rules = experiment.manifest.protocol(experiment.parameters.protocol)
    table: dict[str, dict[str, int]] = {name: {} for name in rules.task_relevant}
    for row in mine.value_counts(["class", "split"]).reset_index().to_dict("records"):
        table.setdefault(str(row["class"]), {})[str(row["split"])] = int(row["count"])
    return table


def depth_values(experiment: Experiment, most: int = 400) -> tuple[Array, float] | None:
    """Metres and the share without a reading, of at most `most` depth images of the sensor.

    None, and a printed line, where the sensor has no depth.
    """
    manifest, sensor = experiment.manifest, sensor_of(experiment.parameters.target)
    depth = [n for n, d in manifest.domains.items() if d.modality == "depth"]
    mine = [name for name in depth if sensor_of(name) == sensor]
    if not mine:
        print(f"Sensor {sensor!r} has no depth. Those that have: {', '.join(depth) or 'none'}.")
        return None
    stored = experiment.store.array(mine[0])
    chosen = stored[:: max(1, len(stored) // most)]
    metres = pixels(np.asarray(chosen), "depth", 0)
    return metres, float(np.isnan(metres).mean())


def images_for_figures(images: Images, rows: Sequence[int]) -> list[Array]:
    """Some images of a view as figures take them."""
    fmt = images.format
    return [pixels(images.raw[row].cpu().numpy(), fmt.modality, fmt.invalid) for row in rows]


def painted_image(images: Images, row: int) -> npt.NDArray[np.uint8]:
    """An image of a view as bytes [H, W, 3]; depth in colours over its range, near is yellow."""
    (image,) = images_for_figures(images, [row])
    ends = (images.format.low, images.format.high)
    return painted(image, *(end / MILLIMETRES_PER_METRE for end in ends))


def changed_answers(
    experiment: Experiment, trip: Trip, before: Score, after: Score, most: int = 12
) -> dict[str, Any]:
    """The scored images and what was answered, as `changed_examples` takes them.

    They come in a fixed random order, so that the choice flatters no model. Only the first `most`
    that changed are drawn; the others are counted, and need no pixels.
    """
    evaluation = experiment.views(trip.target, trip.protocol).evaluation
    order = np.random.default_rng(trip.seed).permutation(len(evaluation.labels)).tolist()
    drawn = [i for i in order if before.answers[i] != after.answers[i]][:most]
    pictures = dict(zip(drawn, images_for_figures(evaluation.images, drawn), strict=True))
    blank = np.zeros((1, 1), np.uint8)
    classes = evaluation.classes
    return {
        "images": [pictures.get(i, blank) for i in order],
        "true": [classes[int(evaluation.labels[i])] for i in order],
        "before": [classes[int(before.answers[i])] for i in order],
        "after": [classes[int(after.answers[i])] for i in order],
        "confidence_before": [float(before.confidence[i]) for i in order],
        "confidence_after": [float(after.confidence[i]) for i in order],
        "most": most,
    }
