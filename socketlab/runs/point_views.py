"""From an experiment to the points that an explorer shows: features, answers and pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, Images
from socketlab.gap.points import Picture, PointTable
from socketlab.gap.projection import Projection, describe
from socketlab.models.modes import evaluating
from socketlab.models.translator import Translator
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import GapFeatures
from socketlab.runs.pictures import painted_image
from socketlab.runs.stages import Trip
from socketlab.training.batches import centre_window, take
from socketlab.training.inference import Outputs

Array = npt.NDArray[Any]


class StoredPictures:
    """The images behind the rows of a `PointTable`, read when one is asked for.

    Args:
        places: of every row the images it is one of, and which.
    """

    def __init__(self, places: list[tuple[Images, int]]) -> None:
        self._places = places

    def picture(self, row: int) -> Picture | None:
        """uint8 [H, W, 3]; depth in colours, near is yellow."""
        return painted_image(*self._places[row])


class PaintedPictures:
    """What a translator paints of the rows of the target's modality, when one is asked for."""

    def __init__(
        self,
        places: list[tuple[Images, int]],
        translator: Translator,
        crop: int,
        encoding: Encoding,
    ) -> None:
        self._places, self._translator = places, translator
        self._crop, self._encoding = crop, encoding

    def picture(self, row: int) -> Picture | None:
        """uint8 [crop, crop, 3], None for an RGB image."""
        images, place = self._places[row]
        if images.format.modality == "rgb":
            return None
        window = centre_window(1, images.raw.shape[1], self._crop)
        device = next(self._translator.parameters()).device
        batch = take(images.to(device), torch.tensor([place]), window, self._encoding)
        with evaluating(self._translator):
            shown = self._translator(batch)[0].float().clamp(0, 1)
        found: Picture = (shown * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return found


def point_table(
    experiment: Experiment,
    trip: Trip,
    found: GapFeatures,
    projection: Projection,
    pseudo_labels: Mapping[str, str] | None = None,
) -> PointTable:
    """A row per image on the map, RGB and the other half of a pair alike.

    Args:
        experiment: whose translator paints, where the target model has one that learnt.
        trip: which transfer.
        found: what the models say.
        projection: the joint map of `found`.
        pseudo_labels: class name by id, of the images that have one.
    """
    frames: list[pd.DataFrame] = []
    places: list[tuple[Images, int]] = []
    for name, pairs in found.pairs.items():
        kept = projection.kept[f"{name} rgb"]
        begin = sum(len(frame) for frame in frames)
        frames.append(_frame(found, projection, name, kept, begin))
        for images in (pairs.source, pairs.target):
            places += [(images, int(place)) for place in kept]
    frame = pd.concat(frames, ignore_index=True)
    if pseudo_labels is not None:
        frame["pseudo-label"] = [pseudo_labels.get(name, "") for name in frame["id"]]
    return PointTable(
        moments=found.moments,
        frame=frame,
        pictures=StoredPictures(places),
        translations=_painted(experiment, trip, places),
        note=describe(projection),
    )


def _frame(
    found: GapFeatures, projection: Projection, name: str, kept: Array, begin: int
) -> pd.DataFrame:
    pairs: ImagePairs = found.pairs[name]
    count = len(kept)
    own = np.arange(begin, begin + 2 * count)
    ids = [np.array(images.ids)[kept] for images in (pairs.source, pairs.target)]
    truth = found.classes[name][kept] if name in found.classes else np.full(count, "")
    columns: dict[str, Any] = {
        "id": np.concatenate(ids),
        "set": name,
        "modality": np.repeat(["rgb", found.modality], count),
        "partner": np.concatenate([own[count:], own[:count]]),
        "class": np.tile(truth, 2),
    }
    for moment in found.moments:
        outputs = found.outputs[moment][name]
        halves = [_answers(half, kept, found.names) for half in (outputs.rgb, outputs.other)]
        groups = (f"{name} rgb", f"{name} {moment}")
        places = np.concatenate([projection.coordinates[group] for group in groups])
        columns[f"x {moment}"], columns[f"y {moment}"] = places.T
        columns[f"distance {moment}"] = np.tile(outputs.features.distances.numpy()[kept], 2)
        columns[f"prediction {moment}"] = np.concatenate([answers for answers, _ in halves])
        columns[f"confidence {moment}"] = np.concatenate([shares for _, shares in halves])
        if name in found.classes:
            right = columns[f"prediction {moment}"] == columns["class"]
            columns[f"right {moment}"] = np.where(right, "right", "wrong")
        else:
            columns[f"right {moment}"] = ""
    return pd.DataFrame(columns)


def _answers(outputs: Outputs, kept: Array, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Class name and largest probability of the kept rows."""
    confidence, answers = outputs.probabilities[torch.from_numpy(kept)].max(1)
    return np.array(names)[answers.numpy()], confidence.clamp(max=1).numpy()


def _painted(
    experiment: Experiment, trip: Trip, places: list[tuple[Images, int]]
) -> PaintedPictures | None:
    """None where the target model only repeats its one channel."""
    model = experiment.target_model(trip)
    translator = model.members[0].translator if model is not None else None
    if translator is None or not any(True for _ in translator.parameters()):
        return None
    given = experiment.parameters
    return PaintedPictures(places, translator, given.crop_pixels, given.encoding)
