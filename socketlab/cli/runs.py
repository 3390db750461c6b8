"""`socketlab run` and `page`: notebooks through papermill, and the demo page."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from socketlab.cli.terminal import console, fail, say


def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="names or numbers")] = None,
    params: Annotated[str | None, typer.Option(help="a YAML file of parameters")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="a parameter; a.b reaches into a mapping"),
    ] = None,
    name: Annotated[str | None, typer.Option("--run", help="name of the run")] = None,
    again: Annotated[bool, typer.Option("--again", help="also notebooks that are done")] = False,
) -> None:
    """Run notebooks through papermill into one run folder, and write its report.

    Without names: the steps of the parameter file, or all notebooks in order. A notebook that is
    done with the same parameters is passed over; one that was interrupted continues.
    """
    from socketlab.runs.planning import parameter_file, parse_given, plan

    given = parse_given(parameter or [])
    if name is not None:
        given["run"] = name
    planned = plan(notebooks or [], parameter_file(params), given)
    from socketlab.runs.notebooks import NotebookFailed
    from socketlab.runs.report import write_report
    from socketlab.runs.running import run_all

    folders = [item.parameters.folder for item in planned]
    failure = ""
    try:
        command = shlex.join(["socketlab", *sys.argv[1:]])
        run_all(planned, again=again, command=command, warm=len(planned) > 1)
    except NotebookFailed as error:
        failure = str(error)
    for folder in dict.fromkeys(folders):
        if (folder / "run.json").is_file():
            write_report(folder)
            summary(folder)
    if failure:
        fail(failure)


def summary(folder: Path) -> None:
    """Print a run's results of the last epochs, the time taken and where its report is.

    Other choices of an epoch, also the one by labels, are in the report. Beside a method
    stands how many changes were made to its training by hand, where there were any.
    """
    from socketlab.runs.record import Run

    record = Run(folder).read()
    columns = (Column(name, no_wrap=True) for name in ("method", "domain", "protocol"))
    table = Table(*columns, "seed", "accuracy", "balanced accuracy", "n")
    last = [row for row in record.results if row.chosen_by == "last"]
    collapsed = any(row.note for row in last)
    if collapsed:
        table.add_column("note")
    for row in last:
        scores = [
            "no labels" if value is None else f"{value:.1%}"
            for value in (row.accuracy, row.balanced_accuracy)
        ]
        note = [row.note] if collapsed else []
        method = f"{row.method} (steered: {row.steered})" if row.steered else row.method
        place = method, row.target, row.protocol, str(row.seed)
        table.add_row(*place, *scores, str(row.n), *note)
    console.print(table)
    minutes, seconds = divmod(round(record.seconds), 60)
    console.print(f"Status: {record.status}. Time: {minutes} min {seconds} s.", highlight=False)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def page(
    params: Annotated[
        str, typer.Option(help="the run to show, as a YAML file of parameters")
    ] = "notebooks/params/demo.yaml",
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="a parameter")
    ] = None,
    ip: Annotated[str, typer.Option(help="where it listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 0,
    expose: Annotated[
        bool, typer.Option("--expose", help="allow an address that other machines can reach")
    ] = False,
) -> None:
    """Serve the demo page to whoever has the address with its token: explorer and live transfer.

    What it shows is made first, where it is not there yet.
    """
    from socketlab.runs import page as pages
    from socketlab.runs.notebooks import NotebookFailed
    from socketlab.runs.places import home
    from socketlab.runs.planning import parse_given

    pages.check_address(ip, expose)
    steps = pages.needed(params, parse_given(parameter or []))

    try:
        pages.prepare(steps, say, command=shlex.join(["socketlab", *sys.argv[1:]]))
    except NotebookFailed as error:
        fail(str(error))
    if expose:
        say(f"Warning: {pages.EXPOSED}.")
    say("Open this address; Ctrl+C ends it:")
    told = pages.environment(steps[-1], pages.new_token())
    pages.serve(home() / "pages" / "demo.ipynb", told, ip=ip, port=port, say=say)
