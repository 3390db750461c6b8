"""Two made-up clouds of features whose gap is known: what each measure can and cannot see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from socketlab.gap.table import gap_table

Array = npt.NDArray[np.float64]

CASES = (
    "pairs + small noise",
    "independent, same law",
    "pairs + constant offset",
    "pairs + random rotation",
)


def calibration_case(name: str, n: int = 1000, d: int = 64, seed: int = 0) -> tuple[Array, Array]:
    """Features x and y, each [n, d] float64, with a gap that is known; rows are partners.

    x is standard normal. y is, in units of one column's standard deviation:

    - ``pairs + small noise``: x + 0.3 noise. Nearly no gap, and every measure says so.
    - ``independent, same law``: normal, drawn anew. What looks at the two clouds as a whole
      (centroid gap, MMD^2, Frechet distance, PAD, mixing) sees no gap, although no partner is
      near: only the residual, RMG, alignment, retrieval, CKA and mutual neighbours tell.
    - ``pairs + constant offset``: x + 0.05 noise + one vector of length 0.75 sqrt(d) for all. The
      centroid gap, MMD^2, Frechet distance, PAD and mixing see it. Retrieval and CKA are blind:
      partners are still nearest, relations are kept. The residual stays small.
    - ``pairs + random rotation``: x R, R orthogonal. The clouds as a whole have not moved, so what
      looks at them sees no gap. CKA and mutual neighbours are blind and call it perfect. What
      compares partners (residual, RMG, alignment, retrieval) calls them strangers.

    Raises:
        ValueError: for another name, with the known ones; n below 2 or d below 1.
    """
    if name not in CASES:
        raise ValueError(f"Unknown case {name!r}. Known: {'; '.join(CASES)}.")
    if n < 2 or d < 1:
        raise ValueError(f"n is {n} and d is {d}. Pass 2 rows and 1 column or more.")
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, d))
    noise = draw.standard_normal((n, d))
    if name == "pairs + small noise":
        return x, x + 0.3 * noise
    if name == "independent, same law":
        return x, noise
    if name == "pairs + constant offset":
        offset = draw.standard_normal(d)
        return x, x + 0.05 * noise + offset * (0.75 * np.sqrt(d) / np.linalg.norm(offset))
    # The orthogonal factor without the sign correction that would make it uniform over all
    # rotations: it turns somewhat backwards on average, hence a residual above 2.
    return x, x @ np.linalg.qr(draw.standard_normal((d, d)))[0]


def made_up_pairs(
    *,
    noise: float = 0.1,
    offset: float = 0.0,
    turn: float = 0.0,
    strangers: float = 0.0,
    n: int = 300,
    d: int = 16,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Features x and y, each [n, d] float64, with a gap mixed as one likes; rows are partners.

    y = R x + noise e + offset sqrt(d) u,  x and e standard normal, u a fixed unit vector

    Args:
        noise: what the other camera adds to every image, in standard deviations of a column.
        offset: how far all of y is shifted, where 1 is the length of a typical row.
        turn: degrees by which R turns each of d // 2 random planes; 0 to 180.
        strangers: share of y's rows, in [0, 1], that change places, so that their partner is
            somebody else.
        n: rows.
        d: columns.
        seed: of all that is drawn; the same draws whatever the other settings, so that a slider
            moves points and does not shuffle them.

    Raises:
        ValueError: for a share outside [0, 1], n below 2 or d below 2.
    """
    if not 0 <= strangers <= 1 or n < 2 or d < 2:
        raise ValueError(
            f"strangers is {strangers}, n is {n}, d is {d}. Pass a share in [0, 1] and 2 or more."
        )
    draw = np.random.default_rng(seed)
    x, noises = draw.standard_normal((2, n, d))
    axes = np.linalg.qr(draw.standard_normal((d, d)))[0]
    direction = draw.standard_normal(d)
    order = draw.permutation(n)[: round(strangers * n)]
    planes, angle = np.eye(d), np.radians(turn)
    for first in range(0, d - 1, 2):
        planes[first : first + 2, first : first + 2] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
    shift = offset * np.sqrt(d) * direction / np.linalg.norm(direction)
    y = x @ (axes @ planes @ axes.T).T + noise * noises + shift
    y[order] = y[np.roll(order, 1)]
    return x, y


def toy_frame(clouds: Mapping[str, tuple[Array, Array]], bootstrap: int = 20) -> pd.DataFrame:
    """Every measure of made-up pairs: a row per measure, a column per pair of clouds, by name."""
    columns = {
        name: {
            row.metric: row.value
            for row in gap_table(x, y, seeds=(0,), sample=None, bootstrap=bootstrap, measures="all")
        }
        for name, (x, y) in clouds.items()
    }
    return pd.DataFrame(columns).rename_axis("measure")
