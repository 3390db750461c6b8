"""What every layout speaks: a sample of the table, arrays to fill, and problems found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from socketlab.data.schema import Manifest, Progress

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class SampleRecord:
    """One image. `id` is unique in the data set; partners across modalities share `pair_id`.

    Neither names the class: ids travel with images that must not show their labels. `path` is
    the file relative to the data set's root, or what was rendered.
    """

    id: str
    class_name: str
    domain: str
    split: str
    pair_id: str
    path: str


def partner_keys(samples: pd.DataFrame) -> list[str]:
    """What images of one group share, per row of the table: the pair id, or one's own id."""
    pairs = zip(samples["pair_id"], samples["id"], strict=True)
    return [pair_id or f"alone {own_id}" for pair_id, own_id in pairs]


class PreparationError(ValueError):
    """Images or tables that cannot be used; `problems` holds every one, the message the first."""

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = [f"  {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            shown.append(f"  ... and {len(self.problems) - SHOWN_PROBLEMS} more")
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n".join([f"{heading} ({count}):", *shown]))


class Fill(Protocol):
    """Write the prepared images of `samples` (with a ``row`` column) into `arrays` (by domain).

    `samples` is a part of the data set's table that holds all partners of its images: it is called
    once per part. `progress` hears (images of this part that are done, images of this part).
    Returns every problem found, as sentences that name the file.
    """

    def __call__(
        self,
        manifest: Manifest,
        root: Any,
        samples: pd.DataFrame,
        arrays: Arrays,
        progress: Progress | None,
    ) -> list[str]: ...
