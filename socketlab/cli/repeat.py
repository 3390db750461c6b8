"""`socketlab repeat`: does a run give the same numbers once more?"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from socketlab.cli.terminal import console, say

if TYPE_CHECKING:
    from socketlab.runs.repeating import Repeated


def repeat(
    run: Annotated[Path, typer.Argument(help="a run or sweep: its folder, or its name in runs/")],
    keep: Annotated[
        bool, typer.Option("--keep", help="also keep a repetition that came out equal")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="where it is computed: device, dtype, ..."),
    ] = None,
) -> None:
    """Do a run once more from nothing, with the parameters it has recorded, and compare.

    Compared bit for bit are the numbers of every epoch, weights, answers and
    results. The exit status is 0 where all are equal, else 1, with the most
    likely reason. A whole sweep can be given, too.
    """
    from socketlab.runs.folders import find_folder
    from socketlab.runs.planning import parse_given

    folder, given = find_folder(run).resolve(), parse_given(parameter or [])
    from socketlab.runs import repeating

    command = shlex.join(["socketlab", *sys.argv[1:]])
    found = repeating.repeat(folder, given, say=say, keep=keep, command=command)
    show_repeated(found)
    if not all(one.equal for one in found):
        raise typer.Exit(1)


def show_repeated(found: "list[Repeated]") -> None:
    """A row for each stage, what is another machine or version, and a sentence for each run."""
    from socketlab.runs.repeat_reasons import told
    from socketlab.runs.repeating import total

    several = len(found) > 1
    where = [] if all(one.equal for one in found) else ["first epoch", "largest difference"]
    names = ["run"] * several + ["stage", "equal", "numbers", *where, "weights", "answers"]
    table = Table(*(Column(name, overflow="fold") for name in names))
    for one in found:
        for check in one.checks:
            row = [one.run] * several + [check.stage, "yes" if check.equal else "no"]
            row.append(f"{check.numbers - check.different} of {check.numbers}")
            if where:
                row += ["" if check.epoch is None else str(check.epoch), check.largest]
            table.add_row(*(Text(word) for word in [*row, check.weights, check.answers]))
    console.print(table)
    for one in found:
        who = f"{one.run}: " if several else ""
        if one.skipped:
            say(f"{who}not repeated, for {one.failed}")
            continue
        for name, values in (one.environment or {}).items():
            say(f"{who}{told(name, values)}")
        if one.equal:
            say(f"{who}equal, bit for bit.")
        else:
            first = next((check for check in one.checks if not check.equal), None)
            place = f"differs first in {first.stage}" if first else "failed"
            epoch = f", epoch {first.epoch}" if first and first.epoch is not None else ""
            say(f"{who}{place}{epoch}. Most likely: {one.reason}")
    equal, repeated = total(found)
    if several:
        say(f"{equal} of {repeated} runs are equal, bit for bit.")
