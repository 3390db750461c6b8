"""From two models and pairs of images to the maps and the table of the modality gap."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from socketlab.data.manifest import Modality
from socketlab.figures.map_panel import MapPanel
from socketlab.gap.features import PairFeatures, pair_features
from socketlab.gap.metrics import GapRow, gap_table
from socketlab.gap.projection import Method, Projection, project
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.experiment import Experiment
from socketlab.runs.stages import Trip

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GapFeatures:
    """Features of TI pairs and of TR pairs (evaluation only), before and after a transfer.

    `after` is None, and so is its entry, where the transfer has not been made. Keys: `TI`, `TR`.
    """

    before: dict[str, PairFeatures]
    after: dict[str, PairFeatures] | None
    classes: Array
    modality: Modality


def gap_features(experiment: Experiment, trip: Trip) -> GapFeatures:
    """F_s(r) and F_s(m) of the pairs, and F_t(m) where the transfer has been made."""
    views = experiment.views(trip.target, trip.protocol)
    sets = {"TI": views.pairs, "TR": views.evaluation_pairs}
    pairs = {name: found for name, found in sets.items() if found is not None}
    if not pairs:
        raise ValueError(
            f"{trip.target} has no pairs with {experiment.parameters.source} at all, so there is "
            "no gap to measure. Use a data set with pairs."
        )
    source_model, target_model = experiment.source_model(trip.seed), experiment.target_model(trip)

    def features(model: AnyClassifier) -> dict[str, PairFeatures]:
        about = experiment.parameters.crop_pixels, experiment.precision
        encoding = experiment.parameters.encoding
        return {
            n: pair_features(source_model, model, p, *about, encoding) for n, p in pairs.items()
        }

    labels = dict(zip(views.evaluation.images.ids, views.evaluation.labels.tolist(), strict=True))
    ids = views.evaluation_pairs.target.ids if views.evaluation_pairs is not None else ()
    return GapFeatures(
        before=features(source_model),
        after=features(target_model) if target_model is not None else None,
        classes=np.array([views.evaluation.classes[labels[name]] for name in ids]),
        modality=experiment.manifest.domain(trip.target).modality,
    )


def map_features(
    experiment: Experiment, found: GapFeatures, *, method: Method, points: int
) -> Projection:
    """One joint fit over RGB, before and after, of TI and TR pairs: so all panels share axes."""
    groups: dict[str, Tensor] = {}
    partners: list[tuple[str, str]] = []
    for name, before in found.before.items():
        groups[f"{name} rgb"], groups[f"{name} before"] = before.rgb, before.other
        partners.append((f"{name} rgb", f"{name} before"))
        if found.after is not None:
            groups[f"{name} after"] = found.after[name].other
            partners.append((f"{name} rgb", f"{name} after"))
    return project(
        groups,
        method=method,
        seed=experiment.parameters.seed,
        most=points,
        paired=partners,
        cache=experiment.run.folder / "maps",
        say=print,
    )


def map_panels(
    found: GapFeatures, projection: Projection, name: str, by_class: bool
) -> list[MapPanel]:
    """Panels before and after (where there is one) of the TI or the TR pairs."""
    moments = ["before"] if found.after is None else ["before", "after"]
    note = (
        f"{projection.method.upper()}, one joint fit; trustworthiness "
        f"{projection.trustworthiness:.2f}, neighbours kept {projection.neighbour_agreement:.0%}"
    )
    panels = []
    for moment in moments:
        rgb, target = f"{name} rgb", f"{name} {moment}"
        shown = {"RGB": rgb, found.modality: target}
        kept = {title: projection.kept[group] for title, group in shown.items()}
        panels.append(
            MapPanel(
                title=f"{name} images, {moment} transfer",
                coordinates={title: projection.coordinates[g] for title, g in shown.items()},
                colour_by="class" if by_class else "modality",
                modalities={"RGB": "rgb", found.modality: found.modality},
                labels={t: found.classes[k] for t, k in kept.items()} if by_class else None,
                pairs=None if by_class else ("RGB", found.modality),
                note=note,
            )
        )
    return panels


def gap_rows(
    features: Mapping[str, PairFeatures], accuracy: float | None
) -> dict[str, list[GapRow]]:
    """The minimal honest set of gap measures of TI and TR pairs, and the accuracy with TR's."""
    rows = {name: gap_table(pair.rgb, pair.other) for name, pair in features.items()}
    if accuracy is not None and "TR" in rows:
        n = len(features["TR"].rgb)
        accuracy_row = GapRow("accuracy", accuracy, accuracy, accuracy, 1, n, "1: all right")
        rows["TR"].append(accuracy_row)
    return rows


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
    if row.low == row.high:
        return f"{row.value:.3f}"
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
