"""The report of a run: one HTML file that needs nothing beside it.

Everything it says is read from `run.json`; nothing is computed anew but means over seeds and
points over source_only. Pictures and styles are inside the file, and it holds no script.
"""

import base64
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment

from socketlab.data.whole_files import replace_file
from socketlab.runs.report_lines import (
    by_case,
    change_rows,
    largest_gain,
    lines,
    sentence,
    stage_rows,
)
from socketlab.runs.report_values import (
    Record,
    command,
    duration,
    flatten,
    mapping,
    marked,
    mebibytes,
    moment,
    percent,
    plain,
    points,
    records,
)
from socketlab.runs.templates import environment

TEMPLATE: Final = "report.html.jinja"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_UNLISTED: Final = "Not listed in run.json"


@dataclass(frozen=True)
class Picture:
    """A figure ready to be shown: its picture as base64, or why it cannot be shown."""

    file: str
    title: str
    caption: str
    notebook: str
    data: str | None
    problem: str


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into `run_folder` from its `run.json` and figures, and return its path.

    The file is written beside and then renamed, so that a reader sees the old report or the new
    one. A listed picture that is missing is named in the report and is no error.
    Raises FileNotFoundError without `run.json`, ValueError where it is no JSON object.
    """
    run = _read(run_folder / "run.json")
    results = records(run.get("results"))
    over_seeds = lines(results)
    last = [line for line in over_seeds if line.is_last]
    chosen = [line for line in over_seeds if not line.is_last]
    pictures = _pictures(run_folder, records(run.get("figures")))
    html = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            run=run,
            name=plain(run.get("name") or run_folder.name),
            status=plain(run.get("status") or "unknown"),
            sentence=sentence(results),
            cases=by_case(last),
            chosen=by_case(chosen),
            best=largest_gain(last),
            steered=any(line.steered for line in over_seeds),
            results=results,
            device=mapping(run.get("device")),
            notebooks=_grouped(pictures),
            stages=stage_rows(mapping(run.get("stages"))),
            changes=change_rows(mapping(run.get("changes"))),
            configuration=flatten(mapping(run.get("configuration"))),
            versions=mapping(run.get("versions")),
        )
    )
    report = run_folder / "report.html"
    replace_file(report, html.encode("utf-8", errors="backslashreplace"))
    return report


@functools.cache
def _environment() -> Environment:
    """The template's surroundings: everything is escaped, and an unknown name is an error."""
    filters = {
        "command": command,
        "moment": moment,
        "percent": percent,
        "points": points,
        "mebibytes": mebibytes,
        "duration": duration,
        "marked": marked,
        "plain": plain,
    }
    return environment(filters, autoescape=True)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}. Give the folder of a run.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}. Run again to write it anew.") from error
    if not isinstance(run, dict):
        raise ValueError(f"{path} holds a {type(run).__name__}. It must hold an object.")
    return run


def _pictures(folder: Path, listed: list[Record]) -> list[Picture]:
    """The listed figures, then the PNG files of `figures/` that nobody listed."""
    pictures = []
    seen = set()
    for entry in listed:
        file = plain(entry.get("file"))
        path = _inside(folder, file)
        if path is not None:
            seen.add(path)
        data, problem = _inline(path, file)
        pictures.append(
            Picture(
                file,
                plain(entry.get("title") or file),
                plain(entry.get("caption") or ""),
                plain(entry.get("notebook") or "Figures"),
                data,
                problem,
            )
        )
    for path in sorted((folder / "figures").glob("*.png")):
        if path.resolve() not in seen:
            data, problem = _inline(path, path.name)
            pictures.append(Picture(path.name, path.stem, "", _UNLISTED, data, problem))
    return pictures


def _inside(folder: Path, file: str) -> Path | None:
    """The picture's path, relative to the run or to its `figures`; None outside the run."""
    root = folder.resolve()
    try:
        candidates = [(root / file).resolve(), (root / "figures" / file).resolve()]
        inside = [path for path in candidates if path.is_relative_to(root)]
        return next((path for path in inside if path.is_file()), inside[-1] if inside else None)
    except (OSError, ValueError):  # a name that no file system takes
        return None


def _inline(path: Path | None, file: str) -> tuple[str | None, str]:
    if path is None:
        return None, f"{file} is no file of this run's folder and is not shown."
    if not path.is_file():
        return None, f"{file} is missing. Run its notebook again to draw it."
    content = path.read_bytes()
    if not content.startswith(_PNG_START):
        return None, f"{file} is not a PNG picture. Run its notebook again to draw it."
    return base64.b64encode(content).decode("ascii"), ""


def _grouped(pictures: list[Picture]) -> dict[str, list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.notebook, []).append(picture)
    return groups
