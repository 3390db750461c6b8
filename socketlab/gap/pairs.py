"""What every measure of the gap asks of features: unit rows, in pairs, not collapsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from socketlab.objectives.chunks import chunks

Features: TypeAlias = Tensor | np.ndarray

# Mean squared distance to the centre below which all rows are the same point: unit rows that
# come from float32 differ by about 1e-14 through rounding alone.
COLLAPSED = 1e-12


def normalise(features: Features, *, name: str = "features") -> Tensor:
    """Rows of unit length, f_i / ||f_i||, as a new float64 tensor on the device of the features.

    `features` is [n, d], any float type, tensor or array (whose device is the CPU, as is that of
    a GPU without float64); the result is [n, d].
    Raises ValueError, naming `name`, where the input is not a matrix of finite floats or a row
    is zero.
    """
    if isinstance(features, Tensor):
        floating = features.is_floating_point()
        # Apple's GPU has no float64.
        place = "cpu" if features.device.type == "mps" else features.device
        rows = features.detach().to(place, torch.float64)
    else:
        floating = np.issubdtype(np.asarray(features).dtype, np.floating)
        # A copy: torch warns when it wraps a read-only (memory-mapped) array.
        rows = torch.from_numpy(np.array(features, np.float64)) if floating else torch.empty(0)
    if not floating:
        raise ValueError(f"{name} holds {features.dtype}, not floats. Pass features as floats.")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}. Pass a matrix [n, d], n, d > 0.")
    bad = ~rows.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"{name} has {int(bad.sum())} rows with NaN or infinity, the first is row "
            f"{int(bad.nonzero()[0])}. Look for a diverged model before measuring."
        )
    # Dividing by the largest entry first keeps the squares of tiny or huge rows in range.
    largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
    zero = (largest == 0)[:, 0]
    if zero.any():
        raise ValueError(
            f"{name} has {int(zero.sum())} zero rows, the first is row {int(zero.nonzero()[0])}. "
            "A zero row has no direction: leave those pairs out."
        )
    rows = rows / largest
    return rows.div_(rows.norm(dim=1, keepdim=True))


def refuse_collapsed(rows: Tensor, *, name: str) -> None:
    """Raise ValueError, naming `name`, where all unit rows [n, d] are one point."""
    # Of unit rows the mean squared distance to the centre is 1 - ||centre||^2.
    if 1 - float(rows.mean(dim=0).square().sum()) < COLLAPSED:
        raise ValueError(
            f"{name} is constant: all {len(rows)} rows have one direction. "
            "The model that made it has collapsed; check it before measuring."
        )


def refuse_mismatch(x: Tensor, y: Tensor, *, paired: bool = True, same_width: bool = True) -> None:
    """Raise ValueError where the rows of two matrices cannot be partners, or their columns differ.

    `paired=False` lets x be [n, d] and y [m, d], `same_width=False` x be [n, d] and y [n, e].
    """
    if paired and len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y has {len(y)}. Row i of both must be one pair.")
    if same_width and x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has {x.shape[1]} columns and y has {y.shape[1]}. "
            "Take both from encoders with one feature size."
        )


def refuse_few(rows: Tensor, least: int, *, name: str) -> None:
    """Raise ValueError, naming `name`, where `rows` has fewer rows than a measure needs."""
    if len(rows) < least:
        raise ValueError(
            f"{name} has {len(rows)} rows, too few: this needs {least}. Pass more images."
        )


def unit_pairs(
    x: Features, y: Features, *, least: int = 2, paired: bool = True, same_width: bool = True
) -> tuple[Tensor, Tensor]:
    """Both matrices with rows of unit length, after the checks that every measure needs.

    `least` is the fewest rows allowed; `paired` and `same_width` as in `refuse_mismatch`.
    Raises ValueError on bad input, a mismatch, too few rows or constant features.
    """
    unit_x, unit_y = normalise(x, name="x"), normalise(y, name="y")
    refuse_mismatch(unit_x, unit_y, paired=paired, same_width=same_width)
    for name, rows in (("x", unit_x), ("y", unit_y)):
        refuse_few(rows, least, name=name)
        refuse_collapsed(rows, name=name)
    return unit_x, unit_y


def cosine_chunks(queries: Tensor, gallery: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Cosines of unit rows, [chunk, m] at a time with the chunk's first row, never [n, m].

    How many rows at a time is said in `socketlab.objectives.chunks`.
    """
    for rows in chunks(len(queries), len(gallery), gallery):
        yield rows.start, queries[rows] @ gallery.T
