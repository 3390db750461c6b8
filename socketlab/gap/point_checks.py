"""What the table of an explorer's points must hold, said where it does not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

FIXED_COLUMNS: Final = ("id", "set", "modality", "partner", "class")
MOMENT_COLUMNS: Final = ("x", "y", "distance", "prediction", "confidence")
VERDICTS: Final = ("right", "wrong", "")


def check_points(frame: pd.DataFrame, moments: tuple[str, ...]) -> None:
    """Refuse a table that `PointTable` does not allow; its index is row numbers.

    Raises:
        ValueError: naming the column, the first row and the value that are wrong.
    """
    if not moments or len(set(moments)) < len(moments):
        raise ValueError(f"moments is {moments!r}. Give one or more different names.")
    needed = [*FIXED_COLUMNS, *(f"{column} {m}" for m in moments for column in MOMENT_COLUMNS)]
    missing = [column for column in needed if column not in frame]
    if missing:
        raise ValueError(
            f"The points have no column {', '.join(map(repr, missing))}. Found: "
            f"{', '.join(map(repr, frame.columns))}. Add what is missing."
        )
    if frame.empty:
        raise ValueError("The points have no row. Give one image or more.")
    _check_partners(frame["partner"].to_numpy(), frame["modality"].to_numpy())
    for moment in moments:
        _check_moment(frame, moment)


def _check_moment(frame: pd.DataFrame, moment: str) -> None:
    for column in (f"x {moment}", f"y {moment}"):
        values = frame[column].to_numpy(dtype=float)
        _refuse(~np.isfinite(values), values, column, "finite coordinates")
    distance = frame[f"distance {moment}"].to_numpy(dtype=float)
    wrong = ~np.isnan(distance) & ~((distance >= 0) & np.isfinite(distance))
    _refuse(wrong, distance, f"distance {moment}", "distances of 0 or more, or NaN")
    # A pair has one distance: two would be a mistake of whoever made the table.
    partner = frame["partner"].to_numpy(dtype=np.int64)
    other = np.where(partner >= 0, distance[partner], np.nan)
    same = np.isclose(distance, other, rtol=1e-5, equal_nan=True)
    wanted = "both halves of a pair the same distance, and NaN to an image without a partner"
    _refuse(~same, distance, f"distance {moment}", wanted)
    confidence = frame[f"confidence {moment}"].to_numpy(dtype=float)
    outside = ~np.isnan(confidence) & ~((confidence >= 0) & (confidence <= 1))
    _refuse(outside, confidence, f"confidence {moment}", "shares in [0, 1], or NaN")
    if f"right {moment}" in frame:
        verdicts = frame[f"right {moment}"].to_numpy()
        unknown = ~np.isin(verdicts.astype(str), VERDICTS)
        _refuse(unknown, verdicts, f"right {moment}", f"one of {VERDICTS}")


def _check_partners(partner: npt.NDArray[Any], modality: npt.NDArray[Any]) -> None:
    if not np.issubdtype(partner.dtype, np.integer):
        raise ValueError(f"partner holds {partner.dtype}. Give row numbers, and -1 for none.")
    n = len(partner)
    rows = np.arange(n)
    outside = (partner < -1) | (partner >= n) | (partner == rows)
    _refuse(outside, partner, "partner", f"another row below {n}, or -1 for none")
    paired = partner >= 0
    lonely = paired & (partner[np.where(paired, partner, 0)] != rows)
    _refuse(lonely, partner, "partner", "rows that name each other")
    alike = paired & (modality[np.where(paired, partner, 0)] == modality)
    _refuse(alike, partner, "partner", "partners of two different modalities")


def _refuse(wrong: npt.NDArray[np.bool_], values: npt.NDArray[Any], column: str, give: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{column!r} is wrong in {int(wrong.sum())} rows, the first is row {row} with "
            f"{values[row]!s}. Give {give}."
        )
