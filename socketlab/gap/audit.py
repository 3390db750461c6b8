"""The audit of pseudo-labels: how each image's label came about, and which images to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
Rows: TypeAlias = npt.NDArray[np.int64]

# Probabilities made in half precision, or mixed over several sources, pass 1 by rounding.
_ROUNDING: Final = 1e-3

SORTS: Final[Mapping[str, tuple[str, bool]]] = {
    "most changes": ("changes", False),
    "latest change": ("changed_at", False),
    "least confident": ("confidence", True),
    "smallest margin": ("margin", True),
    "farthest from its partner": ("partner_distance", False),
}
"""Orders of images: the column that each goes by, and whether the smallest comes first."""


@dataclass(frozen=True, eq=False)
class LabelHistory:
    """What a transfer said of its N target images at each of E epochs, K classes.

    Attributes:
        ids: [N], name no class.
        classes: [K].
        epochs: [E], rising; the epochs that were kept, which need not be all.
        pseudo_labels: integers [E, N] in [0, K); of a method without them, its answers.
        answers: integers [E, N] in [0, K).
        confidence: floats [E, N], the largest probability, in [0, 1]; NaN where it is no number.
        truth: integers [N] in [0, K), known in hindsight and for evaluation only, or None.

    Raises:
        ValueError: for no class or epoch, equal classes, epochs that do not rise, or an array of
            another shape, type or range.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    epochs: tuple[int, ...]
    pseudo_labels: IntArray
    answers: IntArray
    confidence: FloatArray
    truth: IntArray | None = None

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {self.classes}. Give one name or more, each once.")
        if not self.epochs or np.any(np.diff(self.epochs) <= 0):
            raise ValueError(f"epochs are {self.epochs}. Give one or more, from early to late.")
        everything = (len(self.epochs), len(self.ids))
        self._require_labels("pseudo_labels", self.pseudo_labels, everything)
        self._require_labels("answers", self.answers, everything)
        if self.truth is not None:
            self._require_labels("truth", self.truth, everything[1:])
        _require_shape("confidence", self.confidence, everything)
        known = self.confidence[~np.isnan(self.confidence)]
        if known.size and not (known.min() >= 0 and known.max() <= 1 + _ROUNDING):
            found = f"confidence goes from {known.min():.4g} to {known.max():.4g}"
            raise ValueError(f"{found}. Give the largest probability, in [0, 1].")

    def _require_labels(self, name: str, labels: IntArray, shape: tuple[int, ...]) -> None:
        _require_shape(name, labels, shape)
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name} holds {labels.dtype}. Give class numbers as integers.")
        if labels.size and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise ValueError(
                f"{name} goes from {labels.min()} to {labels.max()}, but there are "
                f"{len(self.classes)} classes. Give numbers from 0 to {len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.ids)


def _require_shape(name: str, values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        axes = {1: "[images]", 2: "[epochs, images]"}[len(shape)]
        raise ValueError(f"{name} has shape {values.shape}. Give {axes} = {shape}, as the ids are.")


def audit_frame(
    history: LabelHistory,
    features: FloatArray | None = None,
    probabilities: FloatArray | None = None,
    partner_distance: FloatArray | None = None,
    *,
    rounds: int = 1,
) -> pd.DataFrame:
    """A row per image, in the order of the ids; the index holds the row numbers 0 .. N - 1.

    Columns: id; first and last (pseudo-label, by name); changes (from one kept epoch to the next);
    changed_at (epoch of the last change, missing if there is none); answer and confidence (at the
    last epoch); mean_confidence (over the epochs where it is a number). With a truth: truth and
    right (whether the last pseudo-label is it). With features [N, D] and probabilities [N, K]:
    nearest and second (classes of the two nearest centroids), nearest_distance and
    second_distance (1 - cosine, in [0, 2]), and

        margin = second_distance - nearest_distance,  at least 0

    With partner_distance [N]: that column, NaN for an image without a partner.

    Centroids are those that SHOT labels with (objectives.pseudo_labels): a constant 1 is appended
    to each feature, then rows are L2-normalised, and c_k = sum_i p_ik f_i / sum_i p_ik; with
    `rounds` = 2 they are formed once more from the labels that come of it, as the methods do by
    default. Rows with NaN or infinity are left out and have no distances; a class without weight
    has no centroid.

    Raises ValueError for features without probabilities or the reverse, another number of rows
    or classes, probabilities outside [0, 1], or rounds below 1.
    Source: Liang et al., SHOT, ICML 2020 (arXiv 2002.08546).
    """
    names = np.array(history.classes, dtype=object)
    labels, epochs = history.pseudo_labels, np.array(history.epochs)
    changed = labels[1:] != labels[:-1]
    ever = changed.any(axis=0)
    latest = epochs[len(epochs) - 1 - np.argmax(changed[::-1], axis=0)] if len(changed) else epochs
    frame = pd.DataFrame(
        {
            "id": list(history.ids),
            "first": names[labels[0]],
            "last": names[labels[-1]],
            "changes": changed.sum(axis=0),
            "changed_at": pd.array(np.where(ever, latest, np.nan), dtype="Int64"),
            "answer": names[history.answers[-1]],
            "confidence": history.confidence[-1].astype(np.float64),
            "mean_confidence": pd.DataFrame(history.confidence, dtype=np.float64).mean(),
        },
        index=pd.RangeIndex(len(history)),
    )
    if history.truth is not None:
        frame["truth"] = names[history.truth]
        frame["right"] = labels[-1] == history.truth
    if features is not None and probabilities is not None:
        frame = frame.join(_nearest_centroids(history, features, probabilities, rounds))
    elif features is not None or probabilities is not None:
        lacking = "features" if features is None else "probabilities"
        raise ValueError(f"Found no {lacking}, which centroids need. Give both or neither.")
    if partner_distance is not None:
        _require_shape("partner_distance", partner_distance, (len(history),))
        frame["partner_distance"] = partner_distance.astype(np.float64)
    return frame


def _nearest_centroids(
    history: LabelHistory, features: FloatArray, probabilities: FloatArray, rounds: int
) -> pd.DataFrame:
    """The columns of `audit_frame` that speak of centroids."""
    import torch

    from socketlab.objectives.pseudo_labels import pseudo_labels

    wanted = (len(history), len(history.classes))
    if features.ndim != 2 or len(features) != wanted[0] or probabilities.shape != wanted:
        found = f"features have shape {features.shape}, probabilities {probabilities.shape}"
        raise ValueError(f"{found}. Give [{wanted[0]}, D] and {wanted}, a row for each id.")
    usable = np.isfinite(features).all(axis=1) & np.isfinite(probabilities).all(axis=1)
    order = np.full((len(history), 2), wanted[1])
    distance = np.full((len(history), 2), np.nan)
    if usable.any():
        f, p = (torch.from_numpy(a[usable].astype(np.float64)) for a in (features, probabilities))
        for rows, similarity in pseudo_labels(f, p, rounds).similarities():
            cosine = similarity.numpy()
            nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :2]
            cells = np.flatnonzero(usable)[rows], slice(nearest.shape[1])
            order[cells] = nearest
            distance[cells] = 1.0 - np.take_along_axis(cosine, nearest, axis=1)
    distance[np.isinf(distance)] = np.nan
    called = np.where(np.isnan(distance), "", np.array([*history.classes, ""], dtype=object)[order])
    columns = {"nearest": called[:, 0], "second": called[:, 1]}
    columns |= {f"{name}_distance": distance[:, place] for place, name in enumerate(columns)}
    return pd.DataFrame(columns | {"margin": distance[:, 1] - distance[:, 0]})


def label_flow(history: LabelHistory) -> pd.DataFrame:
    """A row per epoch: how the pseudo-labels move as a whole.

    Columns: epoch; changed (share of images with another label than at the kept epoch before, NaN
    at the first); with a truth right and answers_right (share of pseudo-labels and of answers that
    are right); label/<class> (images with that label). Shares are in [0, 1], NaN of no image.
    """
    labels = history.pseudo_labels
    flow = pd.DataFrame({"epoch": history.epochs, "changed": np.nan})
    # Of no image the share is 0 / 0: pandas says NaN where numpy warns.
    flow.loc[1:, "changed"] = pd.DataFrame(labels[1:] != labels[:-1]).mean(axis=1).to_numpy()
    if history.truth is not None:
        flow["right"] = pd.DataFrame(labels == history.truth).mean(axis=1)
        flow["answers_right"] = pd.DataFrame(history.answers == history.truth).mean(axis=1)
    for k, name in enumerate(history.classes):
        flow[f"label/{name}"] = (labels == k).sum(axis=1)
    return flow


def choose(
    frame: pd.DataFrame,
    *,
    changed: int = 0,
    confidence_below: float | None = None,
    right: bool | None = None,
    label: str | None = None,
    margin_below: float | None = None,
) -> Rows:
    """The row numbers of the images of an `audit_frame` that pass every filter, in its order.

    `changed`: at least so many changes. `confidence_below`, `margin_below`: strictly, at the last
    epoch; an image whose value is missing does not pass. `right`: whether the last pseudo-label
    is the truth. `label`: the last pseudo-label. None filters nothing. None may be left.
    Raises ValueError for a filter whose column the frame lacks.
    """
    below = {"confidence": confidence_below, "margin": margin_below}
    same = {"right": right, "last": label}
    wanted = [name for name, value in (below | same).items() if value is not None]
    lacking = [name for name in wanted if name not in frame]
    if lacking:
        raise ValueError(
            f"The frame has no column {lacking[0]!r}, only {', '.join(map(str, frame.columns))}. "
            "Leave the filter out, or make the frame with truth, features and probabilities."
        )
    passed = frame["changes"] >= changed
    for name, limit in below.items():
        passed &= True if limit is None else frame[name] < limit
    for name, value in same.items():
        passed &= True if value is None else frame[name] == value
    return frame.index[passed].to_numpy(dtype=np.int64)


def sort_rows(frame: pd.DataFrame, rows: Rows, by: str | None) -> Rows:
    """`rows` of an `audit_frame` in one of the orders `SORTS`, or as they are where `by` is None.

    Missing values come last, equal ones keep their order. Raises ValueError for an unknown order,
    or one whose column the frame lacks.
    """
    if by is None:
        return rows
    known = {name: way for name, way in SORTS.items() if way[0] in frame}
    if by not in known:
        raise ValueError(f"Cannot sort by {by!r}. This frame knows: {', '.join(known)}.")
    column, rising = known[by]
    ordered = frame.loc[rows, column].sort_values(ascending=rising, kind="stable")
    return ordered.index.to_numpy(dtype=np.int64)
