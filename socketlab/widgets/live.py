"""Watch a training from a notebook cell: `async for step in live(...)`, live or headless."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pandas as pd

from socketlab.training.steps import Controls, Step

HEADLESS_VARIABLE = "SOCKETLAB_HEADLESS"
UPDATES_PER_SECOND = 3


def headless() -> bool:
    """Whether nobody watches: then a line per epoch is printed and no widget is made."""
    return os.environ.get(HEADLESS_VARIABLE) == "1"


def describe(step: Step) -> str:
    """A step in a line: `epoch 3/15  accuracy 61.2 %  balanced 58.0 %  total 1.234  (12 s)`."""
    parts = [f"epoch {step.epoch}/{step.epochs}"]
    if step.kind in ("step", "paused"):
        parts[0] = f"{step.kind} {step.step}/{step.steps}, epoch {step.epoch + 1}/{step.epochs}"
    if step.kind == "stopped":
        parts[0] = f"stopped at step {step.step}/{step.steps}"
    if step.evaluation is not None:
        parts.append(f"accuracy {step.evaluation.accuracy:.1%}")
        parts.append(f"balanced {step.evaluation.balanced_accuracy:.1%}")
    if "total" in step.terms:
        parts.append(f"loss {float(step.terms['total']):.3f}")
    if "psnr" in step.look.measures:
        parts.append(f"PSNR {step.look.measures['psnr']:.1f} dB")
    if step.look.note:
        parts.append(f"collapsed: {step.look.note}")
    if step.look.advice:
        parts.append(f"advice: {step.look.advice}")
    remaining = _remaining(step)
    parts.append(f"({step.seconds:.0f} s{remaining})")
    return "  ".join(parts)


def _remaining(step: Step) -> str:
    if step.kind != "epoch" or step.epoch == step.epochs:
        return ""
    return f", about {step.seconds / step.step * (step.steps - step.step):.0f} s to go"


async def live(
    steps: Iterator[Step],
    controls: Controls,
    *,
    title: str,
    history: Callable[[], pd.DataFrame],
    references: Callable[[], Mapping[str, float]] = dict,
) -> AsyncIterator[Step]:
    """Hand on every step of a training and show it: a board in Jupyter, lines when headless.

    The cell yields to the event loop between steps, so that the board's buttons work.

    Args:
        steps: what `fit` gives.
        controls: the one that was given to `fit`.
        title: what is trained.
        history: gives the numbers of all epochs so far, for the curves.
        references: gives accuracies drawn as level lines, e.g. source_only; asked once it trains.
    """
    board = None
    shown = 0.0
    for step in steps:
        if board is None and not headless():
            from socketlab.widgets.board import Board

            board = Board(title, controls, history, references())
        milestone = step.kind in ("start", "epoch", "stopped")
        if milestone and headless():
            print(f"{title}: {describe(step)}", flush=True)
        if board is not None and (milestone or time.monotonic() - shown > 1 / UPDATES_PER_SECOND):
            board.update(step, describe(step))
            shown = time.monotonic()
        yield step
        await asyncio.sleep(0)
    if board is not None:
        board.finish()
