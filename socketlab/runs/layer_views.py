"""From an experiment to where in the network the gap sits: numbers and statistics by layer."""

from collections.abc import Sequence

import pandas as pd
import torch

from socketlab.data.views import ImagePairs
from socketlab.gap.layer_statistics import REPLACED_COLUMNS, replaced_statistics, statistics_gap
from socketlab.gap.layers import layer_names, layer_pair_features
from socketlab.gap.table import gap_table
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import GapFeatures
from socketlab.runs.stages import Trip
from socketlab.training.batches import generator
from socketlab.training.inference import scorer


def layer_frame(
    experiment: Experiment,
    trip: Trip,
    found: GapFeatures,
    layers: Sequence[str] = (),
    name: str = "TR",
    bootstrap: int = 50,
) -> pd.DataFrame:
    """The gap of one set of pairs at every layer: layer, moment, measure, value, low, high, note.

    Args:
        experiment: its `layer_images` says on how many pairs.
        trip: which transfer.
        found: says which pairs there are.
        layers: default: stages of the encoder and the bottleneck.
        name: of the set of pairs.
        bootstrap: resamples for the intervals.
    """
    given = experiment.parameters
    source, target = _models(experiment, trip)
    pairs = _some(experiment, found.pairs[name])
    names = [*layers] or [*layer_names(source)]
    rows = []
    for moment, model in (("before", source), ("after", target)):
        if model is None:
            continue
        about = (names, given.crop_pixels, experiment.precision, given.encoding)
        features = layer_pair_features(source, model, pairs, *about)
        for layer, halves in features.items():
            table = gap_table(
                halves.rgb, halves.other, seeds=(0,), sample=None, bootstrap=bootstrap
            )
            rows += [
                (layer, moment, row.metric, row.value, row.low, row.high, row.note) for row in table
            ]
    columns = ["layer", "moment", "measure", "value", "low", "high", "note"]
    return pd.DataFrame(rows, columns=columns)


def statistics_frame(
    experiment: Experiment, trip: Trip, found: GapFeatures, name: str = "TR"
) -> pd.DataFrame:
    """The statistics gap of every normalisation layer, as `gap.layer_statistics` gives it."""
    given = experiment.parameters
    source, target = _models(experiment, trip)
    pairs = _some(experiment, found.pairs[name])
    about = (given.crop_pixels, experiment.precision, given.encoding)
    return statistics_gap(source, target, pairs.source, pairs.target, *about)


def replaced_frame(experiment: Experiment, trip: Trip) -> pd.DataFrame:
    """Accuracy of the source model with one layer's statistics of the adapted-on images.

    Scored on at most `layer_images` of the images that the protocol scores; where none of them has
    a label, the frame is empty and says so in `attrs["reason"]`.
    """
    given = experiment.parameters
    views = experiment.views(trip.target, trip.protocol)
    if not len(views.evaluation.images):
        nothing = pd.DataFrame(columns=list(REPLACED_COLUMNS))
        nothing.attrs["reason"] = f"No image of {trip.target} has a label: there is no accuracy."
        return nothing
    source, _ = _models(experiment, trip)
    about = (given.crop_pixels, experiment.precision, given.encoding)
    rows = _rows(experiment, len(views.evaluation.images))
    return replaced_statistics(
        source,
        views.target.images,
        scorer(views.evaluation.rows(rows), *about),
        *about,
        most_images=_most(experiment),
        seed=given.seed,
    )


def _models(experiment: Experiment, trip: Trip) -> tuple[Classifier, Classifier | None]:
    """Of several sources the first, for layers are those of one network."""
    source, target = experiment.source_model(trip.seed), experiment.target_model(trip)
    if len(source.members) > 1:
        print(f"Of {len(source.members)} source models the layers of the first are looked at.")
    return source.members[0], _first(target)


def _first(model: AnyClassifier | None) -> Classifier | None:
    return model.members[0] if model is not None else None


def _most(experiment: Experiment) -> int:
    return int(getattr(experiment.parameters, "layer_images", 600))


def _rows(experiment: Experiment, count: int) -> torch.Tensor:
    random = generator(experiment.parameters.seed, "layers")
    return torch.randperm(count, generator=random)[: _most(experiment)].sort().values


def _some(experiment: Experiment, pairs: ImagePairs) -> ImagePairs:
    return pairs.rows(_rows(experiment, len(pairs)))
