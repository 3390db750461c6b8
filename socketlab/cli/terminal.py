"""What every command writes to: the terminal, and how an error is said there."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from socketlab.data.schema import Progress as Hears

console = Console()


def say(line: str) -> None:
    """Print a line as it is: brackets in it are no markup, and nothing breaks it."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def can_ask() -> bool:
    """Whether a person sits at the terminal and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def fail(message: str) -> NoReturn:
    """Print an error and exit with status 1."""
    text = Text.assemble(("Error:", "bold red"), " ", message)  # brackets in it are no markup
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
    raise SystemExit(1)


@contextmanager
def progress_bar(title: str, of_bytes: bool = False) -> Iterator[Hears]:
    """A bar with a count, or sizes of files, and the time left; gives what hears (done, in all)."""
    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show
