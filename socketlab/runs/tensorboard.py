"""The numbers of every epoch as curves for TensorBoard."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from socketlab.runs.record import Run
from socketlab.training.steps import Step

_FILES: Final = "events.out.tfevents.*"


class MissingTensorBoard(ValueError):  # noqa: N818 - reads as the thing found
    """TensorBoard was asked for and is not installed."""


def check_tensorboard() -> None:
    """Whether curves can be written.

    Raises:
        MissingTensorBoard: saying what to install.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingTensorBoard(
            "tensorboard: true asks for TensorBoard, which is not installed. Install it with "
            "`pip install 'socketlab[tensorboard]'`, or set tensorboard: false."
        )


class Curves:
    """The curves of one training, in files of its own folder.

    A training that goes on writes all of its epochs anew, from `metrics.parquet`, into a new file:
    so none is shown twice, and none is missing where the file before was cut off in the middle.
    """

    def __init__(self, folder: Path, history: pd.DataFrame) -> None:
        from torch.utils.tensorboard import SummaryWriter

        before = set(folder.glob(_FILES))
        # Whoever reads this file forgets what earlier files said from epoch 0 on.
        self._writer = SummaryWriter(str(folder), purge_step=0)
        mine = max(set(folder.glob(_FILES)) - before)
        for old in before:
            if old > mine:  # names begin with the time; the clock was set back
                old.unlink(missing_ok=True)
        for row in history.itertuples(index=False):
            self._writer.add_scalar(row.name, row.value, row.epoch)
        self._writer.flush()

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """One point on each curve, to be seen at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """No more points will come."""
        self._writer.close()


def begin_curves(run: Run, stage: str, first: Step) -> Curves:
    """The curves of a stage, with the epochs that were done before its step `first`.

    They lie in the run's folder; `tensorboard --logdir runs` shows those of all runs.
    """
    done = first.epoch - (first.kind in ("start", "epoch"))
    history = run.metrics(stage)
    return Curves(run.folder / "tensorboard" / stage, history[history["epoch"] <= done])
