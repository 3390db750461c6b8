"""`socketlab sweep`: a grid of runs from one file, on this machine or on a Ray cluster."""

import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from socketlab.cli.terminal import console, fail, say

if TYPE_CHECKING:
    from socketlab.runs.sweeps.record import Job


def sweep(
    file: Annotated[str, typer.Argument(help="a sweep's YAML file, or the folder of one")],
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local: one process a device; or a Ray cluster")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="of a running Ray cluster, or auto; default: start one")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="runs at once, of the local engine")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="show what would run, and end")] = False,
    expose: Annotated[
        bool, typer.Option("--expose", help="let other machines reach the Ray cluster started here")
    ] = False,
) -> None:
    """Run a grid of notebooks, and write one report of all of them.

    What several runs need (prepared data, source models, translators) is
    made once. A run that is done is passed over, so the same command goes on
    after whatever has happened. The exit status is 0 where all runs are done,
    1 where some are not, 143 after SIGTERM.
    """
    from socketlab.runs.sweeps.driver import find_sweep, run_sweep
    from socketlab.runs.sweeps.jobs import jobs_of, sweep_folder

    given = find_sweep(file)
    planned = jobs_of(given)
    if plan:
        _show(planned)
        return
    from socketlab.runs.many_report import write_many_report
    from socketlab.runs.status import watching

    folder = sweep_folder(given)
    with watching(folder, console) if console.is_terminal else nullcontext():
        outcomes = run_sweep(
            given,
            planned,
            engine=engine,
            address=address,
            most=jobs,
            expose=expose,
            command=shlex.join(["socketlab", *sys.argv[1:]]),
            say=say,
        )
    report = write_many_report([folder])
    failed = [outcome for outcome in outcomes.values() if outcome.status != "done"]
    say(f"Done: {len(outcomes) - len(failed)} of {len(outcomes)}. Report: {report}")
    if failed:
        fail("\n".join(f"{outcome.name} {outcome.status}: {outcome.reason}" for outcome in failed))


def _show(planned: "list[Job]") -> None:
    table = Table(*(Column(name, overflow="fold") for name in ("job", "notebooks", "after")))
    for job in planned:
        table.add_row(job.name, ", ".join(name for name, _ in job.steps), ", ".join(job.after))
    console.print(table)
    say(f"{len(planned)} jobs")
