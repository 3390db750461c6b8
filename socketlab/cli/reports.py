"""`socketlab report`: one page about a run, a sweep or several runs, or two compared."""

from pathlib import Path
from typing import Annotated

import typer

from socketlab.cli.terminal import say


def report(
    runs: Annotated[list[str], typer.Argument(help="runs or sweeps, by name or folder")],
    against: Annotated[
        list[str] | None,
        typer.Option(help="compare with this run, sweep or report.parquet; may come again"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the page; default: beside the runs")
    ] = None,
) -> None:
    """Write one HTML page about runs or sweeps, and beside it all rows as Parquet.

    With `--against`, a page that compares them with others: what differs, and by how much.
    """
    if output is not None and output.suffix not in (".html", ".htm"):
        raise ValueError(f"--output {str(output)!r} is no page. Name a file that ends in .html.")
    if against:
        from socketlab.runs.many_report_against import write_comparison

        say(str(write_comparison(runs, against, output)))
        return
    from socketlab.runs.many_report import write_many_report

    say(str(write_many_report(runs, output)))
