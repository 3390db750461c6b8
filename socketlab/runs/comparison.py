"""Many transfers side by side: compute what is missing, and put the rows into tables."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import load_answers
from socketlab.runs.paired import REFERENCES, Answers, differences
from socketlab.runs.parameters import Compare
from socketlab.runs.record import Run
from socketlab.runs.report_values import duration, marked
from socketlab.runs.stages import Trip
from socketlab.runs.verdicts import table_notes
from socketlab.training.steps import Step

_PLACE = ["protocol", "source", "target"]
_HELD_AGAINST = {
    "source_only": "over source_only [95 %]",
    "socket": "against socket [95 %]",
}


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
    """Train what is missing; yields the name of each stage with its steps.

    Raises:
        ValueError: before anything is trained, where no scored image of a target has a label.
    """
    asked = trips(experiment)
    for target, protocol in dict.fromkeys((trip.target, trip.protocol) for trip in asked):
        if not len(experiment.views(target, protocol).evaluation.images):
            raise ValueError(
                f"Methods are compared by accuracy, and protocol {protocol!r} scores no image of "
                f"{target} that has a label. Run 05_transfer for each method and look at its "
                "label-free scores, or label some images."
            )
    for trip in asked:
        for source in trip.sources:
            for step in experiment.train_source(trip.seed, source=source):
                yield experiment.source_stage(trip.seed, source), step
        for step in experiment.transfer(trip):
            yield trip.stage, step


def results_frame(experiment: Experiment) -> pd.DataFrame:
    """The rows of `run.json` that belong to the comparison, a row per transfer and choice.

    One that was steered by hand is `<method> (steered)`: it is averaged with no other, and it is
    nobody's reference.
    """
    stages = {trip.stage for trip in trips(experiment)}
    rows = [row for row in experiment.run.read().results if row.stage in stages]
    return pd.DataFrame(
        [
            row.model_dump(exclude={"scores"}) | {"method": marked(row.method, row.steered)}
            for row in rows
        ]
    )


def answers_of(run: Run) -> Answers:
    """The answers of a run by stage; each file is read once."""
    return functools.cache(functools.partial(load_answers, run))


def comparison_frame(rows: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """What each method reaches and costs with its last epoch, best first on every target.

    Mean ± standard deviation over seeds in percent; the differences are in points of balanced
    accuracy, with the interval of `paired_difference`. `rows` is a row per result, as `Result`
    has them; `answers` gives the answers of a stage, image by image.

    Raises:
        ValueError: for no rows, and for answers that cannot be paired.
    """
    last = _last(rows)
    held = {reference: differences(last, answers, reference) for reference in REFERENCES}
    lines = []
    for place, group in last.groupby(_PLACE, sort=False):
        means = group.groupby("method")["balanced_accuracy"].mean()
        for method in means.sort_values(ascending=False, kind="stable").index:
            mine = group[group["method"] == method]
            line = dict(zip(_PLACE, place, strict=True)) | {"method": method, "seeds": len(mine)}
            for name in ("accuracy", "balanced_accuracy"):
                line[name.replace("_", " ")] = spread(mine[name] * 100)
            for reference, found in held.items():
                difference = found.get((*place, method))
                text = "" if difference is None else str(difference)
                if difference is not None and difference.seeds < len(mine):
                    text += f" ({difference.seeds} of {len(mine)} seeds)"
                line[_HELD_AGAINST[reference]] = text
            line["time"] = duration(float(mine["seconds"].mean()))
            line["peak memory (MiB)"] = f"{mine['peak_memory'].mean():.0f}"
            line["trained parameters"] = f"{mine['parameters'].mean():,.0f}"
            line["note"] = table_notes(mine)
            lines.append(line)
    return _indexed(lines)


def choice_frame(rows: pd.DataFrame, choose_by: str) -> pd.DataFrame:
    """What choosing an epoch brings: last, chosen without labels, and the best by the labels.

    Balanced accuracy in percent, mean ± standard deviation over seeds, and the points that either
    choice loses to the best epoch of the same training. The best epoch is marked `oracle`: it is
    found by target labels. Methods without epochs to choose from are left out.

    Raises:
        ValueError: if epochs were chosen, but none by `choose_by`; it names what they were by.
    """
    chosen = sorted(set(rows["chosen_by"]) - {"last", "oracle"})
    if chosen and choose_by not in chosen:
        raise ValueError(
            f"No epoch was chosen by {choose_by!r}, only by {', '.join(chosen)}. Name one of these "
            f"as choose_by, or compute again with choose_by {choose_by!r}."
        )
    lines = []
    for (*place, method), group in rows.groupby([*_PLACE, "method"], sort=False):
        wide = group.pivot(index="seed", columns="chosen_by", values="balanced_accuracy") * 100
        if not {"last", choose_by, "oracle"} <= set(wide.columns):
            continue
        lines.append(
            dict(zip(_PLACE, place, strict=True))
            | {
                "method": method,
                "seeds": len(wide),
                "last epoch": spread(wide["last"]),
                f"by {choose_by}": spread(wide[choose_by]),
                "best epoch (oracle)": spread(wide["oracle"]),
                "lost by the last": spread(wide["oracle"] - wide["last"]),
                "lost by the choice": spread(wide["oracle"] - wide[choose_by]),
            }
        )
    return _indexed(lines)


def recall_frame(
    rows: pd.DataFrame, answers: Answers, classes: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Recall of every class by method, mean over seeds, as `per_class` draws it.

    `classes` names the classes of each protocol in the order of their indices. Columns: protocol,
    source, target, method, class and recall, a share in [0, 1]; a class without images has none.
    """
    parts = []
    for row in _last(rows).itertuples():
        found = answers(str(row.stage))
        recall = (found["answer"] == found["truth"]).groupby(found["truth"]).mean()
        names = classes[str(row.protocol)]
        place = {name: getattr(row, name) for name in [*_PLACE, "method"]}
        named = [names[int(k)] for k in recall.index]
        parts.append(pd.DataFrame({**place, "class": named, "recall": recall.to_numpy()}))
    keys = [*_PLACE, "method", "class"]
    return pd.concat(parts).groupby(keys, sort=False)["recall"].mean().reset_index()


def spread(values: "pd.Series[float]") -> str:
    """`61.2 ± 1.3`, or the one value where there is no spread to speak of."""
    mean = f"{values.mean():.1f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std():.1f}"


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    last = rows[rows["chosen_by"] == "last"] if len(rows) else rows
    if last.empty:
        raise ValueError("There are no results to compare. Run the methods first.")
    return last


def _indexed(lines: list[dict[str, object]]) -> pd.DataFrame:
    """A table by protocol, target and method; the source is named where there are several."""
    table = pd.DataFrame(lines)
    if table.empty:
        return table
    several = table["source"].nunique() > 1
    keys = [name for name in [*_PLACE, "method"] if several or name != "source"]
    return table.drop(columns=[] if several else "source").set_index(keys)
