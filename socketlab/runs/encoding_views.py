"""From an experiment to the images that the figure of the encodings shows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from socketlab.data.encoded import encode
from socketlab.data.encoding_names import ENCODINGS, Encoding, ImpossibleEncoding
from socketlab.data.manifest import sensor_of
from socketlab.data.modality import to_unit
from socketlab.data.store import Store
from socketlab.runs.experiment import Experiment

Array = npt.NDArray[Any]


def encoding_rows(
    experiment: Experiment, count: int
) -> tuple[list[dict[str, Array]], list[str], list[str]]:
    """One image of each of `count` classes of the target, TR first, under every encoding.

    What the other cameras of the same sensor saw stands beside it, RGB first. Returns the rows, the
    titles and the notes that `encoding_sheet` takes; a note says why depth cannot have an encoding.
    """
    store, given = experiment.store, experiment.parameters
    rules, domains = store.manifest.protocol(given.protocol), store.manifest.domains
    samples = store.samples
    mine = samples[samples["domain"] == given.target].sort_values("id").drop_duplicates("class")
    order = [*rules.task_relevant, *rules.task_irrelevant]
    rank = [order.index(name) if name in order else len(order) for name in mine["class"]]
    mine = mine.iloc[np.argsort(rank, kind="stable")[:count]]
    beside = [name for name in domains if sensor_of(name) == sensor_of(given.target)]
    beside.sort(key=lambda name: (domains[name].modality != "rgb", name != given.target))
    rows: list[dict[str, Array]] = [{} for _ in range(len(mine))]
    notes: list[str] = []
    for name in beside:
        there = samples[samples["domain"] == name].set_index("pair_id")["row"]
        for index, (pair, own) in enumerate(zip(mine["pair_id"], mine["row"], strict=True)):
            if name != given.target and (not pair or pair not in there.index):
                continue
            at = int(own) if name == given.target else int(there[pair])
            rows[index] |= _shown(store, name, at, notes)
    titles = [
        f"{name} (TI)" if name in rules.task_irrelevant else str(name) for name in mine["class"]
    ]
    return rows, titles, list(dict.fromkeys(notes))


def _shown(store: Store, name: str, row: int, notes: list[str]) -> dict[str, Array]:
    """An image as bytes by the name of its column; what depth cannot have is noted."""
    domain = store.manifest.domain(name)
    stored = torch.from_numpy(np.array(store.array(name)[row : row + 1]))
    encodings: tuple[Encoding, ...] = ("replicate",) if domain.modality == "rgb" else ENCODINGS
    found = {}
    for encoding in encodings:
        try:
            unit = to_unit(*encode(stored, name, domain, encoding), encoding)
        except ImpossibleEncoding as problem:
            notes += [str(problem)] if domain.modality == "depth" else []
            continue
        title = "RGB" if domain.modality == "rgb" else f"{domain.modality} {encoding}"
        pixels = (unit[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        found[title] = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return found
