"""Two reports side by side: what differs between two sweeps, two runs, or before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from socketlab.data.whole_files import replace_file
from socketlab.runs.many_report_about import Fact, locks, surroundings
from socketlab.runs.many_report_gaps import Gap, gap, reader
from socketlab.runs.many_report_rows import PARAMETER, result_rows
from socketlab.runs.many_report_runs import Member, Selection, flat, select
from socketlab.runs.many_report_tables import SOURCE, Line, lines, trimmed
from socketlab.runs.report_pages import page
from socketlab.runs.report_values import DASH, plain

TEMPLATE: Final = "many_report_against.html.jinja"
_NEEDED: Final = ("data", "protocol", "source", "target", "method", "seed", "chosen_by", "counted")
_NO_DIFFERENCE: Final = frozenset({"run", "runs_dir", "shared", "data_dir", "root"})


@dataclass(frozen=True)
class Side:
    """One of the two: its lines, the folder it lies in, and its runs where they are at hand."""

    title: str
    folder: Path
    lines: tuple[Line, ...]
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Pair:
    """The same method on the same case, on both sides."""

    first: Line
    second: Line
    gap: Gap | None


def write_comparison(
    first: Sequence[str | Path], second: Sequence[str | Path], output: Path | None = None
) -> Path:
    """Write a page that compares two reports, and return its path.

    Each side is runs and sweeps by name or folder, or one file `report.parquet`. Differences are
    those of `first` to `second`, paired over images and seeds where both have kept the answers to
    the same images. The page is `against-<second>.html` in the folder of the first, or `output`.

    Raises:
        ValueError: for a name that nothing has, and a file that holds no rows of a report.
    """
    both = _given(first), _given(second)
    names = tuple(dict.fromkeys(name for given in both for name in _varied(given)))
    one, two = (_side(given, names) for given in both)
    together = [*one.lines, *two.lines]
    report = output if output is not None else one.folder / f"against-{_file_name(two.title)}.html"
    theirs = {_key(line): line for line in _trimmed(two.lines, together)}
    mine = {_key(line): line for line in _trimmed(one.lines, together)}
    read = reader(Path())
    cases: dict[str, list[Pair]] = {}
    for key, line in mine.items():
        if key in theirs:
            data = f"{line.case.data}: " if line.case.data else ""
            pair = Pair(line, theirs[key], gap(line.rows, theirs[key].rows, read))
            cases.setdefault(data + line.case.title, []).append(pair)
    every = [pair.gap for pairs in cases.values() for pair in pairs]
    known = [found.interval for found in every if found and found.interval]
    html = page(
        TEMPLATE,
        first=one.title,
        second=two.title,
        cases=cases,
        better=sum(found.low > 0 for found in known),
        worse=sum(found.high < 0 for found in known),
        equal=(equal := sum(found is not None and found.is_equal for found in every)),
        inside=sum(found.inside_noise for found in known) - equal,
        unknown=len(every) - len(known),
        only=[
            (side.title, [line for key, line in some.items() if key not in other])
            for side, some, other in ((one, mine, theirs), (two, theirs, mine))
        ],
        parameters=_differing_parameters(one, two),
        surroundings=_differing(surroundings(one.members), surroundings(two.members)),
        packages=_differing(_packages(one), _packages(two)),
        known=bool(one.members and two.members),
    )
    report.parent.mkdir(parents=True, exist_ok=True)
    replace_file(report, html)
    return report


def _given(words: Sequence[str | Path]) -> Selection | tuple[Path, pd.DataFrame]:
    """The runs, or a file of rows with its content."""
    file = Path(words[0]).expanduser() if len(words) == 1 else Path()
    if file.suffix != ".parquet":
        return select(words)
    return file.resolve(), _read(file)


def _varied(given: Selection | tuple[Path, pd.DataFrame]) -> list[str]:
    """The parameters that differ within a side."""
    if isinstance(given, Selection):
        return list(given.differing)
    return [name.removeprefix(PARAMETER) for name in given[1].columns if name.startswith(PARAMETER)]


def _side(given: Selection | tuple[Path, pd.DataFrame], names: tuple[str, ...]) -> Side:
    """A side whose lines are told apart by these parameters, which differ within either side."""
    if isinstance(given, Selection):
        title, folder, members = given.title, given.folder, given.members
        rows = result_rows(given, folder, names)
    else:
        file, rows = given
        title, folder, members = file.parent.name, file.parent, ()
    here = [str(folder / name) if name else "" for name in rows["answers"]]
    found = lines(rows.assign(answers=here), reader(Path()), held=False)
    return Side(title, folder, tuple(line for line in found if line.method != SOURCE), members)


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise ValueError(f"There is no {str(file)!r}. Give a run, a sweep, or a report.parquet.")
    try:
        rows = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(file)!r} cannot be read ({error}). Write the report anew."
        ) from None
    missing = [name for name in (*_NEEDED, "answers") if name not in rows.columns]
    if missing:
        raise ValueError(
            f"{str(file)!r} has no column {missing[0]!r}. Give the report.parquet of a report."
        )
    return rows


def _trimmed(some: Sequence[Line], together: Sequence[Line]) -> list[Line]:
    return [trimmed(line, together) for line in some]


def _key(line: Line) -> tuple[object, ...]:
    return line.case, line.method, line.varied


def _file_name(title: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in title)


def _differing_parameters(one: Side, two: Side) -> list[tuple[str, str, str]]:
    """Name and values of parameters that all runs of a side agree on, and the sides do not."""
    first, second = _agreed(one), _agreed(two)
    names = [name for name in {**first, **second} if name not in _NO_DIFFERENCE]
    both = one.members and two.members
    return [
        (name, first.get(name, DASH), second.get(name, DASH))
        for name in names
        if both and name in first and name in second and first[name] != second[name]
    ]


def _agreed(side: Side) -> dict[str, str]:
    asked = [m for m in side.members if m.record.configuration and m.status.kind == "run"]
    given = [{name: plain(value) for name, value in flat(m.parameters).items()} for m in asked]
    if not given:
        return {}
    return {
        name: value for name, value in given[0].items() if all(x.get(name) == value for x in given)
    }


def _packages(side: Side) -> list[Fact]:
    usual, others = locks(side.members)
    several = {fact.name: fact for fact in others}
    return [several.get(name, Fact(name, ((version, 1),))) for name, version in usual.items()]


def _differing(one: Sequence[Fact], two: Sequence[Fact]) -> list[tuple[str, str, str]]:
    """Name and both values of what is not the same on both sides; nothing where one is unknown."""
    first, second = ({fact.name: fact for fact in side} for side in (one, two))
    if not first or not second:
        return []
    found = []
    for name in {**first, **second}:
        facts = (first.get(name), second.get(name))
        values = [{value for value, _ in fact.values} if fact else set() for fact in facts]
        if values[0] != values[1]:
            words = [fact.words if fact else DASH for fact in facts]
            found.append((name, words[0], words[1]))
    return found
