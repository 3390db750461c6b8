"""How far each pseudo-label can be trusted, by the model and by the data's own structure."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from socketlab.objectives._inputs import full_precision, require_matrix
from socketlab.objectives.chunks import chunks

COVARIANCE_GUARD = 1e-6
"""Added to each class's covariance, of directions of length 1: with fewer samples than dimensions
it is singular. The released program has the same."""


def _checked(features: Tensor, probabilities: Tensor, labels: Tensor) -> None:
    require_matrix("features", features, "[N, D]")
    require_matrix("probabilities", probabilities, "[N, K]")
    if not len(features) == len(probabilities) or labels.shape != (len(features),):
        raise ValueError(
            "features, probabilities and labels must have one row per sample each, found "
            f"{tuple(features.shape)}, {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    # Not isfinite, whose answer is as large again: a NaN or infinity is the least or largest.
    if not bool(torch.stack(features.aminmax()).isfinite().all()):
        raise ValueError(
            "features hold values that are not finite: the network has diverged, "
            "lower the learning rate or the loss weights"
        )
    least, largest = (float(value) for value in probabilities.aminmax())
    # Written as a negation, so that a value that is no number is refused as well.
    if not (least >= 0 and largest > 0):
        raise ValueError(
            "probabilities must not be negative and not all be zero, found values from "
            f"{least:.4g} to {largest:.4g}: pass the softmax of the logits"
        )
    if not bool(((labels >= 0) & (labels < probabilities.shape[1])).all()):
        raise ValueError(
            f"labels must lie between 0 and {probabilities.shape[1] - 1}, found values from "
            f"{labels.min().item()} to {labels.max().item()}"
        )


class _Samples:
    """Directions and probabilities in float64, made anew for a few samples at a time."""

    def __init__(self, features: Tensor, probabilities: Tensor, place: torch.device) -> None:
        self.features, self.probabilities, self.place = features, probabilities, place
        self.columns, self.classes = features.shape[1] + 1, probabilities.shape[1]
        self.like = torch.empty(0, dtype=torch.float64, device=place)

    def parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Which samples, their directions [n, D + 1] and probabilities [n, K]."""
        for rows in chunks(len(self.features), max(self.columns, self.classes), self.like):
            features = self.features[rows].to(self.place).double()
            directions = normalize(pad(features, (0, 1), value=1.0), dim=1)
            yield rows, directions, self.probabilities[rows].to(self.place).double()

    def groups(self) -> Iterator[slice]:
        """So many classes that their covariances [n, D + 1, D + 1] stay within the budget."""
        return chunks(self.classes, self.columns**2, self.like)

    def masses(self) -> tuple[Tensor, Tensor]:
        """pi [K] and mu [K, D + 1], zeros for a class without any probability."""
        totals = self.like.new_zeros(self.classes)
        sums = self.like.new_zeros(self.classes, self.columns)
        for _, directions, weights in self.parts():
            totals += weights.sum(dim=0)
            sums += weights.T @ directions
        return totals, sums / torch.where(totals > 0, totals, 1).unsqueeze(1)

    def factors(self, group: slice, totals: Tensor, means: Tensor) -> Tensor:
        """Cholesky factors [n, D + 1, D + 1] of the covariances of a group of classes."""
        classes = range(group.start, group.stop)
        found = self.like.new_zeros(len(classes), self.columns, self.columns)
        for _, directions, weights in self.parts():
            for covariance, k in zip(found, classes, strict=True):
                centred = directions - means[k]
                covariance += centred.T @ (weights[:, k, None] * centred)
        found /= torch.where(totals > 0, totals, 1)[group, None, None]
        found.diagonal(dim1=1, dim2=2).add_(COVARIANCE_GUARD)
        factors: Tensor = torch.linalg.cholesky(found)
        return factors

    def gaps(self, labels: Tensor) -> Tensor:
        """g [N]: log (pi N(f | mu, Sigma)) of each label less the largest of the other classes."""
        totals, means = self.masses()
        own = self.like.new_full((len(labels),), -torch.inf)
        others = own.clone()
        for group in self.groups():
            factors = self.factors(group, totals, means)
            constants = totals[group].log() - factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            for rows, directions, _ in self.parts():
                for k, factor, constant in zip(
                    range(group.start, group.stop), factors, constants, strict=True
                ):
                    centred = (directions - means[k]).T
                    white = torch.linalg.solve_triangular(factor, centred, upper=False)
                    # A class without any probability has a constant of -inf.
                    joint = constant - 0.5 * white.square().sum(dim=0)
                    mine = labels[rows] == k
                    own[rows] = torch.where(mine, joint, own[rows])
                    others[rows] = torch.where(mine, others[rows], others[rows].maximum(joint))
        return own - others


def joint_confidence(features: Tensor, probabilities: Tensor, labels: Tensor) -> Tensor:
    """Confidence of every pseudo-label, JMDS: joint model-data structure.

    w_i = LPG_i MPPL_i

    With f_i = [F(x_i), 1] / ||[F(x_i), 1]||, and per class pi_k = sum_i p_ik, mu_k and Sigma_k the
    mean and covariance of the f_i weighted by p_ik, Sigma_k + 1e-6 I:

    - g_i = log pi_y N(f_i | mu_y, Sigma_y) - max_{k != y} log pi_k N(f_i | mu_k, Sigma_k), y = y_i
    - LPG_i = max(g_i, 0) / max_j g_j, the log-probability gap: what the data say
    - MPPL_i = p_{i, y_i}, what the model says

    Chosen by us: the features get a constant 1 as in :func:`pseudo_labels`; the mixture is fitted
    once, from the model's probabilities (the released program goes on for one more round and takes
    its labels from the mixture); labels may come from elsewhere, and one that the mixture holds for
    less probable than another has weight 0. A class without any probability is left out. Where no
    other class is left, or all gaps are alike, LPG is 1; where no gap is positive, it is 0.

    Args:
        features: [N, D], the whole target set's features, network in eval mode.
        probabilities: [N, K], the predictions of the same samples.
        labels: [N] int64, their pseudo-labels.

    Returns:
        [N], float32 or better, in [0, 1], without gradient, on the device of the features. Computed
        in float64, class by class: the covariances are close to singular. That costs 3 N K D^2
        multiplications: on two cores 15 s for N = 10,000, K = 100 and D = 256.

    Raises:
        ValueError: when the shapes do not fit, the features are not finite, or the probabilities or
            the labels are out of range.

    Source: Lee et al., CoWA-JMDS, ICML 2022 (arXiv 2206.06640).

    High for samples amid their class, low for the third, which lies towards the other class:

    >>> features = torch.tensor([[3.0, 0], [3, 1], [2, 2], [0, 3], [1, 3], [0.5, 3]])
    >>> p = torch.tensor([0.9, 0.9, 0.6, 0.1, 0.1, 0.1])
    >>> weights = joint_confidence(features, torch.stack([p, 1 - p], 1), (p < 0.5).long())
    >>> bool(weights[2] < 0.1), bool(weights.max() > 0.8)
    (True, True)
    """
    _checked(features, probabilities, labels)
    # Apple's GPU has no float64.
    place = torch.device("cpu") if features.device.type == "mps" else features.device
    with torch.no_grad(), torch.autocast(place.type, enabled=False):
        samples, y = _Samples(features, probabilities, place), labels.to(place)
        # Bounded above, so that a gap to nothing is a number.
        gaps = samples.gaps(y).clamp(0, torch.finfo(torch.float64).max)
        largest = gaps.max()
        data = gaps / torch.where(largest > 0, largest, 1)
        said = probabilities.to(place).gather(1, y.unsqueeze(1))[:, 0].double()
        confidence = (data * said).clamp(max=1)
    return confidence.to(features.device, full_precision(features).dtype)
