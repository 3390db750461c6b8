"""Two runs that ought to be the same: what is equal bit for bit, and by how much the rest differs.

Compared are the numbers of every epoch, the weights, the answers and the rows of the results; not
seconds and memory, which are the machine's, nor figures, which are drawn from those numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from safetensors.torch import load_file

from socketlab.models.checkpoint import CheckpointError, check_weights
from socketlab.runs.entries import Record, Result
from socketlab.runs.keeping import answers_file, model_file
from socketlab.runs.record import Run

MEASURED: Final = frozenset({"seconds", "peak_memory", "expected_memory", "steered"})
"""What a row says of the machine; and of changes by hand, which a repetition asks for."""
_PLACES: Final = ["stage", "epoch", "step", "name"]


@dataclass(frozen=True)
class StageCheck:
    """One stage of a run against that of its repetition.

    Attributes:
        stage: its name.
        numbers, different: of all epochs, with the rows of the results: how many were compared,
            and how many are not equal bit for bit.
        epoch: the first one with a number that differs; None where none does.
        largest: the largest difference among them, with its name, in words.
        weights: `equal`, `none kept`, or how far apart they are.
        answers: the same of the answers to single images.
        changed: what of its configuration is another one, in words.
        missing: why it could not be compared at all.
    """

    stage: str
    numbers: int = 0
    different: int = 0
    epoch: int | None = None
    largest: str = ""
    weights: str = "none kept"
    answers: str = "none kept"
    changed: str = ""
    missing: str = ""

    @property
    def equal(self) -> bool:
        """Whether all that was kept is equal bit for bit."""
        same = {"equal", "none kept"}
        return not self.missing and not self.different and {self.weights, self.answers} <= same


def compare_runs(before: Path, after: Path) -> list[StageCheck]:
    """Every stage of the run `before` against the same one of `after`, in the order of the run."""
    first, second = Run(before), Run(after)
    then, now = first.read(), second.read()
    numbers, others = first.metrics(), second.metrics()
    checks = []
    for stage, part in then.stages.items():
        if stage not in now.stages:
            checks.append(StageCheck(stage, missing="the repetition has not made it"))
            continue
        rows = _number_differences(
            numbers[numbers["stage"] == stage], others[others["stage"] == stage]
        )
        results = _row_differences(_rows(then, stage), _rows(now, stage))
        differing = rows[rows["differs"]]
        # Changes made by hand become parameters, which are part of a fingerprint.
        same = part.fingerprint == now.stages[stage].fingerprint or stage in then.changes
        checks.append(
            StageCheck(
                stage,
                numbers=len(rows) + len(results),
                different=len(differing) + sum(bool(words) for words in results.values()),
                epoch=int(differing["epoch"].min()) if len(differing) else None,
                largest=_largest(differing) or next((w for w in results.values() if w), ""),
                weights=_weights(first, second, stage),
                answers=_answers(first, second, stage),
                changed="" if same else _configuration(first, second, stage),
            )
        )
    return checks


def _number_differences(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Each number of either, with whether it differs; NaN is equal to NaN."""
    both = before.merge(
        after, on=_PLACES, how="outer", suffixes=("_before", "_after"), indicator="found"
    )
    one, other = both["value_before"], both["value_after"]
    same = (one == other) | (one.isna() & other.isna())
    return both.assign(differs=~(same & (both["found"] == "both")), difference=(one - other).abs())


def _largest(differing: pd.DataFrame) -> str:
    known = differing["difference"].dropna()
    if not len(known):
        only = differing["name"].head(1).tolist()
        return f"{only[0]} is there in one of them" if only else ""
    row = differing.assign(difference=known).nlargest(1, "difference").to_dict("records")[0]
    return f"{row['difference']:.2g} of {row['name']}, {row['value_before']:.6g} before"


def _rows(record: Record, stage: str) -> dict[str, Result]:
    return {row.chosen_by: row for row in record.results if row.stage == stage}


def _row_differences(
    before: Mapping[str, Result], after: Mapping[str, Result]
) -> dict[tuple[str, str], str]:
    """By choice of epoch and column: how that column of the row differs, or nothing."""
    found: dict[tuple[str, str], str] = {}
    for chosen in {**before, **after}:
        one = before[chosen].model_dump(exclude=set(MEASURED)) if chosen in before else {}
        other = after[chosen].model_dump(exclude=set(MEASURED)) if chosen in after else {}
        for name in one or other:
            mine, theirs = (values.get(name, "no such row") for values in (one, other))
            differs = repr(mine) != repr(theirs)  # the shortest text that is this very number
            words = f"{name} chosen by {chosen}: {mine} before, {theirs} now"
            found[chosen, name] = words if differs else ""
    return found


def _weights(first: Run, second: Run, stage: str) -> str:
    """Of the last epoch's model and the chosen one's: by the sha256 on their cards."""
    found = []
    for chosen in (False, True):
        one, other = (model_file(run, stage, chosen) for run in (first, second))
        if not one.is_file():
            continue
        try:
            before, after = check_weights(one), check_weights(other)
        except CheckpointError as error:
            found.append(str(error))
            continue
        if before.sha256 != after.sha256:
            found.append(_apart(one, other))
        elif not found:
            found.append("equal")
    differing = [words for words in found if words != "equal"]
    return "; ".join(dict.fromkeys(differing)) or (found[0] if found else "none kept")


def _apart(one: Path, other: Path) -> str:
    before, after = load_file(one), load_file(other)
    if {name: w.shape for name, w in before.items()} != {n: w.shape for n, w in after.items()}:
        return "of another network"
    most = max(float((before[n].double() - after[n].double()).abs().max()) for n in before)
    return f"differ by up to {most:.2g}"


def _answers(first: Run, second: Run, stage: str) -> str:
    one, other = answers_file(first, stage), answers_file(second, stage)
    if not one.is_file():
        return "none kept"
    if not other.is_file():
        return "not given again"
    before, after = pd.read_parquet(one), pd.read_parquet(other)
    if before.equals(after):
        return "equal"
    if before["id"].tolist() != after["id"].tolist():
        return "to other images"
    others = int((before["answer"] != after["answer"]).sum())
    most = float((before["confidence"] - after["confidence"]).abs().max())
    return f"{others} of {len(before)} differ, confidence by up to {most:.2g}"


def _configuration(first: Run, second: Run, stage: str) -> str:
    """Where the configurations on two cards differ."""
    about: list[dict[str, Any]] = []
    for run in (first, second):
        try:
            about.append(check_weights(model_file(run, stage)).configuration)
        except CheckpointError:
            return "its fingerprint is another one"
    flat = [{**card, **card.get("options", {})} for card in about]
    skipped = {"options", "fingerprint", "data"}
    words = [
        f"{name} was {flat[0].get(name)}, is {flat[1].get(name)}"
        for name in {**flat[0], **flat[1]}
        if name not in skipped and flat[0].get(name) != flat[1].get(name)
    ]
    return "; ".join(words) or "its fingerprint is another one"
