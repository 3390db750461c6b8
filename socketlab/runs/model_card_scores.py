"""What a model card says in numbers: scores over seeds, recall by class, what chance would give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import pandas as pd

from socketlab.data.schema import Manifest, Protocol
from socketlab.models.deployment import Deployment
from socketlab.runs.comparison import spread
from socketlab.runs.entries import Record, Result
from socketlab.runs.keeping import answers_file, load_answers
from socketlab.runs.record import Run

REFERENCES: Final = ("source_only", "oracle_labels")
"""Rows that stand beside the model's own: the floor, and what labels would give."""
OVER_SEEDS: Final = "over the seeds"
UNKNOWN: Final = "not measured"
NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class ScoreLine:
    """A line of the table of scores; accuracies in percent, as `mean ± deviation` over seeds."""

    name: str
    seeds: str
    accuracy: str
    balanced_accuracy: str
    n: int


@dataclass(frozen=True)
class Recall:
    """Of one class: its images, the share of right answers, and what it is most often taken for."""

    name: str
    n: int
    share: float
    mistake: str

    @classmethod
    def of(cls, run: Run, about: Deployment) -> list[Self]:
        """Of each scored class; nothing where the run keeps no answers of this model."""
        if about.chosen_by != "last" or not answers_file(run, about.stage).is_file():
            return []
        answers = load_answers(run, about.stage)
        found = []
        for number, mine in answers.groupby("truth")["answer"]:
            truth = int(str(number))
            wrong = mine[mine != truth].value_counts()
            mistake = ""
            if len(wrong):
                mistake = f"{about.classes[int(wrong.index[0])]} ({int(wrong.iloc[0])})"
            right = float((mine == truth).mean())
            found.append(cls(about.classes[truth], len(mine), right, mistake))
        return found


def row_of(record: Record, stage: str, chosen_by: str) -> Result | None:
    """The result of a stage with that choice of an epoch."""
    for row in record.results:
        if (row.stage, row.chosen_by) == (stage, chosen_by):
            return row
    return None


def score_lines(record: Record, row: Result) -> list[ScoreLine]:
    """The model itself, its method over all seeds of the run, and the references beside it.

    What was steered by hand is averaged with nothing.
    """

    def beside(method: str, chosen_by: str) -> list[Result]:
        place = (method, row.protocol, row.source, row.target, chosen_by)
        return [
            other
            for other in record.results
            if not other.steered
            and (other.method, other.protocol, other.source, other.target, other.chosen_by) == place
        ]

    lines = [_line(f"this model (`{row.method}`)", [row])]
    over_seeds = beside(row.method, row.chosen_by)
    if len(over_seeds) > 1:
        lines.append(_line(f"`{row.method}` {OVER_SEEDS}", over_seeds))
    for reference in REFERENCES:
        found = beside(reference, "last")
        if found and reference != row.method:
            lines.append(_line(f"`{reference}`", found))
    return lines


def _line(name: str, rows: list[Result]) -> ScoreLine:
    seeds = ", ".join(str(row.seed) for row in rows)
    accuracies = [row.accuracy for row in rows]
    balanced = [row.balanced_accuracy for row in rows]
    return ScoreLine(name, seeds, _spread(accuracies), _spread(balanced), rows[0].n)


def _spread(shares: list[float | None]) -> str:
    known = [100 * share for share in shares if share is not None]
    return f"{spread(pd.Series(known))} %" if known else UNKNOWN


def sampling_error(row: Result | None) -> float | None:
    """Half of the 95 % interval of an accuracy by the number of images alone, in points."""
    if row is None or row.accuracy is None or row.n == 0:
        return None
    return 100 * NORMAL_95 * math.sqrt(row.accuracy * (1 - row.accuracy) / row.n)


def largest_class(manifest: Manifest, rules: Protocol, domain: str) -> tuple[str, float] | None:
    """The class that most scored images show, and its share: what always naming it would reach."""
    expected = manifest.expected.get(domain, {})
    counts = {
        name: sum(expected.get(name, {}).get(split, 0) for split in rules.score_splits)
        for name in rules.task_relevant
    }
    total = sum(counts.values())
    if not total:
        return None
    largest = max(counts, key=lambda name: counts[name])
    return largest, counts[largest] / total
