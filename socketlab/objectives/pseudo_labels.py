"""Pseudo-labels from class centroids: the network's own predictions, cleaned by its features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot, pad

from socketlab.objectives._inputs import full_precision, require_matrix

ROUNDING = 1e-3
"""How far a probability may exceed 1: mixtures over several sources do, by rounding."""


@dataclass(frozen=True, eq=False)  # eq would compare tensors, whose truth value is undefined
class PseudoLabels:
    """Labels that a network gives to its own target images.

    Attributes:
        labels: [N] int64, the class of the most similar centroid.
        similarity: [N, K] cosine to each centroid of the last round, in [-1, 1]; -inf for a class
            that was left out, so that a softmax over it gives that class no probability.
    """

    labels: Tensor
    similarity: Tensor


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
        sums = weights.T @ features
    totals = weights.sum(dim=0).unsqueeze(1)
    return sums / torch.where(totals > 0, totals, 1)


def _round(directions: Tensor, weights: Tensor) -> PseudoLabels:
    """Give every sample the class of its most similar centroid, among classes with weight."""
    centres = normalize(centroids(directions, weights), dim=1)
    with torch.autocast(directions.device.type, enabled=False):
        similarity = directions @ centres.T
    left_out = weights.sum(dim=0) <= 0
    similarity = similarity.clamp(-1, 1).masked_fill(left_out, -torch.inf)
    return PseudoLabels(labels=similarity.argmax(dim=1), similarity=similarity)


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
        The labels and the similarities of the last round, on the device of the features, without
        gradient. A float copy of [N, D + 1] and one of [N, K] are held on the way.

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
    with torch.no_grad():
        features, weights = full_precision(features), full_precision(probabilities)
        if not bool(torch.isfinite(features).all()):
            raise ValueError(
                "features hold values that are not finite: the network has diverged, "
                "lower the learning rate or the loss weights"
            )
        # Written as a negation, so that a value that is no number is refused as well.
        valid = ((weights >= 0) & (weights <= 1 + ROUNDING)).all() & weights.any()
        if not bool(valid):
            raise ValueError(
                "probabilities must lie in [0, 1] and not all be zero, found values from "
                f"{weights.min().item():.4g} to {weights.max().item():.4g}: "
                "pass the softmax of the logits"
            )
        directions = normalize(pad(features, (0, 1), value=1.0), dim=1)
        found = _round(directions, weights)
        for _ in range(rounds - 1):
            hard = one_hot(found.labels, num_classes=weights.shape[1]).to(weights.dtype)
            found = _round(directions, hard)
    return found
