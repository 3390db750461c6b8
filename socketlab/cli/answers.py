"""What `socketlab predict` shows and writes while the answers come in, one at a time."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import IO, Self

from rich.table import Column, Table
from rich.text import Text

from socketlab.cli.terminal import console, say
from socketlab.runs.predicting import Prediction, Unreadable

ROWS_AT_ONCE = 50
NOTES_SHOWN = 20
CONFIDENCE = "confidence"


class Answers:
    """A table on the terminal, piece by piece, and a CSV file that is there when all is done.

    Args:
        classes: in the order of the probabilities.
        file: where the CSV goes, if anywhere.
        shown: how many answers the terminal gets; all if None.
    """

    def __init__(self, classes: tuple[str, ...], file: Path | None, shown: int | None) -> None:
        self._classes, self._file, self._shown = classes, file, shown
        self._waiting: list[Prediction] = []
        self._warned: list[tuple[Path, str]] = []
        self._unreadable: list[Unreadable] = []
        self._counts: Counter[str] = Counter()
        self._printed = self._warnings = 0
        self._open: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._open = self._partial.open("w", newline="", encoding="utf-8")
            names = [f"p_{name}" for name in self._classes]
            csv.writer(self._open).writerow(["file", "class", CONFIDENCE, *names])
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if self._open is None or self._file is None:
            return
        self._open.close()
        if kind is None:
            os.replace(self._partial, self._file)
        else:
            self._partial.unlink(missing_ok=True)

    @property
    def _partial(self) -> Path:
        assert self._file is not None
        return self._file.with_name(f"{self._file.name}.{os.getpid()}.partial")

    def add(self, found: Prediction | Unreadable) -> None:
        """Write an answer down, and show it with the next piece of the table."""
        if isinstance(found, Unreadable):
            self._unreadable.append(found)
            return
        self._counts[found.answer] += 1
        self._warnings += bool(found.warnings)
        if found.warnings and len(self._warned) < NOTES_SHOWN:
            self._warned.append((found.file, "; ".join(found.warnings)))
        if self._open is not None:
            shares = [f"{share:.6f}" for share in found.probabilities]
            row = [found.file, found.answer, f"{found.confidence:.6f}", *shares]
            csv.writer(self._open).writerow(row)
        if self._shown is None or sum(self._counts.values()) <= self._shown:
            self._waiting.append(found)
            if len(self._waiting) == ROWS_AT_ONCE:
                self._print()

    def finish(self, seconds: float, where: str) -> bool:
        """Show the rest: what was warned of, what could not be read, how long it took.

        Returns whether every file could be read.
        """
        self._print()
        count = self._counts.total()
        if not count and not self._unreadable:
            raise ValueError(
                "No image was found there. Give files, or a folder or pattern of some."
            )
        if self._printed < count:
            say(f"... and {count - self._printed} more, all in {self._file}")
        listed = ", ".join(f"{name} {self._counts[name]}" for name in self._classes)
        speed = f" ({count / seconds:.0f} images/s, {where})" if count and seconds else ""
        say(f"{count} images in {seconds:.1f} s{speed}: {listed}")
        if self._file is not None:
            say(f"Answers: {self._file}")
        if self._warned:
            say(f"Unlike what the model was made for ({self._warnings} of {count} files):")
            self._note(self._warned)
            if self._warnings > NOTES_SHOWN:
                say(f"  ... and {self._warnings - NOTES_SHOWN} more")
        if self._unreadable:
            say(f"Could not be read ({len(self._unreadable)} files):")
            self._note([(item.file, item.reason) for item in self._unreadable])
        return not self._unreadable

    def _note(self, notes: list[tuple[Path, str]]) -> None:
        for file, text in notes:
            say(f"  {file}: {text}")

    def _print(self) -> None:
        """The rows that wait; of the same widths as the rows before them."""
        if not self._waiting:
            return
        width = max(len("class"), *map(len, self._classes))
        table = Table(
            Column("file", ratio=1, overflow="fold"),
            Column("class", width=width),
            Column(CONFIDENCE, justify="right", width=len(CONFIDENCE)),
            box=None,
            expand=True,
            show_header=not self._printed,
            pad_edge=False,
        )
        for found in self._waiting:
            mark = " !" if found.warnings else ""
            table.add_row(Text(f"{found.file}{mark}"), found.answer, f"{found.confidence:.1%}")
        console.print(table)
        self._printed += len(self._waiting)
        self._waiting.clear()
