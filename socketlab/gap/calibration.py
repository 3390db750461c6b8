"""Whether a classifier is right as often as its confidence says."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROUNDING = 1e-3
"""How far a confidence may exceed 1: mixtures over several sources do, by rounding."""


@dataclass(frozen=True, eq=False)  # eq would compare arrays, whose truth value is undefined
class Reliability:
    """Confidence and accuracy, bin by bin, of M bins; what a reliability diagram draws.

    Attributes:
        edges: [M + 1] float64, from 0 to 1, of equal width. Bin b goes from edges[b] up to, but
            not including, edges[b + 1]; the last one includes 1.
        count: [M] int64, predictions per bin.
        confidence: [M] float64, nan where the bin is empty.
        accuracy: [M] float64, share of right answers, nan where the bin is empty.
        error: expected calibration error, from 0 (calibrated) to 1.
    """

    edges: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def reliability(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], bins: int = 10
) -> Reliability:
    """Confidence and accuracy per bin of confidence, and the expected calibration error.

    error = sum_b n_b / N |accuracy_b - confidence_b|, over the bins that are not empty

    It depends on the number of bins and, with few predictions, is too high: compare values of the
    same N and bins only.

    Args:
        confidence: [N], largest probability per prediction, in [0, 1]. Above 1 by rounding, it
            counts as 1.
        right: [N] bool, whether the prediction is right.
        bins: M, how many bins of equal width.

    Raises:
        ValueError: when the shapes do not fit, `right` is not bool, there is no prediction, a
            confidence lies outside [0, 1] or is nan, or `bins` is below 1.

    Source: Guo et al., ICML 2017 (arXiv 1706.04599), equation 3; their bins are closed above, ours
    below.
    """
    if confidence.ndim != 1 or confidence.shape != right.shape or confidence.size == 0:
        raise ValueError(
            "confidence and right must have shape [N], one value per prediction and at least one, "
            f"found {confidence.shape} and {right.shape}"
        )
    if right.dtype != np.bool_:
        raise ValueError(f"right must be bool, found {right.dtype}: pass answers == labels")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    values = confidence.astype(np.float64)
    # Written as a negation, so that nan is refused as well.
    if not np.all((values >= 0) & (values <= 1 + ROUNDING)):
        raise ValueError(
            f"confidence must lie in [0, 1], found values from {values.min():.4g} to "
            f"{values.max():.4g}: pass the largest softmax probability"
        )
    values = np.minimum(values, 1)
    # Not linspace, whose 0.1 * 3 is not 0.3.
    edges = np.arange(bins + 1) / bins
    which = np.minimum(np.searchsorted(edges, values, side="right") - 1, bins - 1)
    count = np.bincount(which, minlength=bins).astype(np.int64)
    # A division of two zeros is the nan that is wanted, and would warn.
    filled = np.where(count > 0, count, np.nan)
    mean_confidence = np.bincount(which, weights=values, minlength=bins) / filled
    accuracy = np.bincount(which, weights=right, minlength=bins) / filled
    gaps = np.abs(accuracy - mean_confidence)
    error = float(np.nansum(count * gaps) / values.size)
    return Reliability(edges, count, mean_confidence, accuracy, error)
