"""The live board: progress, curves, and buttons, in ipywidgets; the curves are a PNG."""

import html
from collections.abc import Callable, Mapping

import ipywidgets
import pandas as pd
from IPython.display import display

from socketlab.figures.learning import learning_curves
from socketlab.figures.style import to_png
from socketlab.training.steps import Controls, Step


class Board:
    """Shows a training while it runs, and takes Pause and Stop.

    Args:
        title: what is trained.
        controls: what the buttons set; the loop reads it between two steps.
        history: gives the numbers of all epochs so far in long form, for the curves.
        references: accuracies drawn as level lines.
    """

    def __init__(
        self,
        title: str,
        controls: Controls,
        history: Callable[[], pd.DataFrame],
        references: Mapping[str, float],
    ) -> None:
        self._title, self._controls = title, controls
        self._history, self._references = history, references
        self._progress = ipywidgets.IntProgress(
            min=0, max=1, layout=ipywidgets.Layout(width="60%"), description="Steps"
        )
        self._text = ipywidgets.HTML(f"<b>{html.escape(title)}</b>: starting")
        self._curves = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        # A plain button: the state of a ToggleButton is held back by the front end until it has
        # heard that the kernel is idle, which it is not while the cell runs.
        self._pause = ipywidgets.Button(
            description="Pause", icon="pause", tooltip="Hold still after this step, or go on"
        )
        self._stop = ipywidgets.Button(
            description="Stop and keep",
            icon="stop",
            tooltip="End after this step and keep what was learnt",
        )
        self._pause.on_click(self._paused)
        self._stop.on_click(self._stopped)
        row = ipywidgets.HBox([self._progress, self._pause, self._stop])
        display(ipywidgets.VBox([self._text, row, self._curves]))  # type: ignore[no-untyped-call]

    def _paused(self, _: ipywidgets.Button) -> None:
        if self._controls.paused:
            self._controls.resume()
        else:
            self._controls.pause()
        self._pause.description = "Go on" if self._controls.paused else "Pause"
        self._pause.icon = "play" if self._controls.paused else "pause"

    def _stopped(self, _: ipywidgets.Button) -> None:
        self._controls.stop()
        self._stop.disabled = True

    def update(self, step: Step, line: str) -> None:
        """Show where the training is; at the end of an epoch, draw the curves again."""
        self._progress.max, self._progress.value = max(step.steps, 1), step.step
        self._text.value = f"<b>{html.escape(self._title)}</b>: {html.escape(line)}"
        if step.kind in ("start", "epoch", "stopped"):
            figure = learning_curves(self._history(), self._references, self._title)
            self._curves.value = to_png(figure)

    def finish(self) -> None:
        """The training has ended: the buttons do nothing any more."""
        self._pause.disabled = self._stop.disabled = True
