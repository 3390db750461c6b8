"""How far two modalities lie apart: pure functions on paired features.

Row i of `x` (RGB) and row i of `y` (the other modality) are partners. Every function
L2-normalises the rows first and computes in float64 on the CPU, so that a number does not depend
on the device that made the features. No n x n matrix is held beyond a chunk of rows.

No single number is the gap. `gap_table` gives the honest minimal set with intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.neighbours import (
    Retrieval,
    RetrievalDirection,
    neighbour_mixing,
    partner_ranks,
    retrieval,
)
from socketlab.gap.pairs import Features, normalise, unit_pairs

__all__ = [
    "Features",
    "GapRow",
    "PairGap",
    "Retrieval",
    "RetrievalDirection",
    "centroid_gap",
    "gap_table",
    "linear_cka",
    "modality_guesses",
    "neighbour_mixing",
    "normalise",
    "pair_gap",
    "partner_ranks",
    "proxy_a_distance",
    "relative_modality_gap",
    "retrieval",
]

CLASSIFIER_FOLDS = 5


@dataclass(frozen=True)
class PairGap:
    """Mean squared distance of partners and its exact split, total = centroid + residual.

    `centroid` is the SQUARED centroid gap, ||mean x - mean y||^2; `residual` is what no common
    shift of all points can take away.
    """

    total: float
    centroid: float
    residual: float


@dataclass(frozen=True)
class GapRow:
    """One measure of the gap with its 95 % interval; `n` pairs in each of `seeds` subsets."""

    metric: str
    value: float
    low: float
    high: float
    seeds: int
    n: int
    reads: str


def centroid_gap(x: Features, y: Features) -> float:
    """Distance of the two centres, ||mean x - mean y||, of [n, d] paired features.

    In [0, 2]; 0: same centre. Independent samples of one law give up to about sqrt(2/n), not 0.
    Raises ValueError on bad input. Source: Liang et al., NeurIPS 2022.
    """
    unit_x, unit_y = unit_pairs(x, y)
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


def relative_modality_gap(x: Features, y: Features) -> float:
    """RMG: distance of partners relative to the distance of strangers in one modality.

    With D = (1 - cos)/2:  D_pairs / (D_pairs + (D_xx + D_yy)/2), D_xx and D_yy means over i != j.
    [n, d] paired features; in [0, 1]; 0: partners coincide, 0.5: no closer than strangers.
    Raises ValueError on bad input. Source: Role et al., arXiv 2505.03703.
    """
    unit_x, unit_y = unit_pairs(x, y)
    everyone_once = torch.ones(1, len(unit_x), dtype=torch.float64)
    return float(_weighted_rmg(unit_x, unit_y, everyone_once))


def modality_guesses(x: Features, y: Features, *, seed: int = 0) -> Tensor:
    """Whether a held-out linear classifier names the modality of each row rightly.

    Logistic regression on standardised columns, five folds grouped by pair, so that a partner
    never sits in the training part. `seed` draws the folds. Result: bool [n, 2], columns x, y.
    Raises ValueError on bad input or fewer than five pairs.
    """
    # Imported here: scikit-learn takes a second, which the other measures need not wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    unit_x, unit_y = unit_pairs(x, y, least=CLASSIFIER_FOLDS)
    n = len(unit_x)
    modality = np.repeat([0, 1], n)
    guesses = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        torch.cat([unit_x, unit_y]).numpy(),
        modality,
        groups=np.tile(np.arange(n), 2),
        cv=GroupKFold(n_splits=CLASSIFIER_FOLDS, shuffle=True, random_state=seed),
    )
    return torch.from_numpy(guesses == modality).reshape(2, n).T


def proxy_a_distance(x: Features, y: Features, *, seed: int = 0) -> float:
    """PAD = 2 (1 - 2 err), err of the held-out classifier of `modality_guesses`.

    [n, d] paired features; in [0, 2], cut off at 0 where the classifier does worse than chance;
    0: a linear classifier cannot tell the modalities apart, 2: always. Its noise is about
    2/sqrt(2n). Raises ValueError on bad input. Source: Ben-David et al., NeurIPS 2006.
    """
    right = float(modality_guesses(x, y, seed=seed).double().mean())
    return max(0.0, 2 * (2 * right - 1))


def linear_cka(x: Features, y: Features) -> float:
    """Linear CKA, ||X'Y||_F^2 / (||X'X||_F ||Y'Y||_F), columns centred after the rows are unit.

    [n, d] and [n, e] features of the same n items; in [0, 1]; 1: same relations between items.
    Blind to offset and rotation, so not a gap. Independent features give about d/n, not 0.
    Raises ValueError on bad input. Source: Kornblith et al., ICML 2019.
    """
    unit_x, unit_y = unit_pairs(x, y, same_width=False)
    centred_x, centred_y = unit_x - unit_x.mean(dim=0), unit_y - unit_y.mean(dim=0)
    cross = (centred_x.T @ centred_y).square().sum()
    return float(cross / ((centred_x.T @ centred_x).norm() * (centred_y.T @ centred_y).norm()))


def gap_table(
    x: Features,
    y: Features,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    sample: int | None = 1000,
    bootstrap: int = 200,
) -> list[GapRow]:
    """Centroid gap, residual gap, RMG, PAD and R@1 of [n, d] paired features, with intervals.

    Each seed draws a fixed subset of `sample` pairs without replacement (all pairs where there
    are no more, or `sample` is None) and the classifier's folds; `value` is the mean over seeds.

    The interval is that of one subset: for every seed `bootstrap` resamples of its pairs, pooled
    over seeds, 2.5 % and 97.5 % quantiles, shifted so that their mean is `value` (a resample holds
    pairs twice, which inflates a distance of means) and cut to the measure's range. Centroid,
    residual and RMG are computed anew on every resample. For PAD and R@1 the resample is over each
    pair's correctness: classifier and gallery stay those of the subset, so their own variation
    shows only as spread between seeds. R@1 is the mean of both directions.

    Raises ValueError on bad input, no seeds, or a sample or bootstrap too small to mean anything.
    """
    unit_x, unit_y = unit_pairs(x, y, least=CLASSIFIER_FOLDS)
    if not seeds or min(seeds) < 0:
        raise ValueError(f"seeds is {tuple(seeds)}. Pass one or more, none negative.")
    if bootstrap < 20:
        raise ValueError(f"bootstrap is {bootstrap}. Pass at least 20 resamples for an interval.")
    if sample is not None and sample < CLASSIFIER_FOLDS:
        raise ValueError(f"sample is {sample}. Pass at least {CLASSIFIER_FOLDS} pairs or None.")
    size = len(unit_x) if sample is None else min(sample, len(unit_x))
    measures: dict[str, tuple[float, str]] = {  # name: (largest value, how to read it)
        "centroid gap": (2, f"0: same centre; chance alone gives up to {(2 / size) ** 0.5:.2f}"),
        "residual gap": (4, "0: partners coincide once the centres do; 2: strangers"),
        "RMG": (1, "0: partners coincide; 0.5: no closer than strangers"),
        "PAD": (2, "0: a linear classifier cannot tell the modalities apart; 2: always"),
        "R@1": (1, f"1: every partner found; chance is {1 / size:.2g}"),
    }
    values: dict[str, list[float]] = {name: [] for name in measures}
    resampled: dict[str, list[Tensor]] = {name: [] for name in measures}
    for seed in seeds:
        draw = np.random.default_rng(seed)
        rows = torch.from_numpy(np.sort(draw.permutation(len(unit_x))[:size]))
        counts = draw.multinomial(size, np.full(size, 1 / size), size=bootstrap)
        weights = torch.cat([torch.ones(1, size), torch.from_numpy(counts)]).double()
        for name, numbers in _weighted_measures(unit_x[rows], unit_y[rows], weights, seed).items():
            values[name].append(float(numbers[0]))
            resampled[name].append(numbers[1:])
    table = []
    for name, (largest, reads) in measures.items():
        value = float(np.clip(np.mean(values[name]), 0, largest))
        pooled = torch.cat(resampled[name])
        centred = (pooled - pooled.mean() + value).clamp(0, largest).numpy()
        low, high = (float(bound) for bound in np.quantile(centred, [0.025, 0.975]))
        table.append(GapRow(name, value, low, high, len(seeds), size, reads))
    return table


def _weighted_measures(x: Tensor, y: Tensor, weights: Tensor, seed: int) -> dict[str, Tensor]:
    """The table's measures of unit rows where pair i counts weights[b, i] times: a [b] each."""
    n = len(x)
    centroid = (weights @ (x - y) / n).norm(dim=1)
    total = weights @ (x - y).square().sum(dim=1) / n
    named = weights @ modality_guesses(x, y, seed=seed).double().mean(dim=1) / n
    found = ((partner_ranks(x, y) <= 1).double() + (partner_ranks(y, x) <= 1).double()) / 2
    return {
        "centroid gap": centroid,
        "residual gap": total - centroid.square(),
        "RMG": _weighted_rmg(x, y, weights),
        "PAD": (2 * (2 * named - 1)).clamp(min=0),
        "R@1": weights @ found / n,
    }


def _weighted_rmg(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    n = len(x)
    repeats = weights.square().sum(dim=1)
    strangers = torch.zeros(len(weights), dtype=torch.float64)
    for rows in (x, y):
        # The cosines of all couples sum to the squared length of the summed unit rows, so no
        # n x n matrix is needed; a pair drawn twice is no stranger to itself. The clamp is for
        # a tiny n, where a resample can be one pair n times and has no strangers at all.
        couples = (n * n - repeats).clamp(min=1)
        cosine = ((weights @ rows).square().sum(dim=1) - repeats) / couples
        strangers += (1 - cosine) / 4
    pairs = weights @ (1 - (x * y).sum(dim=1)).clamp(min=0) / n / 2
    return pairs / (pairs + strangers)
