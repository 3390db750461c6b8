"""The report of a sweep or of several runs: one HTML file that needs nothing beside it.

All rows and all epochs lie beside it as two Parquet files. Numbers are read from `run.json`;
intervals are computed from the answers that the runs have kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from socketlab.data.schema import Protocol
from socketlab.data.whole_files import replace_file
from socketlab.runs.many_report_about import (
    KINDS,
    continued,
    counts,
    failures,
    link,
    locks,
    made_once,
    own_pictures,
    sentence,
    surroundings,
)
from socketlab.runs.many_report_figures import pictures
from socketlab.runs.many_report_gaps import reader
from socketlab.runs.many_report_rows import epoch_rows, result_rows, write_rows
from socketlab.runs.many_report_runs import Member, Selection, select
from socketlab.runs.many_report_tables import SOURCE, Case, Line, by_case, lines
from socketlab.runs.places import manifest_of
from socketlab.runs.report import repeat_command, write_report
from socketlab.runs.report_pages import page
from socketlab.runs.report_values import plain

TEMPLATE: Final = "many_report.html.jinja"


@dataclass(frozen=True)
class RunRow:
    """A run in the table of all runs; `address` is of its own report, where that can be reached."""

    name: str
    what: str
    state: str
    accuracy: float | None
    seconds: float | None
    device: str
    host: str
    tries: int
    address: str
    pictures: list[tuple[str, str]]


def write_many_report(words: Sequence[str | Path], output: Path | None = None) -> Path:
    """Write the report of runs and sweeps, given by name or folder, and return its path.

    A sweep counts as all its runs. One run alone has the report of a run. The file is
    `report.html` in the folder of the run or sweep, for several in the folder that they share; or
    `output`. `<name>.parquet` and `<name>.epochs.parquet` are written beside it: a row per result,
    and a row per number of an epoch.

    Raises:
        ValueError: for no word, and for a name that nothing has.
        SweepError: for the record of a sweep that cannot be read.
    """
    selection = select(words)
    report = output if output is not None else selection.folder / "report.html"
    rows = result_rows(selection, report.parent)
    report.parent.mkdir(parents=True, exist_ok=True)
    write_rows(rows, epoch_rows(selection), report)
    if len(selection.members) == 1 and selection.sweep is None:
        return write_report(selection.folder, report)
    found = lines(rows, reader(report.parent))
    replace_file(report, page(TEMPLATE, **_content(selection, found, report)))
    return report


def _content(selection: Selection, found: list[Line], report: Path) -> dict[str, Any]:
    """What the template needs."""
    members, sweep = selection.members, selection.sweep
    cases = by_case(found)
    methods = list(dict.fromkeys(line.method for some in cases.values() for line in some))
    lock, lock_differs = locks(members)
    return {
        "title": selection.title,
        "sentence": sentence(selection, list(dict.fromkeys(c.target for c in cases)), methods),
        "counts": counts(members),
        "total": len(members),
        "best": _best(cases),
        "seconds": sum(member.status.seconds for member in members),
        "made_once": made_once(members),
        "failures": failures(members),
        "continued": continued(members),
        "cases": cases,
        "several_data": len({case.data for case in cases}) > 1,
        "choices": list(dict.fromkeys(name for line in found for name, _, _ in line.chosen)),
        "varied": any(line.varied for some in cases.values() for line in some),
        "sources": [line for line in found if line.method == SOURCE],
        "protocols": _protocols(members, cases),
        "pictures": pictures(found),
        "runs": [_run_row(member, report.parent) for member in members],
        "surroundings": surroundings(members),
        "lock": lock,
        "lock_differs": lock_differs,
        "file": yaml.safe_dump(sweep.file, sort_keys=False, allow_unicode=True) if sweep else "",
        "command": sweep.command if sweep else "",
        "repeat": [repeat_command(m.folder) for m in members if m.status.kind == "run"][:1],
        "tables": report.with_suffix("").name,
    }


def _best(cases: Mapping[Case, list[Line]]) -> Line | None:
    """The line that gained most over its source_only, upper references left out."""
    fair = [
        line for some in cases.values() for line in some if line.gap and not line.upper_reference
    ]
    return max(fair, key=lambda line: line.gap.points if line.gap else 0.0, default=None)


def _run_row(member: Member, folder: Path) -> RunRow:
    status = member.status
    return RunRow(
        member.name,
        KINDS.get(status.kind) or ", ".join(f"{k} {plain(v)}" for k, v in status.point.items()),
        status.state,
        status.accuracy,
        status.seconds if status.state != "waiting" else None,
        status.device,
        status.host,
        status.tries,
        link(member, folder),
        own_pictures(member, folder),
    )


def _protocols(
    members: Sequence[Member], cases: Mapping[Case, list[Line]]
) -> list[tuple[str, str, Protocol | None]]:
    """Data set, name and content of each protocol; one whose manifest is gone has no content."""
    given = {member.data: str(member.parameters.get("data", "")) for member in members}
    found: list[tuple[str, str, Protocol | None]] = []
    for data, name in dict.fromkeys((case.data, case.protocol) for case in cases):
        try:
            manifest = manifest_of(given[data])
            found.append((manifest.title or data, name, manifest.protocol(name)))
        except (ValueError, OSError):
            found.append((data, name, None))
    return found
