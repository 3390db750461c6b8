"""The table of the gap: several measures at once, each with its interval, none stopping another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.measures import MEASURES, MINIMAL, Measure
from socketlab.gap.pairs import Features, normalise, refuse_collapsed, refuse_mismatch
from socketlab.gap.resampling import Draw, draws
from socketlab.gap.separability import CLASSIFIER_FOLDS

COUPLES_ROWS = 3000
"""Most rows of each side for a measure that looks at all couples of rows."""


@dataclass(frozen=True)
class GapRow:
    """One measure of the gap with its 95 % interval; `n` pairs in each of `seeds` subsets.

    `note` says how much of the data was used ("exact", "sampled: 1,000 of 50,000 rows") or, where
    value, low and high are nan and n is 0, what stopped the measure.
    """

    metric: str
    value: float
    low: float
    high: float
    seeds: int
    n: int
    reads: str
    note: str = ""


def gap_table(
    x: Features,
    y: Features,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    sample: int | None = 1000,
    bootstrap: int = 200,
    measures: Sequence[str] | Literal["all"] = MINIMAL,
) -> list[GapRow]:
    """Measures of the gap between [n, d] features of two modalities, with intervals.

    Each seed draws a fixed subset of `sample` pairs without replacement (all pairs where there
    are no more, or `sample` is None) and the classifier's folds; `value` is the mean over seeds.
    Measures that look at all couples of rows (retrieval, MMD, neighbours, uniformity) take at
    most 3,000 pairs of the subset. `note` says what was taken.

    The interval is that of one subset: for every seed `bootstrap` resamples of its pairs, pooled
    over seeds, 2.5 % and 97.5 % quantiles, shifted so that their mean is `value` (a resample holds
    pairs twice, which inflates a distance of means) and cut to the measure's range. A resample is
    a weight per pair. With it

    - centroid, pair and residual gap, alignment, RMG, MMD^2 (with the subset's bandwidth) and
      uniformity are computed anew;
    - Frechet distance and CKA are computed to first order in the weights;
    - PAD, recalls, ranks, mixing and mutual neighbours are averaged anew over the answers for
      each pair: classifier, gallery and neighbours stay those of the subset, so their own
      variation shows only as spread between seeds.

    The p-value has no interval: low and high are the lowest and highest of the seeds.

    What is wrong with the features stops the measures that it leaves undefined, and no other.
    Where x has n rows and y m, each side gets its own subset of the smaller number, and measures
    that need partners stop. Where x has d columns and y e, only CKA, mutual neighbours and
    uniformity go on. Constant features stop CKA and mutual neighbours, and what has no value for
    them. NaN on one side leaves the uniformity of the other.

    Args:
        x, y: features of RGB and of the other modality, rows are partners.
        measures: names of `MEASURES`, or "all"; the honest minimal set (centroid gap, residual
            gap, RMG, PAD, R@1) by default. R@1 is the mean of both directions.

    Raises:
        ValueError: for no seeds, a sample or bootstrap too small to mean anything, or an unknown
            measure. Never because of the features.
    """
    _check_settings(seeds, sample, bootstrap)
    chosen = _chosen(measures)
    sides, faults = _sides(x, y)
    counts = [len(rows) for rows in sides.values()]
    size = min([*counts, *([] if sample is None else [sample])], default=0)
    sizes = {False: size, True: min(size, COUPLES_ROWS)}  # by whether it looks at all couples
    stopped = {}
    for name, measure in chosen.items():
        try:
            _refuse(measure, sides, faults, sizes[measure.couples])
        except ValueError as error:
            stopped[name] = str(error)
    numbers: dict[str, list[Tensor]] = {name: [] for name in chosen if name not in stopped}
    if numbers:
        # A broken side is stood in for by the other: nothing that looks at it is computed.
        rows = [sides["x" if "x" in sides else "y"], sides["y" if "y" in sides else "x"]]
        for drawn in draws(rows[0], rows[1], (sizes[False], sizes[True]), seeds, bootstrap):
            stopped |= _compute(chosen, numbers, *drawn)
    remarks = {side: _collapse(rows, side) for side, rows in sides.items()}
    table = []
    for name, measure in chosen.items():
        n = sizes[measure.couples]
        reads = measure.reads(max(n, 1))
        if name in stopped:
            note, nan = f"stopped: {stopped[name]}", float("nan")
            table.append(GapRow(name, nan, nan, nan, len(seeds), 0, reads, note))
        else:
            note = _note(n, {side: len(sides[side]) for side in measure.sides})
            note = "; ".join([note, *(remarks[side] for side in measure.sides if remarks[side])])
            value, low, high = _interval(measure, numbers[name])
            table.append(GapRow(name, value, low, high, len(seeds), n, reads, note))
    return table


def _compute(
    chosen: Mapping[str, Measure], numbers: dict[str, list[Tensor]], everyone: Draw, few: Draw
) -> dict[str, str]:
    """Add the numbers of one draw; take those out that cannot be computed, and say why."""
    stopped = {}
    for name in list(numbers):
        measure = chosen[name]
        try:
            numbers[name].append(measure.compute(few if measure.couples else everyone).cpu())
        except ValueError as error:
            stopped[name] = str(error)
            del numbers[name]
    return stopped


def _interval(measure: Measure, numbers: Sequence[Tensor]) -> tuple[float, float, float]:
    """Value, low and high from the numbers [1 + b] of every seed, or [1] of each."""
    of_seeds = np.array([float(found[0]) for found in numbers])
    value = float(np.clip(of_seeds.mean(), measure.lowest, measure.largest))
    pooled = torch.cat([found[1:] for found in numbers])
    if not len(pooled):
        return value, float(of_seeds.min()), float(of_seeds.max())
    centred = (pooled - pooled.mean() + value).clamp(measure.lowest, measure.largest)
    low, high = np.quantile(centred.numpy(), [0.025, 0.975])
    return value, float(low), float(high)


def _chosen(measures: Sequence[str] | Literal["all"]) -> dict[str, Measure]:
    names = tuple(MEASURES) if measures == "all" else tuple(measures)
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names or (isinstance(measures, str) and measures != "all"):
        raise ValueError(f"measures is {measures!r}. Pass 'all' or some of: {'; '.join(MEASURES)}.")
    return {name: MEASURES[name] for name in names}


def _check_settings(seeds: Sequence[int], sample: int | None, bootstrap: int) -> None:
    if not seeds or min(seeds) < 0:
        raise ValueError(f"seeds is {tuple(seeds)}. Pass one or more, none negative.")
    if bootstrap < 20:
        raise ValueError(f"bootstrap is {bootstrap}. Pass at least 20 resamples for an interval.")
    if sample is not None and sample < CLASSIFIER_FOLDS:
        raise ValueError(f"sample is {sample}. Pass at least {CLASSIFIER_FOLDS} pairs or None.")


def _sides(x: Features, y: Features) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Unit rows of the sides that have them, and what is wrong with the others."""
    sides, faults = {}, {}
    for side, features in (("x", x), ("y", y)):
        try:
            sides[side] = normalise(features, name=side)
        except ValueError as error:
            faults[side] = str(error)
    return sides, faults


def _refuse(
    measure: Measure, sides: Mapping[str, Tensor], faults: Mapping[str, str], n: int
) -> None:
    """Raise ValueError where the measure is not defined on these features."""
    for side in measure.sides:
        if side in faults:
            raise ValueError(faults[side])
    if measure.sides == "xy":
        refuse_mismatch(
            sides["x"], sides["y"], paired=measure.paired, same_width=measure.same_width
        )
    if n < measure.least:
        raise ValueError(f"{n} rows are too few: this needs {measure.least}. Pass more images.")


def _collapse(rows: Tensor, side: str) -> str:
    """What to say of a side whose rows are one point; empty where they are not."""
    try:
        refuse_collapsed(rows, name=side)
    except ValueError as error:
        return str(error)
    return ""


def _note(n: int, counts: Mapping[str, int]) -> str:
    """How many of the rows of each side were used."""
    if set(counts.values()) == {n}:
        return "exact"
    if len(set(counts.values())) == 1:
        return f"sampled: {n:,} of {next(iter(counts.values())):,} rows"
    each = [f"{n:,} of {count:,} rows of {side}" for side, count in counts.items()]
    return f"sampled: {' and '.join(each)}"
