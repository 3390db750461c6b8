"""The live board: progress, curves, answers and examples, and what a person may change."""

import html
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import display

from socketlab.figures.learning import learning_curves
from socketlab.figures.style import sheet, to_png
from socketlab.training.controls import LEARNING_RATE_FACTOR, WEIGHT, Change, Controls
from socketlab.training.steps import Step
from socketlab.widgets.board_budget import Budget
from socketlab.widgets.board_parts import (
    PAINTED_HTML,
    PARTS_HEIGHT,
    Rows,
    Subject,
    Turned,
    answers_html,
    changes_html,
    examples_html,
    numbers_html,
    status_html,
    terms_html,
)
from socketlab.widgets.board_steering import Steering

_CURVES_HEIGHT: Final = 400  # pixels
_PAINTED_HEIGHT: Final = 250
START_AFTER: Final = 5.0  # seconds until curves of a single point are drawn: it may be an epoch
_PANEL_WIDTH: Final = 3.1  # inches: three panels fill a projector's 1280 pixels


class Board:
    """Shows a training while it runs, and takes what a person wants of it.

    Everything is replaced in place and keeps its size. What takes long to draw is drawn as often
    as its `Budget` allows, and at the end in any case.

    Args:
        title: what is trained.
        controls: what buttons and sliders set; the loop reads it between two steps.
        history: gives the numbers of all epochs so far in long form, for the curves.
        references: accuracies drawn as level lines.
        subject: classes and images, for the examples; without it there are none.
    """

    def __init__(
        self,
        title: str,
        controls: Controls,
        history: Callable[[], pd.DataFrame],
        references: Mapping[str, float],
        subject: Subject | None = None,
    ) -> None:
        self._title, self._controls = title, controls
        self._history, self._references, self._subject = history, references, subject
        self._changes: list[Change] = []
        self._kept: int | None = None
        self._before: Rows | None = None
        self._latest: Step | None = None
        self._parts: dict[str, Callable[[Step], None]] = {
            "answers": self._draw_answers,
            "painted": self._draw_painted,
            "curves": self._draw_curves,
        }
        self._waiting: list[str] = []
        self._budget = Budget()
        self._build()

    @property
    def seen(self) -> bool:
        """Whether a front end has drawn the board."""
        return self._steering.seen

    def _build(self) -> None:
        whole = ipywidgets.Layout(width="100%", margin="0")
        self._text = ipywidgets.HTML(status_html(self._title, "starting"), layout=whole)
        self._progress = ipywidgets.IntProgress(
            min=0,
            max=1,
            description="Steps",
            tooltip="Steps taken, of all steps",
            layout=ipywidgets.Layout(flex="1 1 auto"),
        )
        self._pause = _button("Pause", "pause", "Hold still after this step, or go on")
        self._stop = _button(
            "Stop and keep", "stop", "End after this step and keep what was learnt"
        )
        self._save = _button("Save now", "save", "Keep the model as it is now, and go on")
        for button, action in (
            (self._pause, self._paused),
            (self._stop, self._stopped),
            (self._save, self._saved),
        ):
            button.on_click(action)
        self._steering = Steering(self._moved)
        self._numbers, self._terms, self._told = (ipywidgets.HTML(layout=whole) for _ in range(3))
        self._tell()
        high = f"{PARTS_HEIGHT + 8}px"
        self._answers = ipywidgets.HTML(layout=_fixed(high, "0 0 330px"))
        self._examples = ipywidgets.HTML(layout=_fixed(high, "1 1 400px"))
        self._curves = _picture(_CURVES_HEIGHT)
        self._painted = _picture(_PAINTED_HEIGHT)
        self._painting = ipywidgets.VBox(
            [ipywidgets.HTML(PAINTED_HTML), self._painted],
            layout=ipywidgets.Layout(display="none"),
        )
        row = ipywidgets.HBox([self._progress, self._pause, self._stop, self._save])
        parts = ipywidgets.HBox(
            [self._answers, self._examples], layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        box = [self._text, row, self._numbers, self._terms, self._steering, self._told]
        box += [self._curves, parts, self._painting]
        display(ipywidgets.VBox(box))  # type: ignore[no-untyped-call]

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

    def _saved(self, _: ipywidgets.Button) -> None:
        self._controls.save()
        self._save.disabled = True  # until the loop says that it is done

    def _moved(self, name: str, value: float) -> None:
        if name == LEARNING_RATE_FACTOR:
            self._controls.set_learning_rate_factor(value)
        else:
            self._controls.set_weight(name.removeprefix(WEIGHT), value)

    def update(self, step: Step, line: str) -> None:
        """Show where the training is; at the end of an epoch, have all parts drawn again."""
        self._progress.max, self._progress.value = max(step.steps, 1), step.step
        self._text.value = status_html(self._title, line)
        if step.terms:
            terms = {name: float(value) for name, value in step.terms.items()}
            self._terms.value = terms_html(terms, self._controls.terms)
        if step.kind == "saved":
            self._kept, self._save.disabled = step.step, False
            self._tell()
        if step.kind == "start" or not self._steering.rows or step.changes:
            self._offer(step.changes)
        if step.kind in ("start", "epoch", "stopped"):
            self._milestone(step)
        self._draw(always=step.kind == "paused")  # then it takes no time from the training

    def _offer(self, changes: tuple[Change, ...]) -> None:
        self._changes += changes
        self._tell()
        self._steering.offer(self._controls.learning_rate_factor, self._controls.terms)

    def _tell(self) -> None:
        self._told.value = changes_html(self._changes, self._kept)

    def _milestone(self, step: Step) -> None:
        earlier = self._latest
        if earlier is not None and earlier.evaluation is not None:
            self._before = earlier.evaluation.answers.numpy()
        self._latest = step
        self._numbers.value = numbers_html(step.evaluation, self._references)
        self._waiting = list(self._parts)

    def _draw(self, *, always: bool) -> None:
        for name in tuple(self._waiting):
            if self._latest is None or not (always or self._budget.allows(name)):
                return
            one_point = name == "curves" and self._latest.kind == "start"
            if one_point and not always and self._budget.passed < START_AFTER:
                continue
            began = time.monotonic()
            self._waiting.remove(name)
            try:
                self._parts[name](self._latest)
            except Exception as error:
                # A picture that cannot be drawn must not end a training of hours.
                self._told.value = f"<b>{name} not drawn:</b> {html.escape(str(error))}"
            self._budget.spend(name, time.monotonic() - began)

    def _draw_curves(self, _: Step) -> None:
        figure = learning_curves(self._history(), self._references, panel_width=_PANEL_WIDTH)
        self._curves.value = to_png(figure)

    def _draw_answers(self, step: Step) -> None:
        subject, score, predicted = self._subject, step.evaluation, step.look.predicted
        about = "target images"
        if not predicted and score is not None and len(score.confusion):
            predicted, about = tuple(score.confusion.sum(0).tolist()), "scored images"
        classes = [f"class {number}" for number in range(len(predicted))]
        if subject is not None:
            classes = list(subject.classes)
        self._answers.value = answers_html(predicted, classes, about)
        turned = None
        if subject is not None and score is not None and self._before is not None:
            truth = np.asarray(subject.truth)
            turned = Turned.between(self._before, score.answers.numpy(), truth)
        self._examples.value = examples_html(turned, subject, step.epoch)

    def _draw_painted(self, _: Step) -> None:
        png = self._subject.painted() if self._subject is not None else None
        if png is not None:
            self._painting.layout.display = ""
            self._painted.value = png

    def finish(self) -> None:
        """The training has ended: all is drawn once more, and nothing can be changed any more."""
        self._pause.disabled = self._stop.disabled = self._save.disabled = True
        self._steering.disabled = True
        self._draw(always=True)


def _button(text: str, icon: str, tooltip: str) -> ipywidgets.Button:
    # Plain buttons: the state of a ToggleButton is held back by the front end until it has heard
    # that the kernel is idle, which it is not while the cell runs.
    return ipywidgets.Button(description=text, icon=icon, tooltip=tooltip)


def _picture(height: int) -> ipywidgets.Image:
    layout = ipywidgets.Layout(
        width="100%", height=f"{height}px", object_fit="contain", object_position="left top"
    )
    blank = to_png(sheet(0.1, 0.1))  # a browser draws a picture of nothing as a broken one
    return ipywidgets.Image(value=blank, format="png", layout=layout)


def _fixed(height: str, flex: str) -> Any:
    return ipywidgets.Layout(height=height, flex=flex, margin="0", overflow="hidden")
