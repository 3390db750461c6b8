"""The pictures of a report of several runs, drawn from its lines."""

from collections.abc import Iterable, Sequence

import pandas as pd

from socketlab.figures.compare import comparison_bars
from socketlab.figures.sensors import sensor_matrices
from socketlab.figures.style import to_png
from socketlab.figures.trade_off import cost_against_accuracy
from socketlab.runs.many_report_tables import SOURCE, Case, Line
from socketlab.runs.report_lines import SOURCE_ONLY
from socketlab.runs.report_pictures import Picture, drawn

MOST_BARS = 26
"""In one picture; where there are more, each source has its own."""


def pictures(lines: Sequence[Line]) -> list[Picture]:
    """Matrices of sensors, then methods as bars, then what they cost; upper references marked.

    A line without accuracies, for nobody has labels, is in none.
    """
    shown = [
        line for line in lines if line.method != SOURCE and line.rows and line.accuracy is not None
    ]
    return [*_matrices(shown), *_bars(shown), *_costs(shown)]


def _settings(lines: Iterable[Line]) -> dict[tuple[tuple[str, str], ...], list[Line]]:
    """The lines by what their source_only was made with, which a picture's caption says."""
    lines = list(lines)
    floors = {line.varied for line in lines if line.is_reference}
    names = {name for varied in floors for name, _ in varied}
    found: dict[tuple[tuple[str, str], ...], list[Line]] = {}
    for line in lines:
        setting = tuple(item for item in line.varied if item[0] in names)
        found.setdefault(setting, []).append(line)
    return found


def _name(line: Line, setting: Sequence[tuple[str, str]]) -> str:
    """A line's name where the setting is said already."""
    rest = tuple(item for item in line.varied if item not in setting)
    return Line(line.case, line.method, rest, line.rows).label


def _words(case: Case, lines: Sequence[Line], setting: Sequence[tuple[str, str]]) -> str:
    said = [f"data set {case.data}"] if case.data else []
    said += [f"protocol {case.protocol}"]
    said += [f"{name} {value}" for name, value in setting]
    seeds = sorted({seed for line in lines for seed in line.seeds})
    said += [f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"]
    return ", ".join(said)


def _groups(lines: Iterable[Line], *names: str) -> dict[tuple[str, ...], list[Line]]:
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        found.setdefault(tuple(getattr(line.case, name) for name in names), []).append(line)
    return found


def _bars(lines: Sequence[Line]) -> list[Picture]:
    found = []
    for group in _groups(lines, "data", "protocol", "target").values():
        for setting, alike in _settings(group).items():
            parts = [alike] if len(alike) <= MOST_BARS else _groups(alike, "source").values()
            for part in parts:
                case, sources = part[0].case, dict.fromkeys(line.case.source for line in part)
                rows = pd.DataFrame(
                    [
                        row | {"method": _name(line, setting)}
                        for line in part
                        for row in line.rows
                        if pd.notna(row["accuracy"])
                    ]
                )
                found.append(
                    drawn(
                        to_png(comparison_bars(rows)),
                        f"{', '.join(sources)} → {case.target}: methods by accuracy",
                        f"{_sentence(part)} Of {_words(case, part, setting)}.",
                    )
                )
    return found


def _sentence(lines: Sequence[Line]) -> str:
    """What bars show, in words, for those who do not see them."""
    fair = [line for line in lines if not line.upper_reference]
    best = max(fair or lines, key=lambda line: line.accuracy or 0.0)
    text = f"Highest: {best.label}, {100 * (best.accuracy or 0.0):.1f} %"
    beside = [line for line in lines if line.is_reference and line.case == best.case]
    floor = beside[0] if beside else None
    if floor is not None and floor is not best:
        text += f"; source_only: {100 * (floor.accuracy or 0.0):.1f} %"
    return f"{text}."


def _costs(lines: Sequence[Line]) -> list[Picture]:
    """Over all cases of a data set and protocol, of the methods that were tried on all of them."""
    found = []
    for group in _groups(lines, "data", "protocol").values():
        for setting, alike in _settings(group).items():
            cases = {line.case for line in alike}
            by_name: dict[str, list[Line]] = {}
            for line in alike:
                by_name.setdefault(_name(line, setting), []).append(line)
            whole = {n: some for n, some in by_name.items() if len(some) == len(cases)}
            if len(whole) < 2:
                continue
            rows = pd.DataFrame(
                [
                    row | {"method": name}
                    for name, some in whole.items()
                    for line in some
                    for row in line.rows
                    if pd.notna(row["accuracy"])
                ]
            )
            over = "one case" if len(cases) == 1 else f"the mean over {len(cases)} cases"
            words = _words(alike[0].case, alike, setting)
            found.append(
                drawn(
                    to_png(cost_against_accuracy(rows)),
                    "What an accuracy costs",
                    f"Accuracy against time, memory and trained parameters, {over}; {words}.",
                )
            )
    return found


def _matrices(lines: Sequence[Line]) -> list[Picture]:
    found = []
    cells = [(line, *_sensors(line)) for line in lines if line.case.source.count("/") == 1]
    modalities = dict.fromkeys((x.case.data, x.case.protocol, to[1]) for x, _, to in cells)
    for data, protocol, modality in modalities:
        here = [
            (line, source[0], to[0])
            for line, source, to in cells
            if (line.case.data, line.case.protocol, to[1]) == (data, protocol, modality)
        ]
        sensors = {line: (source, target) for line, source, target in here}
        for setting, alike in _settings(sensors).items():
            sources, targets = ({sensors[line][k] for line in alike} for k in (0, 1))
            if min(len(sources), len(targets)) < 2:
                continue
            floors = {sensors[line]: line.accuracy for line in alike if line.is_reference}
            rows = [
                {
                    "method": _name(line, setting),
                    "source": sensors[line][0],
                    "target": sensors[line][1],
                    "accuracy": line.accuracy,
                    "gained": _gained(line, floors.get(sensors[line])),
                }
                for line in sorted(alike, key=lambda line: _order(line, alike))
            ]
            words = _words(alike[0].case, alike, setting)
            size = f"{len(sources)} x {len(targets)}"
            title = f"Sensor by sensor: from RGB to {modality}, {size}"
            png = to_png(sensor_matrices(pd.DataFrame(rows), title=title, names=words))
            methods = ", ".join(dict.fromkeys(str(row["method"]) for row in rows))
            found.append(
                drawn(
                    png,
                    title,
                    f"A matrix each for {methods}: rows the source's sensor, columns the target's. "
                    "The numbers are in the tables above.",
                )
            )
    return found


def _sensors(line: Line) -> tuple[tuple[str, str], tuple[str, str]]:
    """Sensor and modality of source and target."""
    source, target = (name.rpartition("/")[::2] for name in (line.case.source, line.case.target))
    return source, target


def _gained(line: Line, floor: float | None) -> float:
    if floor is None or line.accuracy is None or line.method == SOURCE_ONLY:
        return float("nan")
    return 100 * (line.accuracy - floor)


def _order(line: Line, lines: Iterable[Line]) -> tuple[int, float]:
    """source_only first, the best of the others next, upper references last."""
    mine = [other.accuracy or 0.0 for other in lines if other.label == line.label]
    return (0 if line.is_reference else 1 + line.upper_reference), -sum(mine) / len(mine)
