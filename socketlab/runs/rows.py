"""One row of the results, from the numbers of an epoch and the score of the last model."""

import math

import pandas as pd

from socketlab.runs.entries import Result
from socketlab.runs.stages import Trip
from socketlab.training.inference import Score
from socketlab.training.steps import Look


def result_row(
    trip: Trip, stage: str, history: pd.DataFrame, chosen_by: str, epoch: int, score: Score
) -> Result:
    """How the model of an epoch scores on the trip's target.

    Args:
        trip: which transfer.
        stage: the name of its stage.
        history: the numbers of all its epochs, as `Run.metrics` has them.
        chosen_by: `last`, a label-free score, or `oracle`.
        epoch: the one that was chosen.
        score: of the last model, which a row `last` takes its accuracies from.
    """
    here = history[history["epoch"] == epoch]
    values = dict(zip(here["name"], here["value"].astype(float), strict=True))
    if chosen_by == "last":
        values |= score.accuracies
    predicted = [int(count) for count in _numbered(values, "predicted/")]
    measures = _named(values, "measure/")
    look = Look(predicted=tuple(predicted), measures=measures)
    return Result(
        method=trip.name,
        protocol=trip.protocol,
        source=trip.source,
        target=trip.target,
        seed=trip.seed,
        accuracy=values.get("accuracy"),
        balanced_accuracy=values.get("balanced_accuracy"),
        chosen_by=chosen_by,
        n=score.n,
        stage=stage,
        epoch=epoch,
        scores=_named(values, "score/"),
        predicted=predicted,
        mixing=_numbered(values, "mixing/"),
        note=look.note,
        measures=measures,
        advice=look.advice,
    )


def _named(values: dict[str, float], prefix: str) -> dict[str, float]:
    """The finite values of prefix/name by name: JSON knows no NaN."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and math.isfinite(value)
    }


def _numbered(values: dict[str, float], prefix: str) -> list[float]:
    """The values of prefix/0, prefix/1, ... in that order."""
    count = sum(name.startswith(prefix) for name in values)
    return [values[f"{prefix}{k}"] for k in range(count)]
