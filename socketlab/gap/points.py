"""A row per image of a joint map: what an explorer and its pictures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from socketlab.gap.point_checks import check_points

Rows = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]


class Pictures(Protocol):
    """The images behind the rows, read when one is asked for."""

    def picture(self, row: int) -> Picture | None:
        """uint8 [H, W, 3], or None where there is none."""


@dataclass(frozen=True, eq=False)
class PointTable:
    """The points of one joint map at one or more moments, and who is whose partner.

    Args:
        moments: names such as ("before", "after"); a map each, all of one joint fit.
        frame: a row per image, with the columns `id`, `set` ("TI", "TR"), `modality` ("rgb",
            "depth", "nir" or an encoder's name), `partner` (row of the other half, which is of
            another modality; -1: none), `class` ("" unknown), and for every moment m: `x m`, `y m`,
            `distance m` (of the partners, NaN unknown), `prediction m` ("" none) and
            `confidence m` (in [0, 1], NaN none). Optional: `right m` ("right", "wrong", ""
            unknown) and `pseudo-label` (a class, "" none). Its index is replaced by row numbers.
        pictures: the images of the rows.
        translations: what a translator paints of them, if there is one.
        note: how far the map can be believed, shown below it.

    Raises:
        ValueError: a column is missing, a partner is not mutual, a coordinate is not finite or
            another value is outside what is said here; it says where.
    """

    moments: tuple[str, ...]
    frame: pd.DataFrame
    pictures: Pictures
    translations: Pictures | None = None
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", self.frame.reset_index(drop=True))
        check_points(self.frame, self.moments)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def partner(self) -> Rows:
        """The partner's row of every row, int64 [n]; -1: none."""
        return self.frame["partner"].to_numpy(dtype=np.int64)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, RGB first, then in order of appearance."""
        found = [str(name) for name in self.frame["modality"].unique()]
        return tuple(sorted(found, key=lambda name: name != "rgb"))

    def distance(self, moment: str) -> npt.NDArray[np.float64]:
        """Distance to the partner at `moment`, float64 [n]; NaN: none or unknown."""
        return self.frame[f"distance {self._known(moment)}"].to_numpy(dtype=np.float64)

    def coordinates(self, moment: str) -> npt.NDArray[np.float64]:
        """Places on the map at `moment`, float64 [n, 2]."""
        columns = [f"x {self._known(moment)}", f"y {moment}"]
        return self.frame[columns].to_numpy(dtype=np.float64)

    def has(self, column: str) -> bool:
        """Whether `column` is there and says something of any row."""
        if column not in self.frame:
            return False
        return bool((self.frame[column].notna() & (self.frame[column] != "")).any())

    def picture(self, row: int) -> Picture | None:
        """The row's image, uint8 [H, W, 3]; None where there is none, or no row (-1).

        Raises:
            ValueError: what came is no uint8 [H, W, 3].
        """
        return _read(self.pictures, row, "picture")

    def translation(self, row: int) -> Picture | None:
        """What the translator paints of the row's image; as `picture`."""
        return None if self.translations is None else _read(self.translations, row, "translation")

    def rows(self, rows: Any) -> Rows:
        """`rows` as int64 [k], each once, in their order.

        Raises:
            ValueError: one is no row of this table.
        """
        found = np.asarray(rows).reshape(-1)
        if found.size and not np.issubdtype(found.dtype, np.integer):
            raise ValueError(
                f"Row numbers are whole, found {found.dtype}. Use nonzero() on a mask."
            )
        found = found.astype(np.int64)
        wrong = found[(found < 0) | (found >= len(self))]
        if wrong.size:
            raise ValueError(f"Found row {wrong[0]}; there are {len(self)}, counted from 0.")
        _, first = np.unique(found, return_index=True)
        return found[np.sort(first)]

    def partners(self, rows: Any) -> Rows:
        """The partner's row of each of `rows`, int64 [k]; -1: none."""
        return self.partner[self.rows(rows)]

    def pair_rows(self, rows: Any) -> Rows:
        """One entry per pair that `rows` touch, int64 [k, 2], in the order of `rows`.

        The half whose modality comes first in `modalities` stands first; the second is -1 where
        an image has no partner.
        """
        chosen = self.rows(rows)
        other = self.partner[chosen]
        rank = pd.Categorical(self.frame["modality"], categories=self.modalities).codes
        swapped = (other >= 0) & (rank[other] < rank[chosen])
        pairs = np.stack([np.where(swapped, other, chosen), np.where(swapped, chosen, other)], 1)
        _, first = np.unique(pairs[:, 0], return_index=True)
        return pairs[np.sort(first)]

    def far_first(self, rows: Any, moment: str) -> Rows:
        """As `pair_rows`, the farthest at `moment` first, those without a distance last."""
        pairs = self.pair_rows(rows)
        return pairs[np.argsort(-self.distance(moment)[pairs[:, 0]], kind="stable")]

    def farthest(self, n: int, moment: str, set: str | None = None, *, among: Any = None) -> Rows:
        """The `n` pairs that lie farthest apart at `moment`, as `pair_rows` gives them.

        Of `set` only ("TI", "TR") or of all; `among` these rows only. Fewer where there are fewer.
        """
        return self._ranked(n, moment, set, among, sign=-1)

    def closest(self, n: int, moment: str, set: str | None = None, *, among: Any = None) -> Rows:
        """The `n` pairs that lie closest together; else as `farthest`."""
        return self._ranked(n, moment, set, among, sign=1)

    def _ranked(self, n: int, moment: str, set: str | None, among: Any, sign: int) -> Rows:
        if n < 0:
            raise ValueError(f"n is {n}. Ask for 0 pairs or more.")
        rows = np.arange(len(self)) if among is None else self.rows(among)
        if set is not None:
            sets = self.frame["set"]
            if not (sets == set).any():
                raise ValueError(f"No row has the set {set!r}. Found: {sorted(sets.unique())}.")
            rows = rows[(sets == set).to_numpy()[rows]]
        pairs = self.pair_rows(rows)
        distance = self.distance(moment)[pairs[:, 0]]
        order = np.argsort(sign * distance, kind="stable")  # NaN comes last
        return pairs[order[: min(n, int((~np.isnan(distance)).sum()))]]

    def table(self, rows: Any, moment: str) -> pd.DataFrame:
        """What is known of the pairs that `rows` touch at `moment`: a row per pair, for people.

        The farthest first. Columns that say nothing of any of them are left out.
        """
        pairs = self.far_first(rows, moment)
        first = self.frame.iloc[pairs[:, 0]].reset_index(drop=True)
        found = {"id": first["id"], "set": first["set"], "class": first["class"]}
        found["distance"] = pd.Series(self.distance(moment)[pairs[:, 0]])
        halves = (
            (f"prediction {moment}", "prediction"),
            (f"confidence {moment}", "confidence"),
            (f"right {moment}", "answer"),
            ("pseudo-label", "pseudo-label"),
        )
        modality = self.frame["modality"].to_numpy()
        for name in self.modalities:
            row = np.select(
                [modality[pairs[:, 0]] == name, modality[pairs[:, 1]] == name], pairs.T, -1
            )
            for column, label in halves:
                if self.has(column):
                    taken = self.frame[column].iloc[row].reset_index(drop=True)
                    blank = np.nan if label == "confidence" else ""
                    found[f"{name} {label}"] = taken.where(row >= 0, blank)
        table = pd.DataFrame(found)
        known = table.notna() & (table != "")
        return table.loc[:, known.any() | table.columns.isin(["id", "set"])]

    def _known(self, moment: str) -> str:
        if moment not in self.moments:
            raise ValueError(f"There is no moment {moment!r}. Known: {', '.join(self.moments)}.")
        return moment


def _read(pictures: Pictures, row: int, what: str) -> Picture | None:
    if row < 0:
        return None
    try:
        image = pictures.picture(row)
    except OSError:  # a thumbnail whose file is gone is missing, and the rest goes on
        return None
    if image is None:
        return None
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"The {what} of row {row} is {image.dtype} of shape {image.shape}. Give uint8 "
            "[H, W, 3]."
        )
    return image
