"""From what two encoders make of pairs to a table of numbers and the points of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from socketlab.data.modality import to_unit
from socketlab.data.views import ImagePairs
from socketlab.gap.features import PairFeatures
from socketlab.gap.points import Picture, PointTable
from socketlab.gap.procrustes import align
from socketlab.gap.projection import describe, project
from socketlab.gap.table import GapRow, gap_table
from socketlab.runs.report_values import measured
from socketlab.runs.two_encoders import EncodedPairs

AS_IS, ROTATED = "as is", "rotated"
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class PairPictures:
    """The images of pairs for people: the first halves of `rows`, then their second halves."""

    pairs: ImagePairs
    rows: Sequence[int]

    def picture(self, row: int) -> Picture:
        """As the encoder gets it, uint8 [H, W, 3]; one channel is grey."""
        second, place = divmod(row, len(self.rows))
        half = self.pairs.target if second else self.pairs.source
        index = self.rows[place]
        unit = to_unit(half.raw[index : index + 1], half.format)[0]
        shown: Picture = (unit.expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).numpy()
        return shown


def gap_rows(found: EncodedPairs) -> list[GapRow]:
    """Every measure of the gap of the two encoders, on all pairs.

    A measure that cannot be computed, e.g. a distance between spaces of other widths, is NaN and
    its note says why; the others go on.
    """
    return gap_table(found.first, found.second, sample=None, measures="all")


def gap_frame(rows: Sequence[GapRow]) -> pd.DataFrame:
    """The numbers for people: a row per measure, with its 95 % interval, its reading, its note."""
    return pd.DataFrame(
        {
            "value": [measured(row.value) for row in rows],
            "95 % interval": [_interval(row) for row in rows],
            "how to read it": [row.reads for row in rows],
            "note": [row.note for row in rows],
        },
        index=pd.Index([row.metric for row in rows], name="measure"),
    )


def gap_points(
    found: EncodedPairs,
    pairs: ImagePairs,
    *,
    most: int,
    seed: int = 0,
    cache: Path | None = None,
) -> PointTable | None:
    """One joint UMAP of both encoders' features, with the images; None where there can be none.

    Spaces of other widths have no map together before they are rotated, so then the map is of the
    held-out half after a rotation, as its note says. Distances are those of unit rows, 0 to 2.
    Why there is no map is printed.
    """
    first, second = found.names
    try:
        if found.first.shape[1] != found.second.shape[1]:
            made = align(found.first, found.second, seed=seed)
            rows = found.rows[made.rows]
            found = replace(
                found, first=made.x, second=made.y, rows=rows, aligned=True, note=made.note
            )
        map_ = project(
            {first: found.first, second: found.second},
            most=most,
            seed=seed,
            paired=[found.names],
            cache=cache,
            say=print,
        )
    except ValueError as error:
        print(f"No map: {error}")
        return None
    kept = map_.kept[first]
    moment = ROTATED if found.aligned else AS_IS
    distance = PairFeatures(found.first, found.second).distances.numpy()[kept]
    n = len(kept)
    chosen = found.rows[kept].tolist()
    place = np.concatenate([map_.coordinates[first], map_.coordinates[second]])
    frame = pd.DataFrame(
        {
            "id": [pairs.pair_ids[row] for row in chosen] * 2,
            "set": "pairs",
            "modality": np.repeat(found.names, n),
            "partner": np.concatenate([np.arange(n, 2 * n), np.arange(n)]),
            "class": "",
            f"x {moment}": place[:, 0],
            f"y {moment}": place[:, 1],
            f"distance {moment}": np.tile(distance, 2),
            f"prediction {moment}": "",
            f"confidence {moment}": NAN,
        }
    )
    note = " ".join(part for part in (describe(map_), found.note) if part)
    return PointTable((moment,), frame, PairPictures(pairs, chosen), note=note)


def _interval(row: GapRow) -> str:
    return "" if np.isnan(row.low) else f"{measured(row.low)} to {measured(row.high)}"
