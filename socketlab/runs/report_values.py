"""What a report says in numbers: results over seeds, gains over source_only, values as text."""

import shlex
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

SOURCE_ONLY: Final = "source_only"
DASH: Final = "\N{EN DASH}"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of the results: a method on one source and target, over its seeds.

    Accuracies are shares in [0, 1], `gained` is in points (hundredths) over source_only, and
    `deviation` is over seeds with n - 1 (None for one seed). None stands for what is not known.
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
    upper_reference: bool


def percent(share: Any) -> str:
    """A share as per cent with one decimal; a dash for what is not a number."""
    number = _number(share)
    return DASH if number is None else f"{100 * number:.1f} %"


def points(gained: float | None) -> str:
    """Points gained, with their sign."""
    if gained is None:
        return DASH
    return f"{gained:+.1f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: Any) -> str:
    """Seconds in the largest units that tell: 8.2 s, 2 min 10 s, 3 h 05 min."""
    number = _number(seconds)
    if number is None:
        return DASH
    if number < 60:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(value: Any) -> str:
    """A moment in ISO form as date, time and offset; anything else as it is."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return plain(value)


def plain(value: Any) -> str:
    """A value as one writes it: text as it is, lists with commas, numbers short, None as a dash."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(part)}" for key, part in value.items()) or "none"
    return str(value)


def command(words: Any) -> str:
    """A command as one types it: a text as it is, a list of words quoted for the shell."""
    return shlex.join(map(str, words)) if isinstance(words, list | tuple) else plain(words)


def flatten(tree: Record, above: str = "") -> list[tuple[str, str]]:
    """A nested configuration as (dotted key, value), in its order."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping) and value:
            rows += flatten(value, name)
        else:
            rows.append((name, plain(value)))
    return rows


def records(value: Any) -> list[Record]:
    """The objects of a list; nothing where there is no list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> Record:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """The value as a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None


def _key(row: Record, *names: str) -> tuple[str, ...]:
    return tuple(plain(row.get(name)) for name in names)


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [number for value in values if (number := _number(value)) is not None]
    return statistics.fmean(numbers) if numbers else None


def lines(results: list[Record]) -> list[Line]:
    """The results over seeds, in the order of the run."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for row in results:
        key = _key(row, "protocol", "target", "source", "method", "chosen_by")
        groups.setdefault(key, []).append(row)
    rows_over_seeds = []
    for (protocol, target, source, method, chosen_by), rows in groups.items():
        accuracies = [_number(row.get("accuracy")) for row in rows]
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
                upper_reference=method.startswith("oracle") or chosen_by == "oracle",
            )
        )
    return rows_over_seeds


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
    return (
        f"{_count(len(methods), 'method')} ({', '.join(methods)}) on {', '.join(ways)}, "
        f"protocol {', '.join(protocols)}, {_count(len(seeds), 'seed')}."
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


def stage_rows(tree: Record) -> list[tuple[str, str, Any, float]]:
    """Name, status, seconds and share of the longest stage (0 to 100) of every stage."""
    rows = [(str(name), mapping(stage)) for name, stage in tree.items()]
    longest = max((_number(stage.get("seconds")) or 0.0 for _, stage in rows), default=0.0)
    return [
        (
            name,
            plain(stage.get("status")),
            stage.get("seconds"),
            100 * (_number(stage.get("seconds")) or 0.0) / longest if longest > 0 else 0.0,
        )
        for name, stage in rows
    ]
