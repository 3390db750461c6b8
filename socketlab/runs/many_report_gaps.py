"""How far one method's trainings are from another's, paired over seeds and images where it goes."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from socketlab.runs.paired import Difference, paired_difference
from socketlab.runs.report_values import finite

Row = dict[str, Any]
Answers = Callable[[str], pd.DataFrame]
"""The answers in a file of the column `answers`: id, truth and answer, a row per image."""


@dataclass(frozen=True)
class Gap:
    """Points of balanced accuracy over a reference; `interval` where the images are the same."""

    points: float
    interval: Difference | None
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both are right on the same images and wrong on the same ones."""
        return self.interval is not None and self.interval.low == self.interval.high == 0.0


def gap(first: Sequence[Row], second: Sequence[Row], answers: Answers) -> Gap | None:
    """Points of balanced accuracy of `first` over `second`, paired where it can be.

    Trainings of one seed are paired with each other, those of one run before others, and their
    answers image by image. Where answers are missing or of other images, it is the difference of
    the means over the common seeds, or over all where none is common, without an interval.
    Returns None where accuracies are missing.
    """
    pairs = [(row, other) for row in first if (other := _beside(row, second)) is not None]
    problem = "" if pairs else "no common seed"
    sides = ([pair[k] for pair in pairs] for k in (0, 1)) if pairs else (first, second)
    values = [[finite(row["balanced_accuracy"]) for row in side] for side in sides]
    known = [[value for value in side if value is not None] for side in values]
    if not all(known) or any(len(k) < len(v) for k, v in zip(known, values, strict=True)):
        return None
    points = 100 * (statistics.fmean(known[0]) - statistics.fmean(known[1]))
    if any(not row["answers"] for pair in pairs for row in pair):
        problem = "answers are not kept"
    if problem:
        return Gap(points, None, problem)
    try:
        found = paired_difference(
            *({n: answers(pair[k]["answers"]) for n, pair in enumerate(pairs)} for k in (0, 1))
        )
    except (ValueError, OSError) as error:
        return Gap(points, None, f"not paired: {str(error).split('. ')[0]}")
    return Gap(found.points, found)


def _beside(row: Row, others: Sequence[Row]) -> Row | None:
    same = [other for other in others if other["seed"] == row["seed"]]
    own = [other for other in same if other["run"] == row["run"]]
    return next(iter(own or same), None)


def reader(folder: Path) -> Answers:
    """Gives the answers in the files that rows name relative to `folder`; each is read once."""
    kept: dict[str, pd.DataFrame] = {}

    def read(file: str) -> pd.DataFrame:
        if file not in kept:
            kept[file] = pd.read_parquet(folder / file, columns=["id", "truth", "answer"])
        return kept[file]

    return read
