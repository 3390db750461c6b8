"""How far the two halves of pairs lie apart: centres, partners, relations between items.

Row i of `x` (RGB) and row i of `y` (the other modality) are partners. Every function
L2-normalises the rows first and computes in float64 on their device, so that a number depends on
the device that made the features by rounding alone. No n x n matrix is held.

No single number is the gap. `table.gap_table` gives the honest minimal set with intervals; the
functions `weighted_...` and `..._by_row` are what its bootstrap calls, on rows that are checked
and of unit length.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from socketlab.gap.pairs import COLLAPSED, Features, refuse_collapsed, unit_pairs


@dataclass(frozen=True)
class PairGap:
    """Mean squared distance of partners and its exact split, total = centroid + residual.

    `centroid` is the SQUARED centroid gap, ||mean x - mean y||^2; `residual` is what no common
    shift of all points can take away.
    """

    total: float
    centroid: float
    residual: float


def centroid_gap(x: Features, y: Features) -> float:
    """Distance of the two centres, ||mean x - mean y||, of [n, d] and [m, d] features.

    In [0, 2]; 0: same centre. Independent samples of one law give up to about sqrt(2/n), not 0.
    Needs no pairs. Raises ValueError on bad input. Source: Liang et al., NeurIPS 2022.
    """
    unit_x, unit_y = unit_pairs(x, y, paired=False)
    return float((unit_x.mean(dim=0) - unit_y.mean(dim=0)).norm())


def pair_gap(x: Features, y: Features) -> PairGap:
    """Mean squared distance of partners, split exactly into centroid and residual part.

    mean ||x-y||^2 = ||mean x - mean y||^2 + mean ||(x - mean x) - (y - mean y)||^2
    for [n, d] paired features; total in [0, 4]. `centroid` is SQUARED: `centroid_gap` ** 2.
    Raises ValueError on bad input.
    """
    unit_x, unit_y = unit_pairs(x, y)
    difference = unit_x - unit_y
    mean = difference.mean(dim=0)
    return PairGap(
        total=float(difference.square().sum(dim=1).mean()),
        centroid=float(mean.square().sum()),
        residual=float((difference - mean).square().sum(dim=1).mean()),
    )


def alignment(x: Features, y: Features) -> float:
    """Mean squared distance of partners, mean ||x-y||^2, of [n, d] paired features.

    In [0, 4]; 0: partners coincide, 2: strangers. The total of `pair_gap`, by the name that it
    has beside `distributions.uniformity`: a collapse of everything onto one point has alignment 0
    too, and only the uniformity tells. Raises ValueError on bad input.
    Source: Wang and Isola, ICML 2020 (arXiv 2005.10242), with their alpha = 2.
    """
    return pair_gap(x, y).total


def relative_modality_gap(x: Features, y: Features) -> float:
    """RMG: distance of partners relative to the distance of strangers in one modality.

    With D = (1 - cos)/2:  D_pairs / (D_pairs + (D_xx + D_yy)/2), D_xx and D_yy means over i != j.
    [n, d] paired features; in [0, 1]; 0: partners coincide, 0.5: no closer than strangers.
    Raises ValueError on bad input. Source: Role et al., arXiv 2505.03703.
    """
    unit_x, unit_y = unit_pairs(x, y)
    return float(weighted_rmg(unit_x, unit_y, unit_x.new_ones(1, len(unit_x))))


def linear_cka(x: Features, y: Features) -> float:
    """Linear CKA, ||X'Y||_F^2 / (||X'X||_F ||Y'Y||_F), columns centred after the rows are unit.

    [n, d] and [n, e] features of the same n items; in [0, 1]; 1: same relations between items.
    Blind to offset and rotation, so not a gap. Independent features give about d/n, not 0.
    Raises ValueError on bad input. Source: Kornblith et al., ICML 2019.
    """
    unit_x, unit_y = unit_pairs(x, y, same_width=False)
    return cka_by_row(unit_x, unit_y)[0]


def weighted_centroid_gap(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """`centroid_gap` [b] of unit rows, of which row i counts weights[b, i] times."""
    distance: Tensor = (weights_x @ x / len(x) - weights_y @ y / len(y)).norm(dim=1)
    return distance


def weighted_pair_gap(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The total of `pair_gap` [b] of unit rows, where pair i counts weights[b, i] times."""
    return weights @ (x - y).square().sum(dim=1) / len(x)


def weighted_rmg(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """`relative_modality_gap` [b] of unit rows, where pair i counts weights[b, i] times.

    Raises ValueError where all rows of both are one point, which leaves 0/0.
    """
    n = len(x)
    repeats = weights.square().sum(dim=1)
    strangers = weights.new_zeros(len(weights))
    for rows in (x, y):
        # The cosines of all couples sum to the squared length of the summed unit rows, so no
        # n x n matrix is needed; a pair drawn twice is no stranger to itself. The clamp is for
        # a tiny n, where a resample can be one pair n times and has no strangers at all.
        couples = (n * n - repeats).clamp(min=1)
        cosine = ((weights @ rows).square().sum(dim=1) - repeats) / couples
        strangers += (1 - cosine) / 4
    pairs = weights @ (1 - (x * y).sum(dim=1)).clamp(min=0) / n / 2
    if float(pairs.max() + strangers.max()) < COLLAPSED:
        raise ValueError(
            "All rows of x and y are one point, which leaves 0/0. "
            "The models that made them have collapsed; check them before measuring."
        )
    return pairs / (pairs + strangers)


def cka_by_row(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """`linear_cka` of unit rows, and how it moves by one more of a pair, [n], to first order.

    With S_xy = X'Y/n, the change of ||S_xy||_F^2 is 2/n sum_i (w_i - 1) x_i' S_xy y_i.
    Raises ValueError where all rows of one side are one point.
    """
    refuse_collapsed(x, name="x")
    refuse_collapsed(y, name="y")
    centred_x, centred_y = x - x.mean(dim=0), y - y.mean(dim=0)
    level, by_row = [], []
    for one, other in (
        (centred_x, centred_y),
        (centred_x, centred_x),
        (centred_y, centred_y),
    ):
        cross = one.T @ other / len(x)
        level.append(float(cross.square().sum()))
        by_row.append(2 * ((one @ cross) * other).sum(dim=1) / len(x))
    lengths = (level[1] * level[2]) ** 0.5
    value = level[0] / lengths
    moves = by_row[0] / lengths - value * (by_row[1] / level[1] + by_row[2] / level[2]) / 2
    return min(1.0, value), moves
