"""How far each pseudo-label can be trusted, by the model and by the data's own structure."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from socketlab.objectives._inputs import full_precision, require_matrix

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
    if not bool(torch.isfinite(features).all()):
        raise ValueError(
            "features hold values that are not finite: the network has diverged, "
            "lower the learning rate or the loss weights"
        )
    # Written as a negation, so that a value that is no number is refused as well.
    if not bool((probabilities >= 0).all() & probabilities.any()):
        raise ValueError(
            "probabilities must not be negative and not all be zero, found values from "
            f"{probabilities.min().item():.4g} to {probabilities.max().item():.4g}: "
            "pass the softmax of the logits"
        )
    if not bool(((labels >= 0) & (labels < probabilities.shape[1])).all()):
        raise ValueError(
            f"labels must lie between 0 and {probabilities.shape[1] - 1}, found values from "
            f"{labels.min().item()} to {labels.max().item()}"
        )


def _log_joint(directions: Tensor, weights: Tensor) -> Tensor:
    """log (pi N(f_i | mu, Sigma)) [N] of one class, but for a constant that all classes share."""
    total = weights.sum()
    if not bool(total > 0):
        return torch.full_like(weights, -torch.inf)
    shares = weights / total
    centred = directions - shares @ directions
    covariance = centred.T @ (shares.unsqueeze(1) * centred)
    covariance.diagonal().add_(COVARIANCE_GUARD)
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    log_density: Tensor = -0.5 * white.square().sum(dim=0) - factor.diagonal().log().sum()
    return total.log() + log_density


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
        in float64, class by class: the covariances are close to singular.

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
        f = normalize(pad(features.to(place).double(), (0, 1), value=1.0), dim=1)
        p = probabilities.to(place).double()
        y = labels.to(place).unsqueeze(1)
        log_joint = torch.stack([_log_joint(f, weights) for weights in p.T], dim=1)
        others = log_joint.scatter(1, y, -torch.inf).amax(dim=1)
        # Bounded above, so that a gap to nothing is a number.
        gaps = (log_joint.gather(1, y)[:, 0] - others).clamp(0, torch.finfo(f.dtype).max)
        largest = gaps.max()
        data = gaps / torch.where(largest > 0, largest, 1)
        confidence = (data * p.gather(1, y)[:, 0]).clamp(max=1)
    return confidence.to(features.device, full_precision(features).dtype)
