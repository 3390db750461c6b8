"""`socketlab status`: how far runs and sweeps are, once or as a live table."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from socketlab.cli.terminal import console, say

if TYPE_CHECKING:
    from socketlab.runs.status import Group


def status(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="runs, sweeps or SWEEP/RUN under runs/, or their folders"),
    ] = None,
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--no-watch",
            help="show it anew until nobody is at work; Ctrl+C leaves. "
            "Default: on a terminal, while somebody is",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="once, as JSON")] = False,
) -> None:
    """How far runs and sweeps are, what went wrong, and how long the rest will take.

    Without names: everything under runs/ that is not done, or else the last.
    Without a terminal: a plain line per run.

    Exit status:

    0  all runs are done

    3  some are at work or waiting, and nothing went wrong

    1  a run has failed, was stopped, was interrupted (at work by its record,
       but nobody is) or cannot be read; or a sweep has runs to do, and nobody
       is at work on it
    """
    from socketlab.runs import status as told
    from socketlab.runs.folders import find_folder

    folders = [find_folder(name) for name in names] if names else told.unfinished_or_last()
    if not folders and not as_json:
        say("There are no runs yet. `socketlab run` begins one.")
        return
    found = told.groups(folders)
    at_work = any(group.at_work for group in found)
    if as_json:
        print(json.dumps(_as_json(found), indent=2))
    elif watch or (watch is None and console.is_terminal and at_work):
        found = told.watch(folders, console)
    elif console.is_terminal:
        console.print(told.table_of(found, console.width))
    else:
        for group in found:
            if group.sweep or len(group.runs) > 1:
                say(told.summary(group))
            for run in group.runs:
                say(told.line(run))
    raise typer.Exit(told.exit_status(found))


def _as_json(found: "Sequence[Group]") -> dict[str, Any]:
    from socketlab.runs import status as told

    groups = []
    for group in found:
        runs = [asdict(run) | {"folder": str(run.folder)} for run in group.runs]
        groups.append(asdict(group) | {"counts": dict(group.counts), "runs": runs})
    return {"exit_status": told.exit_status(found), "groups": groups}
