"""Watch a training from a notebook cell: `async for step in live(...)`, live or headless."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from socketlab.training.steps import Controls, Step

if TYPE_CHECKING:
    from socketlab.widgets.board_parts import Subject

HEADLESS_VARIABLE = "SOCKETLAB_HEADLESS"
UPDATES_PER_SECOND = 2
FRONT_END_ANSWERS_WITHIN = 30.0  # seconds


def headless() -> bool:
    """Whether nobody watches: then a line per epoch is printed and no widget is made.

    SOCKETLAB_HEADLESS says so, 1 or 0; where it does not, widgets need a Jupyter kernel.
    """
    said = os.environ.get(HEADLESS_VARIABLE)
    return said == "1" if said in ("0", "1") else not in_kernel()


def in_kernel() -> bool:
    """Whether this is a cell of a Jupyter kernel, and not a script or a terminal."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    return getattr(shell, "kernel", None) is not None


def describe(step: Step, left: float | None = None) -> str:
    """A step in a line: `epoch 3/15  accuracy 61.2 %  balanced 58.0 %  loss 1.234  (12 s)`.

    Args:
        step: what the loop said.
        left: seconds that the rest will take, where that is known.
    """
    parts = [f"epoch {step.epoch}/{step.epochs}"]
    if step.kind in ("step", "paused", "saved"):
        parts[0] = f"{step.kind} {step.step}/{step.steps}, epoch {step.epoch + 1}/{step.epochs}"
    if step.kind == "stopped":
        parts[0] = f"stopped at step {step.step}/{step.steps}"
    if step.evaluation is not None:
        for name, value in step.evaluation.accuracies.items():
            parts.append(f"{name.removesuffix('_accuracy')} {value:.1%}")
    if "total" in step.terms:
        parts.append(f"loss {float(step.terms['total']):.3f}")
    if "psnr" in step.look.measures:
        parts.append(f"PSNR {step.look.measures['psnr']:.1f} dB")
    if step.look.note:
        parts.append(f"collapsed: {step.look.note}")
    if step.look.advice:
        parts.append(f"advice: {step.look.advice}")
    remaining = f", about {_duration(left)} to go" if left else ""
    parts.append(f"({_duration(step.seconds)}{remaining})")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s` or `1 h 5 min`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Pace:
    """How long the rest takes, by the steps taken so far; pauses and earlier sessions are left out.

    What stands between two steps, such as scoring at the end of an epoch, counts as part of them.
    """

    def __init__(self) -> None:
        self._last: Step | None = None
        self._seconds = 0.0
        self._steps = 0

    def left(self, step: Step) -> float | None:
        """Seconds to go after `step`; None before any step was seen, and at the end."""
        if self._last is not None and step.kind != "paused":
            self._seconds += step.seconds - self._last.seconds
            self._steps += step.step - self._last.step
        self._last = step
        if self._steps == 0 or step.kind == "stopped" or step.step == step.steps:
            return None
        return self._seconds / self._steps * (step.steps - step.step)


async def live(
    steps: Iterator[Step],
    controls: Controls,
    *,
    title: str,
    history: Callable[[], pd.DataFrame],
    references: Callable[[], Mapping[str, float]] = dict,
    subject: Subject | None = None,
) -> AsyncIterator[Step]:
    """Hand on every step of a training and show it: a board in Jupyter, lines when headless.

    The cell yields to the event loop between steps, so that the board's controls work. Where no
    front end answers, as when nbconvert runs the notebook, there are lines too.

    Args:
        steps: what `fit` gives.
        controls: the one that was given to `fit`.
        title: what is trained.
        history: gives the numbers of all epochs so far, for the curves.
        references: gives accuracies drawn as level lines, e.g. source_only; asked once it trains.
        subject: classes and images of what is trained on, for the board's examples.
    """
    board, pace, lines = None, Pace(), _Lines(title)
    shown = 0.0
    try:
        for step in steps:
            left = pace.left(step)
            if board is None and not headless():
                from socketlab.widgets.board import Board

                board = Board(title, controls, history, references(), subject)
            milestone = step.kind in ("start", "epoch", "stopped", "saved") or bool(step.changes)
            if milestone:
                lines.add(step, left)
            if board is None or not board.seen:
                lines.print(at_once=board is None)
            due = time.monotonic() - shown > 1 / UPDATES_PER_SECOND
            if board is not None and (milestone or due):
                board.update(step, describe(step, left))
                shown = time.monotonic()
            yield step
            await asyncio.sleep(0)
    finally:
        # An interrupted cell keeps its traceback, and so the training, alive: it is ended here,
        # so that the run says that it was interrupted.
        if isinstance(steps, Generator):
            steps.close()
        if board is not None:
            board.finish()
        if board is None or not board.seen:
            lines.print(at_once=True)


class _Lines:
    """A line per epoch, held back for a while: a front end that answers shows a board instead."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.monotonic()
        self._waiting: list[str] = []

    def add(self, step: Step, left: float | None) -> None:
        changed = "".join(f"  {change.name} = {change.value:g}" for change in step.changes)
        self._waiting.append(f"{self._title}: {describe(step, left)}{changed}")

    def print(self, *, at_once: bool) -> None:
        if at_once or time.monotonic() - self._began > FRONT_END_ANSWERS_WITHIN:
            for line in self._waiting:
                print(line, flush=True)
            self._waiting = []
