"""How far a training is, written into `run.json` for whoever asks while it goes on."""

import time
from typing import Final

from socketlab.runs.entries import Part
from socketlab.runs.record import Run
from socketlab.training.steps import Step

SECONDS_BETWEEN: Final = 5.0


class Progress:
    """Puts epoch, step, accuracy and time into a stage's part.

    At the beginning, at the end of every epoch, and in between at most every `SECONDS_BETWEEN`
    seconds. Numbers that are known anyway: nothing is read back from the device.
    """

    def __init__(self, run: Run, stage: str, part: Part) -> None:
        self._run, self._stage, self._part = run, stage, part
        self._earlier = part.seconds
        self._written = -float("inf")

    def heard(self, step: Step) -> None:
        """Take note of a step, and write it down if it is time."""
        part = self._part
        part.epoch, part.epochs = step.epoch, step.epochs
        part.step, part.steps = step.step, step.steps
        part.seconds = self._earlier + step.seconds
        if step.evaluation is not None:
            part.accuracy = step.evaluation.accuracies.get("accuracy")
        now = time.monotonic()
        seen = step.kind in ("start", "epoch", "stopped")
        if seen or (step.kind == "step" and now - self._written >= SECONDS_BETWEEN):
            self._run.put_stage(self._stage, part)
            self._written = time.monotonic()
