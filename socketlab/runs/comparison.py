"""Many transfers side by side: compute what is missing, and put the rows into one table."""

from collections.abc import Iterator

import pandas as pd

from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import Compare
from socketlab.runs.stages import Trip
from socketlab.training.loop import Step


def trips(experiment: Experiment) -> list[Trip]:
    """Every seed x protocol x target x method that the notebook's parameters ask for.

    Raises:
        TypeError: if the experiment does not have the parameters of `06_compare`.
    """
    asked = experiment.parameters
    if not isinstance(asked, Compare):
        raise TypeError(f"A comparison needs the parameters of 06_compare, found {asked.notebook}.")
    return [
        experiment.trip(method, target, protocol, seed)
        for seed in asked.seeds
        for protocol in asked.protocols or [asked.protocol]
        for target in asked.targets or [asked.target]
        for method in asked.methods
    ]


def compare(experiment: Experiment) -> Iterator[tuple[str, Step]]:
    """Train what is missing; yields the name of each stage with its steps."""
    for trip in trips(experiment):
        for step in experiment.train_source(trip.seed):
            yield experiment.source_stage(trip.seed), step
        for step in experiment.transfer(trip):
            yield trip.stage, step


def results_frame(experiment: Experiment) -> pd.DataFrame:
    """The rows of `run.json` that belong to the comparison, as `comparison_bars` takes them."""
    stages = {trip.stage for trip in trips(experiment)}
    rows = [row for row in experiment.run.read().results if row.stage in stages]
    return pd.DataFrame([row.model_dump(exclude={"scores"}) for row in rows])


def comparison_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviation over seeds in percent, and the gain over source_only seed by seed."""
    keys = ["protocol", "target", "method"]
    at = ["protocol", "target", "seed"]
    floor = rows[rows["method"] == "source_only"][[*at, "balanced_accuracy"]]
    rows = rows.merge(floor, on=at, how="left", suffixes=("", "_floor"))
    rows["gain"] = rows["balanced_accuracy"] - rows["balanced_accuracy_floor"]
    lines = []
    for (protocol, target, method), group in rows.groupby(keys, sort=False):
        line = {"protocol": protocol, "target": target, "method": method, "seeds": len(group)}
        for name in ("accuracy", "balanced_accuracy"):
            line[name.replace("_", " ")] = spread(group[name] * 100)
        if method != "source_only" and group["gain"].notna().all():
            line["gain in balanced accuracy"] = spread(group["gain"] * 100, signed=True)
        lines.append(line)
    return pd.DataFrame(lines).fillna("").set_index(keys)


def spread(values: "pd.Series[float]", *, signed: bool = False) -> str:
    """`61.2 ± 1.3`, or the one value where there is no spread to speak of."""
    mean = f"{values.mean():+.1f}" if signed else f"{values.mean():.1f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std():.1f}"
