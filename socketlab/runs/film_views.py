"""From the film of a transfer to its frames, its numbers, and an animated picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from socketlab.figures.animation import animated_png
from socketlab.figures.film import COLUMNS, Frames, film_frame, film_numbers, film_strip
from socketlab.figures.map_panel import MapPanel
from socketlab.figures.style import to_png
from socketlab.gap.projection import Method, Projection, how_far_to_believe, project
from socketlab.gap.table import gap_table
from socketlab.runs.experiment import Experiment
from socketlab.runs.film import MissingFilm, Reel
from socketlab.runs.stages import Trip


@dataclass(frozen=True, eq=False)
class FilmView:
    """The film of a transfer, ready to be shown."""

    frames: Frames
    numbers: pd.DataFrame

    @property
    def epochs(self) -> list[int]:
        """The moments, in order; 0 is before training."""
        return list(self.frames)

    def frame(self, epoch: int) -> Figure:
        """One moment."""
        return film_frame(self.frames, self.numbers, epoch)

    def strip(self) -> Figure:
        """Some moments side by side."""
        return film_strip(self.frames)

    def curves(self) -> Figure:
        """The numbers alone."""
        return film_numbers(self.numbers)

    def png(self) -> bytes:
        """All moments as one animated PNG."""
        return animated_png([to_png(self.frame(epoch)) for epoch in self.epochs])


def film_view(
    experiment: Experiment, trip: Trip, *, method: Method = "umap", points: int = 4000
) -> FilmView | None:
    """The film of a transfer; None, and a printed line that says why, where there is none.

    Args:
        experiment: whose run kept it.
        trip: which transfer.
        method: of the joint map over all epochs.
        points: in it at most.
    """
    try:
        reel = experiment.film(trip).reel()
    except MissingFilm as missing:
        print(missing)
        return None
    if "TR" not in reel.rgb:
        print(f"{trip.target} has no TR pairs, so there is nothing to show of them.")
        return None
    projection = film_map(experiment, reel, "TR", method=method, points=points)
    return FilmView(
        film_frames(experiment, trip, reel, projection),
        film_numbers_frame(experiment, trip, reel),
    )


def film_map(
    experiment: Experiment, reel: Reel, name: str, *, method: Method = "umap", points: int = 4000
) -> Projection:
    """One joint fit over RGB and all epochs of a set of pairs; where too many, fewer pairs."""
    groups = {"rgb": reel.rgb[name]}
    groups |= {str(e): found for e, found in zip(reel.epochs, reel.other[name], strict=True)}
    return project(
        groups,
        method=method,
        seed=experiment.parameters.seed,
        most=points,
        paired=[("rgb", str(epoch)) for epoch in reel.epochs],
        cache=experiment.run.folder / "maps",
        say=print,
    )


def film_frames(experiment: Experiment, trip: Trip, reel: Reel, projection: Projection) -> Frames:
    """At every epoch two maps of the TR pairs: by modality with partners joined, and by class."""
    modality = experiment.manifest.domain(trip.target).modality
    views = experiment.views(trip.target, trip.protocol)
    assert views.evaluation_pairs is not None
    ids = np.array(views.evaluation_pairs.target.ids)[reel.rows["TR"]]
    classes = np.array(views.evaluation.names_of(ids[projection.kept["rgb"]]))
    note = how_far_to_believe(projection, "one joint fit over all epochs")
    frames: dict[int, Sequence[MapPanel]] = {}
    for epoch in reel.epochs:
        now = projection.coordinates
        panel = MapPanel(
            title="Lines join partners",
            coordinates={"RGB": now["rgb"], modality: now[str(epoch)]},
            colour_by="modality",
            modalities={"RGB": "rgb", modality: modality},
            labels={"RGB": classes, modality: classes},
            pairs=("RGB", modality),
            note=note,
        )
        frames[epoch] = [panel, replace(panel, title="By class", colour_by="class", pairs=None)]
    return frames


def film_numbers_frame(
    experiment: Experiment, trip: Trip, reel: Reel, bootstrap: int = 100
) -> pd.DataFrame:
    """The gap of the sample after every epoch, with intervals, and the accuracy on all TR images.

    Columns as `figures.film` wants them: epoch, set, measure, value, low, high.
    """
    found = []
    for name in reel.rgb:
        for epoch in reel.epochs:
            pairs = reel.at(name, epoch)
            rows = gap_table(pairs.rgb, pairs.other, seeds=(0,), sample=None, bootstrap=bootstrap)
            found += [(epoch, name, row.metric, row.value, row.low, row.high) for row in rows]
    mine = experiment.run.metrics(trip.stage)
    values = mine[(mine["name"] == "accuracy") & mine["epoch"].isin(reel.epochs)].sort_values(
        "epoch"
    )
    for epoch, value in zip(values["epoch"], values["value"], strict=True):
        found.append((int(epoch), "TR", "accuracy", value, value, value))
    return pd.DataFrame(found, columns=list(COLUMNS))
