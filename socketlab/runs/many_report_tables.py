"""What a report of several runs says in numbers: every method on every case, over its seeds."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from socketlab.runs.many_report_gaps import Answers, Gap, Row, gap
from socketlab.runs.many_report_rows import ANY, PARAMETER
from socketlab.runs.report_lines import SOURCE_ONLY, seed_notes
from socketlab.runs.report_values import finite, marked

SOURCE: Final = "source"
Varied = tuple[tuple[str, str], ...]
"""Names and values of parameters that differ between the runs."""


@dataclass(frozen=True, order=True)
class Case:
    """Where methods are compared: one data set, protocol, source and target."""

    data: str
    protocol: str
    source: str
    target: str

    @property
    def title(self) -> str:
        """In words, without the data set."""
        return f"{self.source} → {self.target}, protocol {self.protocol}"


@dataclass(frozen=True, eq=False)
class Line:
    """A method on one case, with the same parameters, over its seeds.

    Attributes:
        method: its name, `(steered)` where it was steered by hand.
        varied: values of the parameters that differ between the runs, where they matter to it.
        rows: of its last epochs, one per training.
        chosen: label-free choices of an epoch: by what, mean accuracy, and which epochs.
        best: mean accuracy of the best epochs by the labels, an upper reference.
        gap: over source_only with the same parameters; None without one, and for itself.
    """

    case: Case
    method: str
    varied: Varied
    rows: tuple[Row, ...]
    chosen: tuple[tuple[str, float | None, str], ...] = ()
    best: float | None = None
    gap: Gap | None = None

    @property
    def upper_reference(self) -> bool:
        """Whether it uses what an adaptation does not have."""
        return self.method.startswith("oracle")

    @property
    def is_reference(self) -> bool:
        """Whether it is source_only."""
        return self.method == SOURCE_ONLY

    @property
    def variant(self) -> str:
        """What is varied, in words: `pair_weight 0.5`."""
        return ", ".join(f"{short(name)} {value}" for name, value in self.varied)

    @property
    def label(self) -> str:
        """The method with its variant."""
        return f"{self.method} ({self.variant})" if self.varied else self.method

    @property
    def accuracy(self) -> float | None:
        """Mean over the trainings, a share in [0, 1]."""
        return mean(self, "accuracy")

    @property
    def deviation(self) -> float | None:
        """Of the accuracy over the trainings, with n - 1; None for one."""
        known = [value for row in self.rows if (value := finite(row["accuracy"])) is not None]
        return statistics.stdev(known) if len(known) > 1 else None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean over the trainings, a share in [0, 1]."""
        return mean(self, "balanced_accuracy")

    @property
    def seconds(self) -> float | None:
        """Mean time of a training, in seconds."""
        return mean(self, "seconds")

    @property
    def memory(self) -> float | None:
        """Mean of the peaks in MiB."""
        return mean(self, "peak_memory")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, each once."""
        return tuple(sorted({int(row["seed"]) for row in self.rows}))

    @property
    def images(self) -> int | None:
        """How many were scored, where all trainings scored as many."""
        found = {int(row["n"]) for row in self.rows}
        return found.pop() if len(found) == 1 else None

    @property
    def note(self) -> str:
        """Which seeds collapsed."""
        return seed_notes(self.rows)


def mean(line: Line, name: str) -> float | None:
    """The mean of a number over a line's trainings, of those that have it."""
    known = [value for row in line.rows if (value := finite(row[name])) is not None]
    return statistics.fmean(known) if known else None


def short(name: str) -> str:
    """The last part of a parameter's name."""
    return name.rpartition(".")[2]


def lines(rows: pd.DataFrame, answers: Answers, *, held: bool = True) -> list[Line]:
    """A line per case, method and parameters, each case's best first and source_only at its end.

    `rows` is what `result_rows` gives. Upper references stand behind all others. Without `held`
    nobody is held against source_only, which takes reading all answers, and no option is left out
    for being the same for all lines of a method.
    """
    names = [name for name in rows.columns if name.startswith(PARAMETER)]
    groups: dict[tuple[Case, str, Varied], list[Row]] = {}
    for row in _records(rows[rows["counted"].astype(bool)]):
        case = Case(*(str(row[name]) for name in ("data", "protocol", "source", "target")))
        varied = tuple((name.removeprefix(PARAMETER), str(row[name])) for name in names)
        varied = tuple(item for item in varied if item[1] != ANY)
        key = case, marked(str(row["method"]), row["steered"]), varied
        groups.setdefault(key, []).append(row)
    made = [_line(*key, found) for key, found in groups.items()]
    made = [line for line in made if line.rows]
    if held:
        found = [_held(line, made, answers) for line in made]
        made = [trimmed(line, found) for line in found]
    places = {case: number for number, case in enumerate(dict.fromkeys(x.case for x in made))}
    return sorted(made, key=lambda line: (places[line.case], _rank(line)))


def _records(rows: pd.DataFrame) -> Iterator[Row]:
    for row in rows.to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _rank(line: Line) -> tuple[int, float]:
    return 2 * line.is_reference + line.upper_reference, -(line.balanced_accuracy or 0.0)


def _line(case: Case, method: str, varied: Varied, rows: list[Row]) -> Line:
    choices: dict[str, list[Row]] = {}
    for row in rows:
        choices.setdefault(str(row["chosen_by"]), []).append(row)
    last, best = choices.pop("last", []), choices.pop("oracle", [])
    chosen = tuple(
        (name, _mean(found), ", ".join(str(row["epoch"]) for row in found))
        for name, found in choices.items()
    )
    return Line(case, method, varied, tuple(last), chosen, _mean(best))


def trimmed(line: Line, every: Sequence[Line]) -> Line:
    """The line without options that are the same for all lines of its method."""
    alike = [other for other in every if other.method == line.method]
    kept = tuple(
        (name, value)
        for name, value in line.varied
        if name.partition(".")[0] not in ("options", "variants")
        or any(dict(other.varied).get(name, value) != value for other in alike)
    )
    return replace(line, varied=kept)


def _mean(rows: Iterable[Row]) -> float | None:
    known = [value for row in rows if (value := finite(row["accuracy"])) is not None]
    return statistics.fmean(known) if known else None


def _held(line: Line, every: Sequence[Line], answers: Answers) -> Line:
    """The line with its gap over the source_only that was made with the same parameters."""
    if line.is_reference or line.method == SOURCE:
        return line
    mine = dict(line.varied)
    fitting = [
        other
        for other in every
        if other.is_reference
        and other.case == line.case
        and all(mine.get(name, value) == value for name, value in other.varied)
    ]
    if not fitting:
        return line
    floor = max(fitting, key=lambda other: len(other.varied))
    return replace(line, gap=gap(line.rows, floor.rows, answers))


def by_case(found: Iterable[Line]) -> dict[Case, list[Line]]:
    """The lines of each case; source models, scored on their own camera, are in none."""
    cases: dict[Case, list[Line]] = {}
    for line in found:
        if line.method != SOURCE:
            cases.setdefault(line.case, []).append(line)
    return cases
