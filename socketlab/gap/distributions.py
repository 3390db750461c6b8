"""How far two clouds of features lie apart, whoever is whose partner; how widely one is spread.

`x` is [n, d] and `y` [m, d]; n and m may differ. Rows are L2-normalised first and everything is
computed in float64 on their device. Kernels cost n^2 time and a chunk of rows of memory.

The functions `weighted_...` and `..._by_row` are what the bootstrap of `table.gap_table` calls, on
rows that are checked and of unit length; row i counts weights[b, i] times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.pairs import Features, cosine_chunks, normalise, refuse_few, unit_pairs

BANDWIDTH_ROWS = 1000
SPREAD_SCALE = 2.0  # t of exp(-t ||x_i - x_j||^2) in the uniformity
LEAST_UNIFORMITY = -4 * SPREAD_SCALE  # unit rows are at most 2 apart
ROUNDING = 1e-12  # a permutation that swaps equal rows is no evidence either way


@dataclass(frozen=True)
class Mmd:
    """Squared MMD, the share of relabellings that give as much, and the kernel's width."""

    squared: float
    p_value: float
    bandwidth: float


def mmd(x: Features, y: Features, *, permutations: int = 200, seed: int = 0) -> Mmd:
    """Unbiased squared maximum mean discrepancy with an RBF kernel, and its p-value.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)
    k(a, b) = exp(-||a - b||^2 / (2 s^2)), s the median distance of all rows to each other, from
    at most 1,000 rows of each side, drawn by `seed`.

    0: same law; it may fall below 0 by noise and, where row i of both are alike, by up to 2/n.
    p = (1 + relabellings with at least this MMD^2) / (1 + permutations). With n = m a relabelling
    swaps random couples (x_i, y_i), which is right for pairs and for independent rows; else it
    deals all rows out anew.

    Raises ValueError on bad input, `permutations` below 1, or a median distance of 0.
    Source: Gretton et al., JMLR 13 (2012), lemma 6.
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}. Pass 1 or more.")
    unit_x, unit_y = unit_pairs(x, y, paired=False)
    bandwidth = median_distance(unit_x, unit_y, seed=seed)
    found = relabelled_mmd(unit_x, unit_y, bandwidth, permutations=permutations, seed=seed)
    return Mmd(float(found[0]), p_value(found), bandwidth)


def frechet_distance(x: Features, y: Features) -> float:
    """Squared distance of the two normal laws with the means and covariances of x and y.

    ||mean x - mean y||^2 + tr(S_x + S_y - 2 (S_x^.5 S_y S_x^.5)^.5), S with n - 1 below.

    In [0, 4] up to the n - 1; 0: same mean and covariance. It is too high for few rows, the more
    the more columns: compare values of the same n only. [n, d] and [m, d] features, any n and d.
    Raises ValueError on bad input. Source: Dowson and Landau, J. Multivariate Analysis 12 (1982);
    as a distance of features Heusel et al., NeurIPS 2017.
    """
    unit_x, unit_y = unit_pairs(x, y, paired=False)
    return frechet_by_row(unit_x, unit_y)[0]


def uniformity(features: Features) -> float:
    """How evenly one side covers the sphere, log mean_{i != j} exp(-2 ||x_i - x_j||^2).

    [n, d] features of one modality; in [-8, 0]; 0: all rows are one point (which is why constant
    features are not refused here), about -4: as spread out as random directions.
    Raises ValueError on bad input. Source: Wang and Isola, ICML 2020 (arXiv 2005.10242), over
    couples of different rows.
    """
    rows = normalise(features)
    refuse_few(rows, 2, name="features")
    return float(weighted_uniformity(rows, _once(rows)))


def median_distance(x: Tensor, y: Tensor, *, seed: int) -> float:
    """Median distance of unit rows to each other, both sides together; at most 1,000 of each.

    Raises ValueError where it is 0: more than half of the rows are one point.
    """
    draw = np.random.default_rng(seed)
    kept = [rows[draw.permutation(len(rows))[:BANDWIDTH_ROWS]] for rows in (x, y)]
    rows = torch.cat(kept)
    couples = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    cosine = (rows @ rows.T)[couples[0], couples[1]]
    median = float(np.median((2 - 2 * cosine).clamp(min=0).sqrt().cpu().numpy()))
    if median < 1e-6:
        raise ValueError(
            "The median distance of all rows is 0, so the kernel has no width: most rows are one "
            "point. The model that made them has collapsed; check it before measuring."
        )
    return median


def relabelled_mmd(
    x: Tensor, y: Tensor, bandwidth: float, *, permutations: int, seed: int
) -> Tensor:
    """MMD^2 of unit rows and of their relabellings, [1 + permutations], the true labels first."""
    n, m = len(x), len(y)
    draw = np.random.default_rng(seed)
    if n == m:
        swapped = draw.random((permutations, n)) < 0.5
        relabelled = np.concatenate([~swapped, swapped], axis=1)
    else:
        relabelled = draw.permuted(np.tile(np.arange(n + m) < n, (permutations, 1)), axis=1)
    truth = np.arange(n + m)[None] < n
    everyone = np.ones((1, n + m), bool)
    first = torch.from_numpy(np.concatenate([truth, relabelled, everyone])).to(x.device).double()
    rows = torch.cat([x, y])
    within, with_all = first.new_zeros(2, len(first))
    # With s the labels, 1 = first side: s'Ks, 1'Ks and 1'K1 give all three sums of the kernel.
    for these, product in _kernel_products(rows, rows, first, 1 / (2 * bandwidth**2)):
        within += (first[:, these].T * product).sum(dim=0)
        with_all += product.sum(dim=0)
    all_couples = with_all[-1]
    within, with_all = within[:-1], with_all[:-1]
    second: Tensor = all_couples - 2 * with_all + within
    between: Tensor = (with_all - within) / (n * m)
    found: Tensor = (within - n) / (n * (n - 1)) + (second - m) / (m * (m - 1)) - 2 * between
    return found


def p_value(relabelled: Tensor) -> float:
    """Share of all labellings, the true one (first) among them, that give at least its value."""
    return float((relabelled >= relabelled[0] - ROUNDING).double().mean())


def weighted_mmd(
    x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor, bandwidth: float
) -> Tensor:
    """MMD^2 [b] of weighted unit rows."""
    scale = 1 / (2 * bandwidth**2)
    between = _kernel_sum(x, y, weights_x, weights_y, scale)
    within = _couples(x, weights_x, scale) + _couples(y, weights_y, scale)
    return within - 2 * between / (len(x) * len(y))


def weighted_uniformity(rows: Tensor, weights: Tensor) -> Tensor:
    """`uniformity` [b] of weighted unit rows [n, d]."""
    # A resample of a tiny n can be one row n times: no couples, and the logarithm of nothing.
    return _couples(rows, weights, SPREAD_SCALE).clamp(min=math.exp(LEAST_UNIFORMITY)).log()


def frechet_by_row(x: Tensor, y: Tensor) -> tuple[float, Tensor, Tensor]:
    """`frechet_distance` of unit rows, and how it moves by one more of a row: [n] for x, [m] for y.

    The trace of (S_x^.5 S_y S_x^.5)^.5 is the sum of the singular values of M = X Y', X and Y
    centred and over the root of n - 1. A row that counts w times scales a row of M by root w, so
    that with M = U S V' the sum moves by 1/2 sum_i (w_i - 1) (U S U')_ii, to first order. With
    X = Q R only R is needed for the value, so that dead columns and n < d do no harm.
    """
    shift = x.mean(dim=0) - y.mean(dim=0)
    centred = [(rows - rows.mean(dim=0)) / math.sqrt(len(rows) - 1) for rows in (x, y)]
    factors = [torch.linalg.qr(rows, mode="r").R for rows in centred]
    left, singular, right = torch.linalg.svd(factors[0] @ factors[1].T, full_matrices=False)
    value = shift.square().sum() - 2 * singular.sum()
    moves = []
    for rows, factor, basis, sign in zip(centred, factors, (left, right.T), (1, -1), strict=True):
        lengths = rows.square().sum(dim=1)
        value = value + lengths.sum()
        shared = (rows @ (torch.linalg.pinv(factor) @ basis)).square() @ singular
        centre = sign * 2 * (rows @ shift) * math.sqrt(len(rows) - 1) / len(rows)
        moves.append(lengths - shared + centre)
    return max(0.0, float(value)), moves[0], moves[1]


def _couples(rows: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Mean kernel [b] over couples of different rows; a row drawn twice makes no couple."""
    repeats = weights.square().sum(dim=1)
    total = _kernel_sum(rows, rows, weights, weights, scale)
    return (total - repeats) / (weights.sum(dim=1).square() - repeats).clamp(min=1)


def _kernel_sum(
    rows: Tensor, others: Tensor, weights: Tensor, weights_others: Tensor, scale: float
) -> Tensor:
    """sum_ij w_bi K_ij v_bj, [b], for weights w [b, n] and v [b, m]."""
    total = weights.new_zeros(len(weights))
    for these, product in _kernel_products(rows, others, weights_others, scale):
        total += (weights[:, these].T * product).sum(dim=0)
    return total


def _kernel_products(
    rows: Tensor, others: Tensor, weights: Tensor, scale: float
) -> Iterator[tuple[slice, Tensor]]:
    """Which rows, and K weights' of them, [chunk, b], K_ij = exp(-scale ||rows_i - others_j||^2).

    Of unit rows.
    """
    for start, cosine in cosine_chunks(rows, others):
        kernel = cosine.sub_(1).mul_(2 * scale).exp_()
        yield slice(start, start + len(kernel)), kernel @ weights.T


def _once(rows: Tensor) -> Tensor:
    return rows.new_ones(1, len(rows))
