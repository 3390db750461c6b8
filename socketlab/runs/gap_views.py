"""From two models and pairs of images to the maps and the table of the modality gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from socketlab.data.manifest import Modality
from socketlab.data.views import ImagePairs
from socketlab.figures.map_panel import MapPanel
from socketlab.gap.features import PairFeatures, PairOutputs
from socketlab.gap.measures import MINIMAL
from socketlab.gap.projection import Method, Projection, how_far_to_believe, project
from socketlab.gap.table import GapRow, gap_table
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.experiment import Experiment
from socketlab.runs.report_values import measured
from socketlab.runs.stages import Trip

Array = npt.NDArray[Any]


SETS = ("TI", "TR")
# The parts of `Views`, by name: one that is not asked for is not read.
_PAIRS = {"TI": "pairs", "TR": "evaluation_pairs", "adapted": "target_pairs"}
_TRUTHS = {"TR": "evaluation", "adapted": "target_labels"}


@dataclass(frozen=True)
class GapFeatures:
    """What the models say of sets of pairs, before and after a transfer.

    Attributes:
        outputs: by moment and set; `after` is missing where the transfer has not been made.
        pairs: the images of each set.
        classes: the class of every pair of a set, where it is known (evaluation only).
        names: the classes of the task.
        modality: of the target.
    """

    outputs: dict[str, dict[str, PairOutputs]]
    pairs: dict[str, ImagePairs]
    classes: dict[str, Array]
    names: tuple[str, ...]
    modality: Modality

    @property
    def moments(self) -> tuple[str, ...]:
        """`before`, and `after` where the transfer has been made."""
        return tuple(self.outputs)

    @property
    def main(self) -> str:
        """The set to look at most closely: TR pairs, and where there are none the first other."""
        return "TR" if "TR" in self.pairs else next(iter(self.pairs))

    def features(self, moment: str) -> dict[str, PairFeatures]:
        """The features of each set at a moment."""
        return {name: outputs.features for name, outputs in self.outputs[moment].items()}


def gap_features(experiment: Experiment, trip: Trip, sets: Sequence[str] = SETS) -> GapFeatures:
    """F_s(r) and F_s(m) of the pairs, and F_t(m) where the transfer has been made.

    Args:
        experiment: whose models and images.
        trip: which transfer.
        sets: `TI` pairs; `TR` pairs of the images that are scored; `adapted`, TR pairs of the
            images that were adapted on. One that the protocol has no pairs of is left out.

    Raises:
        ValueError: if none of the sets has pairs.
    """
    views = experiment.views(trip.target, trip.protocol)
    found = {name: getattr(views, _PAIRS[name]) for name in sets}
    pairs = {name: there for name, there in found.items() if there is not None}
    if not pairs:
        raise ValueError(
            f"{trip.target} has no pairs with {experiment.parameters.source} at all, so there is "
            "no gap to measure. Use a data set with pairs."
        )
    source_model, target_model = experiment.source_model(trip.seed), experiment.target_model(trip)

    def outputs(model: AnyClassifier) -> dict[str, PairOutputs]:
        models = source_model, model
        return {name: experiment.pair_outputs(models, p, trip) for name, p in pairs.items()}

    models = {"before": source_model} | ({} if target_model is None else {"after": target_model})
    return GapFeatures(
        outputs={moment: outputs(model) for moment, model in models.items()},
        pairs=pairs,
        classes={
            name: np.array(getattr(views, truth).names_of(pairs[name].target.ids))
            for name, truth in _TRUTHS.items()
            if name in pairs
        },
        names=views.evaluation.classes,
        modality=experiment.manifest.domain(trip.target).modality,
    )


def map_features(
    experiment: Experiment,
    found: GapFeatures,
    *,
    method: Method,
    points: int,
    fast: bool = False,
) -> Projection:
    """One joint fit over RGB, before and after, of TI and TR pairs: so all panels share axes."""
    groups: dict[str, Tensor] = {}
    partners: list[tuple[str, str]] = []
    for name, before in found.features("before").items():
        groups[f"{name} rgb"] = before.rgb
        for moment in found.moments:
            groups[f"{name} {moment}"] = found.features(moment)[name].other
            partners.append((f"{name} rgb", f"{name} {moment}"))
    strata = {f"{name} rgb": classes for name, classes in found.classes.items()}
    return project(
        groups,
        method=method,
        seed=experiment.parameters.seed,
        most=points,
        paired=partners,
        strata=strata,
        fast=fast,
        cache=experiment.kept_folder("maps"),
        say=print,
    )


def map_panels(
    found: GapFeatures, projection: Projection, name: str, by_class: bool
) -> list[MapPanel]:
    """Panels before and after (where there is one) of the TI or the TR pairs."""
    note = how_far_to_believe(projection)
    panels = []
    for moment in found.moments:
        rgb, target = f"{name} rgb", f"{name} {moment}"
        shown = {"RGB": rgb, found.modality: target}
        kept = {title: projection.kept[group] for title, group in shown.items()}
        panels.append(
            MapPanel(
                title=f"{name} images, {moment} transfer",
                coordinates={title: projection.coordinates[g] for title, g in shown.items()},
                colour_by="class" if by_class else "modality",
                modalities={"RGB": "rgb", found.modality: found.modality},
                labels={t: found.classes[name][k] for t, k in kept.items()} if by_class else None,
                pairs=None if by_class else ("RGB", found.modality),
                note=note,
            )
        )
    return panels


def gap_rows(
    features: Mapping[str, PairFeatures],
    accuracy: float | None,
    device: torch.device | str = "cpu",
) -> dict[str, list[GapRow]]:
    """Every gap measure of each set of pairs, and with TR's the accuracy, where it is known.

    `accuracy` is a share in [0, 1], or None or NaN where it is not known. Measured on `device`.
    """
    rows = {
        name: gap_table(pair.rgb.to(device), pair.other.to(device), measures="all")
        for name, pair in features.items()
    }
    if accuracy is not None and not isnan(accuracy) and "TR" in rows:
        n = len(features["TR"].rgb)
        accuracy_row = GapRow("accuracy", accuracy, accuracy, accuracy, 1, n, "1: all right")
        rows["TR"].append(accuracy_row)
    return rows


def honest(rows: Sequence[GapRow]) -> list[GapRow]:
    """The set below which nobody should go: centroid, residual, RMG, PAD, R@1 and accuracy."""
    return [row for row in rows if row.metric in (*MINIMAL, "accuracy")]


def gap_frame(
    before: Mapping[str, list[GapRow]], after: Mapping[str, list[GapRow]] | None
) -> pd.DataFrame:
    """The gap table: a row per measure, columns for TI and TR pairs, before and after."""
    columns: dict[str, dict[str, str]] = {}
    for moment, found in (("before", before), ("after", after or {})):
        for name, rows in found.items():
            cells = {row.metric: _cell(row) for row in rows}
            columns[f"{name} pairs, {moment}"] = cells
    reads = {row.metric: row.reads for rows in before.values() for row in rows}
    frame = pd.DataFrame(columns).fillna("")
    frame["how to read it"] = [reads.get(str(metric), "") for metric in frame.index]
    return frame


def _cell(row: GapRow) -> str:
    if isnan(row.value):
        return row.note
    if row.low == row.high:
        return measured(row.value)
    return f"{measured(row.value)} [{measured(row.low)}, {measured(row.high)}]"
