"""The report of a run: one HTML file that needs nothing beside it.

Everything it says is read from `run.json`; nothing is computed anew but means over seeds and
points over source_only. Pictures and styles are inside the file, and it holds no script.
"""

import json
import shlex
from pathlib import Path
from typing import Any, Final

from socketlab.data.whole_files import replace_file
from socketlab.runs.folders import name_of
from socketlab.runs.report_lines import (
    by_case,
    change_rows,
    failed_parts,
    largest_gain,
    lines,
    sentence,
    stage_rows,
)
from socketlab.runs.report_pages import page
from socketlab.runs.report_pictures import by_notebook, run_pictures
from socketlab.runs.report_values import flatten, mapping, plain, records

TEMPLATE: Final = "report.html.jinja"


def write_report(run_folder: Path, output: Path | None = None) -> Path:
    """Write the report of a run from its `run.json` and figures, and return its path.

    It is `report.html` in the run's folder, or `output`. The file is written beside and then
    renamed, so that a reader sees the old report or the new one. A listed picture that is missing
    is named in the report and is no error.
    Raises FileNotFoundError without `run.json`, ValueError where it is no JSON object.
    """
    run = _read(run_folder / "run.json")
    results = records(run.get("results"))
    over_seeds = lines(results)
    last = [line for line in over_seeds if line.is_last]
    chosen = [line for line in over_seeds if not line.is_last]
    pictures = run_pictures(run_folder, records(run.get("figures")))
    html = page(
        TEMPLATE,
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
        failed=failed_parts(run),
        tries=records(run.get("tries")),
        repeat=repeat_command(run_folder),
        notebooks=by_notebook(pictures),
        stages=stage_rows(mapping(run.get("stages"))),
        changes=change_rows(mapping(run.get("changes"))),
        configuration=flatten(mapping(run.get("configuration"))),
        versions=mapping(run.get("versions")),
        packages=mapping(run.get("packages")),
    )
    report = output if output is not None else run_folder / "report.html"
    replace_file(report, html)
    return report


def repeat_command(run_folder: Path) -> str:
    """The command that makes a run again."""
    return shlex.join(["socketlab", "repeat", name_of(run_folder)])


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
