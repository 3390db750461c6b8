"""How far runs and sweeps are, as one reads it: a table, a live table, or a line per run.

Loads no torch.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

from socketlab.runs.folders import is_run
from socketlab.runs.report_values import duration, percent
from socketlab.runs.run_status import TROUBLE, RunStatus, State
from socketlab.runs.status_table import table_of
from socketlab.runs.sweep_status import (
    Group,
    exit_status,
    groups,
    headline,
    status_rows,
    summary,
    unfinished_or_last,
)
from socketlab.runs.sweeps.record import is_sweep

__all__ = [
    "TROUBLE",
    "Changes",
    "Group",
    "RunStatus",
    "State",
    "exit_status",
    "groups",
    "headline",
    "line",
    "status_rows",
    "summary",
    "table_of",
    "unfinished_or_last",
    "watch",
    "watching",
]

SECONDS_BETWEEN: Final = 2.0


def line(run: RunStatus) -> str:
    """All that is known of a run in one line, for a log."""
    where = f"{run.sweep}/{run.run}" if run.sweep else run.run
    accuracy = "" if run.accuracy is None else f"accuracy {percent(run.accuracy)}"
    if accuracy and run.source_only is not None:
        accuracy += f" (source_only {percent(run.source_only)})"
    facts = [
        " ".join(name for name in (run.notebook, run.stage) if name),
        f"epoch {run.epoch}/{run.epochs}" if run.epochs else "",
        f"step {run.step}/{run.steps}" if run.state == "running" and run.steps else "",
        accuracy,
        f"{run.device} on {run.host}" if run.device and run.host else run.device,
        f"{duration(run.seconds)} taken" if run.seconds else "",
        f"{duration(run.left)} left" if run.state == "running" and run.left is not None else "",
        run.reason,
    ]
    return f"{where}: {', '.join([run.state, *(fact for fact in facts if fact)])}"


class Changes:
    """Remembers what was said of each run, and says only what is new."""

    def __init__(self) -> None:
        self._said: dict[Path, tuple[object, ...]] = {}

    def lines(self, found: Iterable[Group]) -> list[str]:
        """A line for each run that began or ended something since the last time."""
        new = []
        for run in (run for group in found for run in group.runs):
            about = (run.state, run.notebook, run.stage, run.epoch)
            if self._said.get(run.folder) != about and run.state != "waiting":
                new.append(line(run))
            self._said[run.folder] = about
        return new


@contextmanager
def watching(folder: Path, console: Console, every: float = SECONDS_BETWEEN) -> Iterator[None]:
    """Show a sweep or a run while it is at work, anew every few seconds from a thread.

    On a terminal as a live table, above which lines can be printed through `console`; elsewhere as
    a plain line for each run that has begun or ended something. The folder may not be there yet.
    """

    def found() -> list[Group]:
        return groups([folder]) if is_sweep(folder) or is_run(folder) else []

    with _shown(found, console, every):
        yield


def watch(folders: Sequence[Path], console: Console, every: float = SECONDS_BETWEEN) -> list[Group]:
    """Show runs and sweeps until nobody is at work on any of them, or until Ctrl+C.

    Returns how they were then.
    """
    with _shown(lambda: groups(folders), console, every):
        try:
            while any(group.at_work for group in groups(folders)):
                time.sleep(every)
        except KeyboardInterrupt:
            pass
    return groups(folders)


@contextmanager
def _shown(found: Callable[[], list[Group]], console: Console, every: float) -> Iterator[None]:
    if console.is_terminal:

        def fitting() -> RenderableType:
            return table_of(found(), console.width, console.height)

        with Live(get_renderable=fitting, console=console, refresh_per_second=1 / every):
            yield
        return
    ended, changes = threading.Event(), Changes()

    def tell() -> None:
        for new in changes.lines(found()):
            console.print(new, markup=False, highlight=False, soft_wrap=True)

    def keep_telling() -> None:
        while not ended.wait(every):
            tell()

    thread = threading.Thread(target=keep_telling, daemon=True)
    tell()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()
