"""Whether a label-free score can be believed: does it rank models as their true accuracy does?

For judging scores afterwards, where target labels are known; nothing of it chooses a model.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from socketlab.gap.scores import SCORES

GROUP = ("data", "target", "protocol", "seed")
RUN = (*GROUP, "method")
UPPER_REFERENCES = ("oracle_pairs", "oracle_labels")


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Spearman's rho in [-1, 1]: Pearson's correlation of the ranks, equal values sharing theirs.

    NaN where it is not defined: fewer than two values, or one of the two is constant.
    """
    if x.nunique() < 2 or y.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(x.rank(), y.rank())[0, 1])


def rank_correlations(
    rows: pd.DataFrame,
    *,
    by: Sequence[str] = ("data", "target"),
    upper_references: Collection[str] = UPPER_REFERENCES,
) -> pd.DataFrame:
    """How well each score ranks runs, and the epochs of one run, beside their true accuracy.

    Over runs: within each group of one data set, target, protocol and seed, the last epochs of
    all methods; then the mean over groups, so that easy and hard targets do not mix. Over epochs:
    within each run, from epoch 1 on; then the mean over runs. A score is turned by its sign in
    `SCORES`, so that rho = +1 always means that the score is right.

    Regret is the accuracy, in points, that choosing by the score loses against the best: in a
    group best run minus chosen run (the mean of those that tie), in a run best epoch minus chosen
    epoch (the first of those that tie, as `choose_epoch` does).

    Values that are not finite are left out. Groups and runs with fewer than two values left are
    left out and counted. So is, for rho alone, one in which score or accuracy is constant.

    Args:
        rows: one row per epoch: data, target, protocol, seed, method, epoch, accuracy (true
            balanced accuracy, a share in [0, 1]) and a column per score, named as in `SCORES`.
        by: one row of the result for each of these and each score; some of data, target,
            protocol, seed.
        upper_references: methods that are left out, since they see what a method must not see.

    Returns:
        Columns `by`, score; over runs rho, groups and runs that it is the mean of,
        groups_left_out, regret; over epochs epoch_rho, courses (runs that it is the mean of),
        courses_left_out, epoch_regret. In the order of `by`, then of `SCORES`.

    Raises:
        ValueError: if a column is missing, `by` names another, no score is there, accuracy is no
            share, or a run has two rows for one epoch.
    """
    scores = _check(rows, by)
    kept = rows[~rows["method"].isin(list(upper_references))].sort_values("epoch", kind="stable")
    last = kept.drop_duplicates(list(RUN), keep="last")
    trained = kept[kept["epoch"] >= 1]
    tables = []
    for score in scores:
        runs = _summary(_agreement(last, GROUP, score), by)
        courses = _summary(_agreement(trained, RUN, score, first=True), by)
        courses = courses.drop(columns="count").rename(
            columns={
                "rho": "epoch_rho",
                "groups": "courses",
                "groups_left_out": "courses_left_out",
                "regret": "epoch_regret",
            }
        )
        # A method that trains nothing has runs, but no epochs to follow.
        table = runs.rename(columns={"count": "runs"}).join(courses)
        counts = ["courses", "courses_left_out"]
        table[counts] = table[counts].fillna(0).astype(int)
        table.insert(0, "score", score)
        tables.append(table)
    return pd.concat(tables).sort_index(kind="stable").reset_index()


def _agreement(
    rows: pd.DataFrame, keys: Sequence[str], score: str, *, first: bool = False
) -> pd.DataFrame:
    """rho, regret and the number of values of each group of `rows`; NaN where not defined."""
    found = []
    for key, group in rows.groupby(list(keys)):
        numbers = group[[score, "accuracy"]].astype(float)
        finite = numbers.replace([np.inf, -np.inf], np.nan).dropna()
        oriented, accuracy = finite[score] * SCORES[score], finite["accuracy"]
        regret = float("nan")
        if len(accuracy) >= 2:
            chosen = accuracy[oriented == oriented.max()]
            regret = 100 * (accuracy.max() - (chosen.iloc[0] if first else chosen.mean()))
        found.append((*key, spearman(oriented, accuracy), regret, len(accuracy)))
    return pd.DataFrame(found, columns=[*keys, "rho", "regret", "count"])


def _summary(agreement: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over the groups in which rho (or the regret) is defined, and how many these are."""
    defined = agreement["rho"].notna()
    groups = agreement.assign(
        count=agreement["count"].where(defined, 0), undefined=~defined
    ).groupby(list(by))
    return groups.agg(
        rho=("rho", "mean"),
        groups=("rho", "count"),
        count=("count", "sum"),
        groups_left_out=("undefined", "sum"),
        regret=("regret", "mean"),
    )


def _check(rows: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The scores that `rows` has, after the checks that `rank_correlations` promises."""
    missing = [name for name in (*RUN, "epoch", "accuracy") if name not in rows.columns]
    if missing:
        raise ValueError(f"The rows have no column {missing[0]!r}. Give one row per run and epoch.")
    scores = [name for name in SCORES if name in rows.columns]
    if not scores:
        raise ValueError(f"The rows have no score. Add columns of: {', '.join(SCORES)}.")
    unknown = [name for name in by if name not in GROUP]
    if unknown or not by:
        raise ValueError(f"by is {tuple(by)}. Pass one or more of: {', '.join(GROUP)}.")
    outside = rows["accuracy"][(rows["accuracy"] < 0) | (rows["accuracy"] > 1)]
    if not outside.empty:
        raise ValueError(f"accuracy holds {outside.iloc[0]}. Give it as a share in [0, 1].")
    twice = rows[rows.duplicated([*RUN, "epoch"])]
    if not twice.empty:
        one = twice.iloc[0]
        raise ValueError(
            f"Several rows for epoch {one['epoch']} of {one['method']} to {one['target']}, "
            f"protocol {one['protocol']}, seed {one['seed']}. If the runs differ in something "
            "else, pass each kind by itself."
        )
    return scores
