"""Choosing without target labels: how far the label-free scores of a run can be believed.

`quality.py` writes what is here to docs/results/selection_*.md.
"""

import math

import pandas as pd

from socketlab.gap.rank_correlation import GROUP, RUN, UPPER_REFERENCES, rank_correlations
from socketlab.gap.scores import SCORES
from socketlab.runs.record import Record

HOW_TO_READ = """\
Scores of a model that need no target label, held against its true balanced accuracy. A score is
turned so that it should be high for a good model: **+1 means that the score is right**, 0 that it
says nothing, -1 that it is wrong.

- Over runs: the last epochs of all methods on one target, protocol and seed (a group), mean over
  groups. Over epochs: those of one training from epoch 1 on, mean over trainings.
- Points lost: balanced accuracy of the best run of a group (the best epoch of a training) minus
  that of the one with the best score. `last epoch` looks at no score and takes the last one;
  `a method at random` takes any run of the group. A score is of use where it loses less than these.
- Upper references (`oracle`) are left out: they see what no method may see.
- Read differences coarsely. Where a score says nothing, chance alone gives one group of nine
  methods a rank correlation of 0 ± 0.35 and one training of six epochs 0 ± 0.45 (1/√(n - 1)), and
  groups of one target are much alike.
- `neighbourhood_density` is highest of all where every answer falls on one class: on a collapse.
- `pair_retrieval` and `pair_distance` look at the TI pairs that `socket` and `distillation` are
  trained on, and so favour these two over runs. Over epochs each is held against itself.
- Scores look at the images that were adapted on; under `held_out` the accuracy is that of others.

All scores are shown as they are, also the poor ones. A group or training in which a score, or the
accuracy, does not change has no rank correlation; the counts are of those that have one.
"""


def epoch_rows(record: Record, metrics: pd.DataFrame, data: str) -> pd.DataFrame:
    """A row per epoch of each finished transfer, as `rank_correlations` takes them.

    Columns data, target, protocol, seed, method, epoch, accuracy (balanced, a share in [0, 1]) and
    one per score. No row where nothing is finished.
    """
    names = ("stage", "target", "protocol", "seed", "method")
    runs = pd.DataFrame(
        [
            {name: getattr(row, name) for name in names}
            for row in record.results
            if row.chosen_by == "last" and row.method != "source"
        ],
        columns=list(names),
    )
    long = metrics.assign(name=metrics["name"].astype(str).str.removeprefix("score/"))
    long = long[long["name"].isin([*SCORES, "balanced_accuracy"])]
    wide = long.pivot(index=["stage", "epoch"], columns="name", values="value").reset_index()
    wide = wide.rename(columns={"balanced_accuracy": "accuracy"})
    return runs.merge(wide, on="stage").assign(data=data).drop(columns="stage")


def selection_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By title: the table of each data set, then one for each target and protocol."""
    tables = {}
    for by in (["data"], ["target", "protocol"]):
        correlations = rank_correlations(rows, by=by)
        both = pd.concat([correlations, baselines(rows, by)], ignore_index=True)
        for place, part in both.groupby(by, sort=False):
            tables[", ".join(map(str, place))] = in_words(part)
    return tables


def baselines(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Points lost without any score: by the last epoch, and by a method at random."""
    kept = rows[~rows["method"].isin(UPPER_REFERENCES)].sort_values("epoch", kind="stable")
    groups = kept.drop_duplicates(list(RUN), keep="last").groupby(list(GROUP))["accuracy"]
    courses = kept[kept["epoch"] >= 1].groupby(list(RUN))["accuracy"]
    at_random = 100 * (groups.max() - groups.mean())[groups.count() >= 2]
    by_last = 100 * (courses.max() - courses.last())[courses.count() >= 2]
    return pd.concat(
        [
            lost.groupby(level=by).mean().rename(column).reset_index().assign(score=score)
            for score, column, lost in (
                ("last epoch", "epoch_regret", by_last),
                ("a method at random", "regret", at_random),
            )
        ]
    )


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The columns by plain names, the numbers as text; empty where there is none."""

    def text(name: str, form: str) -> list[str]:
        return ["" if math.isnan(value) else format(value, form) for value in table[name]]

    return pd.DataFrame(
        {
            "score": table["score"].to_list(),
            "rank correlation over runs": text("rho", "+z.2f"),
            "points lost by choosing the run by it": text("regret", ".1f"),
            "groups": text("groups", ".0f"),
            "runs in them": text("runs", ".0f"),
            "rank correlation over the epochs of a run": text("epoch_rho", "+z.2f"),
            "points lost by choosing the epoch by it": text("epoch_regret", ".1f"),
            "trainings": text("courses", ".0f"),
        }
    )
