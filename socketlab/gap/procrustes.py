"""Bring two feature spaces of any widths together by a rotation, and say what it cost.

Distances between the features of two encoders mean nothing: axis 3 of one has nothing to do with
axis 3 of the other, and there may not be as many. An orthogonal map is the most that can be
allowed without bending either space. It is fitted on one half of the pairs and everything is
measured on the other, since a map with many numbers brings even strangers together where it was
fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.gap.pairs import Features, unit_pairs

LEAST_PAIRS = 4
PAIRS_PER_COLUMN = 2


@dataclass(frozen=True, eq=False)
class Aligned:
    """The held-out pairs in one space: `x` and `y` [h, k] float64, row i of both is one pair.

    `rows` [h] are their row numbers in the input, sorted; `fitted` pairs made the map; `kept_x`
    and `kept_y` in [0, 1] are the shares of the held-out rows' variance that `columns` = k keep.
    """

    x: Tensor
    y: Tensor
    rows: npt.NDArray[np.int64]
    fitted: int
    columns: int
    kept_x: float
    kept_y: float

    @property
    def note(self) -> str:
        """What was done, in a sentence for people."""
        return (
            f"Rotation fitted on {self.fitted} pairs; what is shown is of the other "
            f"{len(self.rows)}, in {self.columns} columns, which keep {self.kept_x:.0%} and "
            f"{self.kept_y:.0%} of the two spaces' variance. The offset is removed, so a small "
            "centroid gap is no finding."
        )


def align(x: Features, y: Features, *, seed: int = 0, columns: int | None = None) -> Aligned:
    """Orthogonal Procrustes: R = argmin ||X_f - Y_f R||_F with R'R = I, applied to the rest.

    Rows are L2-normalised, as everywhere; then each space is centred on the mean of its own
    fitting half. The offset is thereby removed and not put back: between two spaces it has no
    meaning. Where k is less than a space's width, that space is first cut to its k principal axes,
    found on the fitting half. Where neighbouring rows are nearly the same picture, as in a video,
    the held-out half is not really new and the result flatters.

    Args:
        x, y: [n, d] and [n, e], row i of both is one pair.
        seed: draws the fitting half, n // 2 pairs.
        columns: k; by default min(d, e, n // 4), so that the fit has twice as many pairs as
            columns.

    Raises:
        ValueError: on bad input (NaN, zero or constant rows, unequal row counts), fewer than
            4 pairs, or `columns` out of reach.
    Source: Schoenemann, Psychometrika 1966; `scipy.linalg.orthogonal_procrustes`.
    """
    from scipy.linalg import orthogonal_procrustes

    unit_x, unit_y = unit_pairs(x, y, least=LEAST_PAIRS, same_width=False)
    n, width_x, width_y = len(unit_x), unit_x.shape[1], unit_y.shape[1]
    fitted = n // 2
    most = min(width_x, width_y, fitted)
    k = max(1, min(most, fitted // PAIRS_PER_COLUMN)) if columns is None else columns
    if not 1 <= k <= most:
        raise ValueError(
            f"columns is {k}. Pass 1 to {most}: x has {width_x} columns, y has {width_y}, and "
            f"{fitted} pairs are fitted on."
        )
    order = np.random.default_rng(seed).permutation(n)
    fit, rest = np.sort(order[:fitted]), np.sort(order[fitted:])
    fit_x, rest_x, kept_x = _reduced(unit_x.cpu().numpy(), fit, rest, k)
    fit_y, rest_y, kept_y = _reduced(unit_y.cpu().numpy(), fit, rest, k)
    rotation, _ = orthogonal_procrustes(fit_y, fit_x)
    return Aligned(
        x=torch.from_numpy(rest_x),
        y=torch.from_numpy(rest_y @ rotation),
        rows=rest.astype(np.int64),
        fitted=fitted,
        columns=k,
        kept_x=kept_x,
        kept_y=kept_y,
    )


def _reduced(
    rows: npt.NDArray[np.float64],
    fit: npt.NDArray[np.int64],
    rest: npt.NDArray[np.int64],
    columns: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Both halves, centred on the fitting half and cut to its principal axes, and what is kept."""
    centre = rows[fit].mean(axis=0)
    fitting, held = rows[fit] - centre, rows[rest] - centre
    if columns == rows.shape[1]:
        return fitting, held, 1.0
    axes = np.linalg.svd(fitting, full_matrices=False)[2][:columns].T
    kept = held @ axes
    whole = float(np.square(held - held.mean(axis=0)).sum())
    share = float(np.square(kept - kept.mean(axis=0)).sum()) / whole if whole > 0 else 0.0
    return fitting @ axes, kept, share
