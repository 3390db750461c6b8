"""The command line: `socketlab run ...`, `socketlab sweep ...`, `socketlab report ...`."""

import sys

import typer

from socketlab.cli.data import data_app
from socketlab.cli.lab import lab
from socketlab.cli.models import export, predict
from socketlab.cli.repeat import repeat
from socketlab.cli.reports import report
from socketlab.cli.runs import page, run, summary
from socketlab.cli.status import status
from socketlab.cli.sweep import sweep
from socketlab.cli.terminal import console, fail

__all__ = ["app", "console", "fail", "join_parameters", "main", "summary"]

app = typer.Typer(
    help="Move what an RGB classifier knows to a depth or infrared camera, without the RGB data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
for command in (run, sweep, status, report, repeat, lab, page, export, predict):
    app.command()(command)


def main() -> None:
    """Run the command line; an error that a person can mend is one line, not a traceback."""
    sys.argv[1:] = join_parameters(sys.argv[1:])
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        fail(str(error))


def join_parameters(arguments: list[str]) -> list[str]:
    """Make one word of each `-p NAME VALUE`, which is how papermill's users write it."""
    joined: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word != "-p":
            joined.append(word)
            continue
        name = next(rest, "")
        value = "" if "=" in name else "=" + next(rest, "")
        joined += ["-p", name + value]
    return joined
