"""Distance of the features of paired images: one RGB, the other of the new modality."""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from socketlab.objectives._inputs import (
    full_precision,
    require_known,
    require_matrix,
    require_same_shape,
)

PairReduction: TypeAlias = Literal["frobenius", "mean_squared", "cosine"]

SMALLEST_NORM = 1e-8
"""Below it a feature has no direction, and its cosine with anything counts as zero."""


def _direction(features: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    # Divided by one, not by a tiny number, so that a row of zeros gets a gradient of ordinary size.
    return features / torch.where(norms > SMALLEST_NORM, norms, 1)


def feature_distance(
    source: Tensor, target: Tensor, reduction: PairReduction = "mean_squared"
) -> Tensor:
    """Distance of paired features, row i of one belonging to row i of the other.

    - ``frobenius``: sqrt(sum_i ||s_i - t_i||^2), not squared; grows with the square root of B.
    - ``mean_squared``: mean_i ||s_i - t_i||^2 / D, the mean over batch and dimensions.
    - ``cosine``: mean_i (1 - cos(s_i, t_i)); blind to the features' lengths.

    Args:
        source: [B, D], features of the RGB images by the source model.
        target: [B, D], features of their partners by the target model.
        reduction: one of the three.

    Returns:
        Scalar; 0 when all pairs coincide, with a finite gradient there. ``cosine`` lies in [0, 2],
        and a row of zeros counts 1; the others are unbounded.

    Raises:
        ValueError: when the shapes differ or are no matrices, or the reduction is unknown.

    Source: SOCKET, ECCV 2022 (arXiv 2209.04027), ``frobenius`` as in its released program;
    supervision transfer, Gupta et al., CVPR 2016 (arXiv 1507.00448).

    A low and a high one:

    >>> source = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> low, high = source + 0.1, -source
    >>> for reduction in get_args(PairReduction):
    ...     values = [feature_distance(source, target, reduction) for target in (low, high)]
    ...     print(reduction, *(f"{value:.3f}" for value in values))
    frobenius 0.200 10.770
    mean_squared 0.010 29.000
    cosine 0.001 2.000
    """
    require_known("reduction", reduction, get_args(PairReduction))
    require_same_shape("source", source, "target", target)
    require_matrix("source", source, "[B, D]")
    source, target = full_precision(source), full_precision(target)
    if reduction == "frobenius":
        # vector_norm has gradient zero at zero, where sqrt has none.
        norm: Tensor = torch.linalg.vector_norm(source - target)
        return norm
    if reduction == "mean_squared":
        return (source - target).square().mean()
    return (1 - (_direction(source) * _direction(target)).sum(dim=1)).mean()
