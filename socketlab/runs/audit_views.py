"""From the film of a transfer to the audit of its pseudo-labels, with the pictures behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from socketlab.data.views import Images
from socketlab.gap.audit import LabelHistory, audit_frame
from socketlab.gap.points import Picture, PointTable, Rows
from socketlab.gap.projection import Method
from socketlab.runs.experiment import Experiment
from socketlab.runs.film import MissingFilm
from socketlab.runs.gap_views import GapFeatures, gap_features, map_features
from socketlab.runs.point_views import StoredPictures, point_table
from socketlab.runs.stages import Trip
from socketlab.training.inference import predict

Thumbnails = Callable[[int], Picture | None]


@dataclass(frozen=True, eq=False)
class AuditView:
    """What `widgets.Audit` takes: the history, a row per image, and the images of the rows.

    `pairs` is what the models say of those that have an RGB partner, None where none has.
    """

    history: LabelHistory
    frame: pd.DataFrame
    pictures: Thumbnails
    partners: Thumbnails | None
    pairs: GapFeatures | None

    def rows_of(self, points: PointTable, selection: Rows) -> Rows:
        """The rows of the history that a selection on a map means, each once.

        An RGB half stands for its partner.
        """
        places = {name: row for row, name in enumerate(self.history.ids)}
        both = points.pair_rows(selection).ravel()
        ids = points.frame["id"].iloc[both[both >= 0]]
        return np.array([places[name] for name in ids if name in places], np.int64)

    @property
    def last_labels(self) -> dict[str, str]:
        """The last pseudo-label by id, as an explorer takes it."""
        return dict(zip(self.history.ids, self.frame["last"], strict=True))


def audit_points(
    experiment: Experiment,
    trip: Trip,
    view: AuditView,
    points: int = 3000,
    method: Method = "umap",
) -> PointTable | None:
    """The adapted-on images and their partners on a joint map of their own, for an explorer.

    None, and a printed line, where the target has no RGB partners of them. The partners of these
    images are shown in hindsight; no method has used that they are pairs.
    """
    if view.pairs is None:
        print(f"The images of {trip.target} have no partners, so there is no map of them.")
        return None
    projection = map_features(experiment, view.pairs, method=method, points=points)
    return point_table(experiment, trip, view.pairs, projection, view.last_labels)


def audit_view(experiment: Experiment, trip: Trip) -> AuditView | None:
    """The audit of a transfer; None, and a printed line that says why, where there is no film."""
    try:
        views = experiment.views(trip.target, trip.protocol)
        history = experiment.film(trip).labels(views.target_labels.by_id())
    except MissingFilm as missing:
        print(missing)
        return None
    model = experiment.target_model(trip)
    assert model is not None, "what was filmed was kept"
    given, images = experiment.parameters, views.target.images.to(experiment.precision.device)
    seen = predict(
        model, images, given.crop_pixels, experiment.precision, encoding=given.encoding
    ).to("cpu")
    partners, distance, found = None, None, None
    if views.target_pairs is not None:
        found = gap_features(experiment, trip, sets=("adapted",))
        pairs = found.pairs["adapted"]
        places = {name: row for row, name in enumerate(pairs.target.ids)}
        rows = [places.get(name) for name in history.ids]
        partners = _thumbnails(pairs.source, rows)
        apart = found.features("after")["adapted"].distances.tolist()
        distance = np.array([np.nan if row is None else apart[row] for row in rows])
    frame = audit_frame(history, seen.features.numpy(), seen.probabilities.numpy(), distance)
    own = _thumbnails(views.target.images, list(range(len(history))))
    return AuditView(history, frame, own, partners, found)


def _thumbnails(images: Images, rows: list[int | None]) -> Thumbnails:
    pictures = StoredPictures([(images, row if row is not None else -1) for row in rows])
    return lambda row: None if rows[row] is None else pictures.picture(row)
