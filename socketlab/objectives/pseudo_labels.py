"""Pseudo-labels from class centroids: the network's own predictions, cleaned by its features."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from socketlab.objectives._inputs import full_precision, require_matrix
from socketlab.objectives.chunks import chunks

ROUNDING = 1e-3
"""How far a probability may exceed 1: mixtures over several sources do, by rounding."""


@dataclass(frozen=True, eq=False)  # eq would compare tensors, whose truth value is undefined
class PseudoLabels:
    """Labels that a network gives to its own target images.

    Attributes:
        labels: [N] int64, the class of the most similar centroid.
        features: [N, D], those that were labelled, not a copy.
        centres: [K, D + 1], the centroids of the last round, of unit length.
        left_out: [K] bool, the classes without a centroid.
    """

    labels: Tensor
    features: Tensor
    centres: Tensor
    left_out: Tensor

    def similarities(self) -> Iterator[tuple[slice, Tensor]]:
        """`similarity` of a few rows at a time: which, and [n, K]."""
        classes, width = self.centres.shape
        for rows in chunks(len(self.features), max(classes, width), self.centres):
            yield rows, self.similarity_of(rows)

    def similarity_of(self, rows: slice) -> Tensor:
        """`similarity` of some rows, [n, K]."""
        return _cosines(_directions(self.features[rows]), self.centres, self.left_out)

    @property
    def similarity(self) -> Tensor:
        """[N, K] cosine to each centroid of the last round, in [-1, 1].

        -inf for a class that was left out, so that a softmax over it gives that class no
        probability. Computed whenever it is asked for, all of it.
        """
        return torch.cat([part for _, part in self.similarities()])


def _require_same_samples(features: Tensor, name: str, weights: Tensor) -> None:
    require_matrix("features", features, "[N, D]")
    require_matrix(name, weights, "[N, K]")
    if len(features) != len(weights):
        raise ValueError(
            f"features and {name} must have one row per sample each, "
            f"found {tuple(features.shape)} and {tuple(weights.shape)}"
        )


def centroids(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the features, one per class.

    c_k = sum_i w_ik f_i / sum_i w_ik

    Args:
        features: [N, D].
        weights: [N, K], not negative: predicted probabilities, or ones and zeros for hard labels.

    Returns:
        [K, D], float32 or better; a class without any weight has zeros.

    Raises:
        ValueError: when the shapes do not fit.

    Source: Liang et al., SHOT, ICML 2020 (arXiv 2002.08546).

    A class of weak claims and one of strong claims, whose centroid is its own sample:

    >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> centroids(features, torch.tensor([[0.5, 0.0], [0.5, 1.0]]))
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    _require_same_samples(features, "weights", weights)
    features, weights = full_precision(features), full_precision(weights)
    # Autocast would multiply in half precision, whatever the type of what comes in.
    with torch.autocast(features.device.type, enabled=False):
        return _means(weights.T @ features, weights.sum(dim=0))


def _means(sums: Tensor, totals: Tensor) -> Tensor:
    """Sums [K, D] over totals [K], zeros where there is nothing."""
    return sums / torch.where(totals > 0, totals, 1).unsqueeze(1)


def _directions(features: Tensor) -> Tensor:
    """Rows [n, D] with a constant 1 appended, of unit length, [n, D + 1]."""
    return normalize(pad(full_precision(features), (0, 1), value=1.0), dim=1)


def _cosines(directions: Tensor, centres: Tensor, left_out: Tensor) -> Tensor:
    """Cosines [n, K] of unit rows to unit centroids; -inf to those that were left out."""
    with torch.autocast(directions.device.type, enabled=False):
        cosines = directions @ centres.T
    return cosines.clamp_(-1, 1).masked_fill_(left_out, -torch.inf)


def _sums_by_label(directions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Sums [K, D] of the rows [n, D] of each label."""
    if directions.device.type == "cpu":
        sums = directions.new_zeros(classes, directions.shape[1])
        return sums.index_add_(0, labels, directions)
    # A GPU would add as its threads come, and not twice to the same sum.
    members = directions.new_zeros(len(labels), classes).scatter_(1, labels.unsqueeze(1), 1)
    return members.T @ directions


def _require_values(features: Tensor, probabilities: Tensor) -> None:
    # Not isfinite, whose answer is as large again: a NaN or infinity is the least or largest.
    if not bool(torch.stack(features.aminmax()).isfinite().all()):
        raise ValueError(
            "features hold values that are not finite: the network has diverged, "
            "lower the learning rate or the loss weights"
        )
    least, largest = (float(value) for value in probabilities.aminmax())
    # Written as a negation, so that a value that is no number is refused as well.
    if not (least >= 0 and 0 < largest <= 1 + ROUNDING):
        raise ValueError(
            "probabilities must lie in [0, 1] and not all be zero, found values from "
            f"{least:.4g} to {largest:.4g}: pass the softmax of the logits"
        )


def pseudo_labels(features: Tensor, probabilities: Tensor, rounds: int = 2) -> PseudoLabels:
    """Label every sample with the class of its nearest centroid, by cosine.

    f_i = [F(x_i), 1] / ||[F(x_i), 1]||
    c_k = sum_i p_ik f_i / sum_i p_ik
    y_i = argmax_k cos(f_i, c_k)

    and then ``rounds - 1`` times more with the hard labels y in the place of p. A class that no
    sample was assigned to has no centroid and is left out of the rounds that follow. (The released
    SHOT program also leaves out of the first round a class that is no sample's most probable one.)

    Args:
        features: [N, D], the whole target set's features, network in eval mode.
        probabilities: [N, K], the predictions of the same samples, in [0, 1].
        rounds: how often centroids are formed, at least 1.

    Returns:
        The labels and the centroids of the last round, on the device of the features, without
        gradient. Nothing of N rows but the labels is made on the way, see
        :mod:`socketlab.objectives.chunks`.

    Raises:
        ValueError: when the shapes do not fit, ``rounds`` is below 1, the features are not finite
            or the probabilities lie outside [0, 1].

    Source: Liang et al., SHOT, ICML 2020 (arXiv 2002.08546).

    The third sample is predicted as class 0 by a hair, but looks like the second:

    >>> features = torch.tensor([[5.0, 0.0], [0.0, 5.0], [0.5, 5.0]])
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.51, 0.49]])
    >>> found = pseudo_labels(features, probabilities)
    >>> found.labels
    tensor([0, 1, 1])

    A low similarity, of the third to its predicted class, and a high one, to its own class:

    >>> [round(value, 2) for value in found.similarity[2].tolist()]
    [0.13, 1.0]
    """
    _require_same_samples(features, "probabilities", probabilities)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, found {rounds}")
    count, width, classes = *features.shape, probabilities.shape[1]
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        _require_values(features, probabilities)
        like = full_precision(features[:1])
        labels = torch.empty(count, dtype=torch.int64, device=features.device)
        parts = [*chunks(count, max(width + 1, classes), like)]
        sums, totals = like.new_zeros(classes, width + 1), like.new_zeros(classes)
        for rows in parts:
            weights = full_precision(probabilities[rows])
            sums += weights.T @ _directions(features[rows])
            totals += weights.sum(dim=0)
        for left in reversed(range(rounds)):
            centres, left_out = normalize(_means(sums, totals), dim=1), totals <= 0
            sums, totals = torch.zeros_like(sums), torch.zeros_like(totals)
            for rows in parts:
                directions = _directions(features[rows])
                labels[rows] = _cosines(directions, centres, left_out).argmax(dim=1)
                if left:
                    sums += _sums_by_label(directions, labels[rows], classes)
                    totals += labels[rows].bincount(minlength=classes)
    return PseudoLabels(labels, features.detach(), centres, left_out)
