"""What a report says in numbers: results over seeds, and gains over source_only."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from socketlab.runs.report_values import DASH, Record, finite, mapping, marked, plain, records

SOURCE_ONLY: Final = "source_only"


@dataclass(frozen=True)
class Line:
    """One line of the results: a method on one source and target, over its seeds.

    Accuracies are shares in [0, 1], `gained` is in points (hundredths) over source_only, and
    `deviation` is over seeds with n - 1 (None for one seed). `steered` says how many changes were
    made by hand. `seconds`, `memory` (MiB, the peak) and `expected_memory` (what it was expected
    to be) are means over the trainings. None stands for what is not known.
    """

    method: str
    protocol: str
    source: str
    target: str
    chosen_by: str
    seeds: tuple[str, ...]
    accuracy: float | None
    deviation: float | None
    balanced_accuracy: float | None
    source_only: float | None
    gained: float | None
    n: Any
    seconds: float | None
    memory: float | None
    expected_memory: float | None
    note: str
    steered: str
    upper_reference: bool

    @property
    def is_last(self) -> bool:
        """Whether it is the last epoch's model, or nothing says that another was chosen."""
        return self.chosen_by in ("last", DASH)


def _key(row: Record, *names: str) -> tuple[str, ...]:
    return tuple(plain(row.get(name)) for name in names)


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [number for value in values if (number := finite(value)) is not None]
    return statistics.fmean(numbers) if numbers else None


def lines(results: list[Record]) -> list[Line]:
    """The results over seeds, in the order of the run; what was steered by hand stands apart."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for row in results:
        key = _key(row, "protocol", "target", "source", "method", "chosen_by")
        key = (*key[:3], marked(key[3], row.get("steered")), key[4])
        groups.setdefault(key, []).append(row)
    rows_over_seeds = []
    for (protocol, target, source, method, chosen_by), rows in groups.items():
        accuracies = [finite(row.get("accuracy")) for row in rows]
        known = [accuracy for accuracy in accuracies if accuracy is not None]
        floors = [_floor(row, results) for row in rows]
        gains = [
            accuracy - floor
            for accuracy, floor in zip(accuracies, floors, strict=True)
            if accuracy is not None and floor is not None
        ]
        rows_over_seeds.append(
            Line(
                method=method,
                protocol=protocol,
                source=source,
                target=target,
                chosen_by=chosen_by,
                seeds=tuple(plain(row.get("seed")) for row in rows),
                accuracy=_mean(known),
                deviation=statistics.stdev(known) if len(known) > 1 else None,
                balanced_accuracy=_mean(row.get("balanced_accuracy") for row in rows),
                source_only=_mean(floors),
                gained=100 * statistics.fmean(gains) if gains and method != SOURCE_ONLY else None,
                n=rows[0].get("n"),
                seconds=_mean(row.get("seconds") for row in rows),
                memory=_mean(row.get("peak_memory") for row in rows),
                expected_memory=_mean(row.get("expected_memory") or None for row in rows),
                note=seed_notes(rows),
                steered=_steered(rows),
                upper_reference=method.startswith("oracle") or chosen_by == "oracle",
            )
        )
    return rows_over_seeds


def seed_notes(rows: Iterable[Record]) -> str:
    """The notes of some results, each with its seeds: `answers fall on ... (seeds 0, 2)`."""
    seeds: dict[str, list[str]] = {}
    for row in rows:
        if row.get("note"):
            seeds.setdefault(plain(row["note"]), []).append(plain(row.get("seed")))
    return "; ".join(
        f"{note} (seed{'s' if len(found) > 1 else ''} {', '.join(found)})"
        for note, found in seeds.items()
    )


def _steered(rows: Iterable[Record]) -> str:
    """How many changes were made by hand, seed by seed: `3 changes (seed 0)`; else nothing."""
    counts = [(int(finite(row.get("steered")) or 0), plain(row.get("seed"))) for row in rows]
    return ", ".join(f"{_count(n, 'change')} (seed {seed})" for n, seed in counts if n)


def _floor(row: Record, results: list[Record]) -> float | None:
    """The accuracy of source_only beside `row`: of its seed, else the mean over the seeds."""
    case = (SOURCE_ONLY, *_key(row, "protocol", "source", "target"))
    beside = [
        other
        for other in results
        if (other.get("method"), *_key(other, "protocol", "source", "target")) == case
    ]
    same = [other for other in beside if other.get("seed") == row.get("seed")]
    return _mean(other.get("accuracy") for other in same or beside)


def sentence(results: list[Record]) -> str:
    """What the run is, in a sentence."""
    if not results:
        return "This run has no results yet."
    methods = list(dict.fromkeys(plain(row.get("method")) for row in results))
    ways = list(
        dict.fromkeys(f"{plain(row.get('source'))} → {plain(row.get('target'))}" for row in results)
    )
    protocols = list(dict.fromkeys(plain(row.get("protocol")) for row in results))
    seeds = {plain(row.get("seed")) for row in results}
    labelled = {plain(row.get("target")) for row in results if finite(row.get("n"))}
    unlabelled = sorted({plain(row.get("target")) for row in results} - labelled)
    return (
        f"{_count(len(methods), 'method')} ({', '.join(methods)}) on {', '.join(ways)}, "
        f"protocol {', '.join(protocols)}, {_count(len(seeds), 'seed')}."
        + (
            f" No image of {', '.join(unlabelled)} has a label: see the label-free scores, below."
            if unlabelled
            else ""
        )
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def by_case(results: list[Line]) -> list[tuple[str, list[Line]]]:
    """The lines under a title for each protocol, target and source."""
    cases: dict[str, list[Line]] = {}
    for line in results:
        title = f"{line.source} → {line.target}, protocol {line.protocol}"
        cases.setdefault(title, []).append(line)
    return list(cases.items())


def largest_gain(results: list[Line]) -> Line | None:
    """The line with the most points over source_only, upper references left out."""
    fair = [line for line in results if line.gained is not None and not line.upper_reference]
    return max(fair, key=lambda line: line.gained or 0.0, default=None)


def change_rows(tree: Record) -> list[tuple[str, str, Any, Any]]:
    """Stage, name, step and new value of every change that was made while a stage trained."""
    return [
        (str(stage), plain(changed.get("name")), changed.get("step"), changed.get("value"))
        for stage, listed in tree.items()
        for changed in records(listed)
    ]


def stage_rows(tree: Record) -> list[tuple[str, str, Any, float]]:
    """Name, status, seconds and share of the longest stage (0 to 100) of every stage."""
    rows = [(str(name), mapping(stage)) for name, stage in tree.items()]
    longest = max((finite(stage.get("seconds")) or 0.0 for _, stage in rows), default=0.0)
    return [
        (
            name,
            plain(stage.get("status")),
            stage.get("seconds"),
            100 * (finite(stage.get("seconds")) or 0.0) / longest if longest > 0 else 0.0,
        )
        for name, stage in rows
    ]


def failed_parts(run: Record) -> list[tuple[str, str, str]]:
    """Name, status and reason of every notebook and stage that neither is done nor at work."""
    return [
        (str(name), plain(part.get("status")), plain(part.get("reason") or ""))
        for kind in ("notebooks", "stages")
        for name, part in mapping(run.get(kind)).items()
        if isinstance(part, dict) and part.get("status") in ("failed", "stopped")
    ]
