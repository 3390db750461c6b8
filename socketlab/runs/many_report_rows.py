"""Every result and every epoch of several runs as two tables, as they are kept beside a report."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from socketlab.data.whole_files import replace_file
from socketlab.methods import REGISTRY
from socketlab.runs.entries import Part, Result
from socketlab.runs.many_report_runs import Member, Selection, value_of

ANY: Final = ""
"""In the place of a parameter's value: the row is the same whatever that was."""
PARAMETER: Final = "parameter/"
_TRANSLATOR: Final = "translated"  # the method that trains one
_SAME: Final = ["data", "stage", "fingerprint", "accuracy", "balanced_accuracy", "chosen_by"]


def result_rows(
    selection: Selection, beside: Path, names: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """A row per result of every run.

    Columns: those of `Result` (`scores` and `measures` one by one, as `score/<name>`), and
    run, data, run_status, stage_status, fingerprint, taken_from, device, dtype, host,
    `parameter/<name>` for what differs between the runs, or for these `names` (`""` where that
    makes no difference), and

    - counted: False for what another row says already (a stage that several runs share), and for
      stages that are not done;
    - answers: the file with the answers, relative to `beside`; `""` where there is none.
    """
    names = selection.differing if names is None else names
    rows = [
        _row(member, row, names, beside) for member in selection.members for row in _results(member)
    ]
    columns = [*_ABOUT, *Result.model_fields, *(PARAMETER + name for name in names)]
    table = pd.DataFrame(rows)
    for name in columns:
        if name not in table.columns and name not in ("scores", "measures"):
            table[name] = pd.Series(dtype=object)
    return _counted(table, [PARAMETER + name for name in names])


_ABOUT: Final = ("run", "data", "run_status", "stage_status", "fingerprint", "taken_from")


def _results(member: Member) -> list[Result]:
    return member.record.results


def _row(member: Member, row: Result, names: tuple[str, ...], beside: Path) -> dict[str, Any]:
    part = member.record.stages.get(row.stage, Part(status="done"))
    answers = member.folder / "answers" / f"{row.stage}.parquet"
    device = member.record.device
    values = row.model_dump(exclude={"scores", "measures"})
    return (
        {
            "run": member.name,
            "data": member.data,
            "run_status": member.status.state,
            "stage_status": part.status,
            "fingerprint": part.fingerprint or f"of {member.name}",
            "taken_from": part.taken_from,
            "device": device.get("name", ""),
            "dtype": device.get("dtype", ""),
            "host": member.status.host,
        }
        | values
        | {f"score/{name}": value for name, value in row.scores.items()}
        | {f"measure/{name}": value for name, value in row.measures.items()}
        | {PARAMETER + name: _value(member.parameters, name, row.method) for name in names}
        | {"answers": relative(answers, beside) if answers.is_file() else ""}
    )


def _value(parameters: Mapping[str, Any], name: str, method: str) -> str:
    """The value of a parameter in words, where it can matter to that method."""
    kind, _, rest = name.partition(".")
    of = rest.partition(".")[0]
    # A translator's options reach every method that sees through it.
    other = kind == "options" and method in REGISTRY and of not in (method, _TRANSLATOR)
    if other or (kind in ("options", "variants") and method in ("source", "source_only")):
        return ANY
    found = value_of(parameters, name)
    return ANY if found is None else found


def relative(file: Path, folder: Path) -> str:
    """The path of a file as seen from a folder, with slashes."""
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()


def _counted(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Mark what says the same as a row before it; a parameter that differs there is ANY."""
    rows["counted"] = rows["stage_status"].isin(["done", "stopped"])
    for _, same in rows[rows["counted"]].groupby(_SAME, sort=False, dropna=False):
        if len(same) > 1:
            rows.loc[same.index[1:], "counted"] = False
            for name in names:
                if same[name].nunique() > 1:
                    rows.loc[same.index, name] = ANY
    return rows


def epoch_rows(selection: Selection) -> pd.DataFrame:
    """The numbers of every epoch of every run: run, stage, epoch, step, name, value.

    A file that cannot be read is left out: the run's status says what became of it.
    """
    parts = []
    for member in selection.members:
        try:
            found = pd.read_parquet(member.folder / "metrics.parquet")
        except (OSError, ValueError):
            continue
        found.insert(0, "run", member.name)
        parts.append(found)
    columns = ["run", "stage", "epoch", "step", "name", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def write_rows(rows: pd.DataFrame, epochs: pd.DataFrame, report: Path) -> tuple[Path, Path]:
    """Replace `<name>.parquet` and `<name>.epochs.parquet` beside the report `<name>.html`."""
    files = report.with_suffix(".parquet"), report.with_suffix(".epochs.parquet")
    for file, table in zip(files, (rows, epochs), strict=True):
        replace_file(file, table.to_parquet(index=False))
    return files
