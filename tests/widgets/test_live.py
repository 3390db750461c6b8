"""Watching a training: every step is handed on, as lines when nobody watches, else on a board."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pandas as pd
import pytest
import torch

from socketlab.figures.learning import learning_curves
from socketlab.training.inference import Score
from socketlab.training.steps import Controls, Step
from socketlab.widgets import board, live
from socketlab.widgets.live import describe, headless

MODULE = sys.modules[live.__module__]
EPOCHS, EACH = 2, 3


def score(accuracy: float, balanced: float) -> Score:
    nothing = torch.zeros(0)
    return Score(accuracy, balanced, nothing, nothing, nothing)


def training(controls: Controls | None = None) -> Iterator[Step]:
    """What a training of two epochs of three steps says, and what it does when it is stopped."""
    about: dict[str, Any] = {"epochs": EPOCHS, "steps": EPOCHS * EACH}
    yield Step("start", 0, step=0, evaluation=score(0.1, 0.1), **about)
    for epoch in range(EPOCHS):
        for step in range(epoch * EACH, (epoch + 1) * EACH):
            if controls is not None and controls.stopped:
                yield Step("stopped", epoch, step=step, **about)
                return
            terms = {"total": torch.tensor(1.5)}
            yield Step("step", epoch, step=step + 1, terms=terms, seconds=1.0, **about)
        done = (epoch + 1) * EACH
        yield Step("epoch", epoch + 1, step=done, evaluation=score(0.5, 0.4), seconds=6, **about)


def history() -> pd.DataFrame:
    return pd.DataFrame({"epoch": [0, 1], "name": ["accuracy"] * 2, "value": [0.1, 0.5]})


def watch(controls: Controls, steps: Iterator[Step] | None = None, **about: Any) -> list[Step]:
    async def collect() -> list[Step]:
        watched = live(steps or training(), controls, title="a<b", history=history, **about)
        return [step async for step in watched]

    return asyncio.run(collect())


class Shown:
    """The widgets that a person sees, found as a person finds them."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def take(self, widget: Any) -> None:
        self.all.append(widget)

    def found(self, kind: type, description: str | None = None) -> Any:
        seen, (first,) = [], self.all
        waiting = [first]
        while waiting:
            widget = waiting.pop()
            waiting += list(getattr(widget, "children", ()))
            if type(widget) is kind and description in (None, getattr(widget, "description", "")):
                seen.append(widget)
        (only,) = seen
        return only


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Somebody watches: what is displayed is kept here."""
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    found = Shown()
    monkeypatch.setattr(board, "display", found.take)
    return found


def test_headless_every_step_is_handed_on_and_each_epoch_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_widget(*_: object) -> None:
        raise AssertionError("a widget was made")

    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    monkeypatch.setattr(board.Board, "__init__", no_widget)
    steps = watch(Controls())
    kinds = [step.kind for step in training()]
    assert [step.kind for step in steps] == kinds
    assert [step.step for step in steps] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    assert capsys.readouterr().out.splitlines() == [
        "a<b: epoch 0/2  accuracy 10.0%  balanced 10.0%  (0 s)",
        "a<b: epoch 1/2  accuracy 50.0%  balanced 40.0%  (6 s, about 6 s to go)",
        "a<b: epoch 2/2  accuracy 50.0%  balanced 40.0%  (6 s)",
    ]


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), (None, False)])
def test_who_watches(value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    else:
        monkeypatch.setenv("SOCKETLAB_HEADLESS", value)
    assert headless() is expected


def test_a_training_that_is_done_already_shows_nothing(shown: Shown) -> None:
    assert watch(Controls(), iter(())) == []
    assert shown.all == []


def test_the_board_follows_the_training_to_its_end(
    shown: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    async def follow() -> list[tuple[int, int]]:
        progress = []
        async for step in live(training(), Controls(), title="a<b", history=history):
            if step.kind in ("start", "epoch"):
                bar = shown.found(ipywidgets.IntProgress)
                progress.append((bar.value, bar.max))
        return progress

    assert asyncio.run(follow()) == [(0, 6), (3, 6), (6, 6)]
    text = shown.found(ipywidgets.HTML).value
    assert "epoch 2/2" in text
    assert "a&lt;b" in text
    assert bytes(shown.found(ipywidgets.Image).value).startswith(b"\x89PNG")
    assert shown.found(ipywidgets.Button, "Pause").disabled
    assert shown.found(ipywidgets.Button, "Stop and keep").disabled
    assert capsys.readouterr().out == ""


def test_the_curves_are_drawn_at_milestones_only_and_with_the_references(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "UPDATES_PER_SECOND", 1e9)
    drawn: list[Any] = []
    real = learning_curves

    def draw(table: pd.DataFrame, references: Any, title: str) -> Any:
        drawn.append((dict(references), title, shown.found(ipywidgets.IntProgress).value))
        return real(table, references, title)

    monkeypatch.setattr(board, "learning_curves", draw)
    watch(Controls(), references=lambda: {"source_only": 0.25})
    assert drawn == [({"source_only": 0.25}, "a<b", step) for step in (0, 3, 6)]


def test_between_milestones_the_board_is_not_updated_all_the_time(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "UPDATES_PER_SECOND", 1e-9)
    values = []

    async def follow() -> None:
        async for _ in live(training(), Controls(), title="t", history=history):
            values.append(shown.found(ipywidgets.IntProgress).value)

    asyncio.run(follow())
    assert values == [0, 0, 0, 0, 3, 3, 3, 3, 6]


def test_pause_and_go_on(shown: Shown) -> None:
    controls = Controls()
    watch(controls)
    button = shown.found(ipywidgets.Button, "Pause")
    button.click()
    assert (controls.paused, controls.stopped) == (True, False)
    assert button.description == "Go on"
    button.click()
    assert not controls.paused
    assert button.description == "Pause"


def test_a_click_on_stop_ends_the_training(shown: Shown) -> None:
    controls = Controls()

    async def follow() -> list[str]:
        kinds: list[str] = []
        async for step in live(training(controls), controls, title="t", history=history):
            kinds.append(step.kind)
            if (step.kind, step.step) == ("step", 2):
                button = shown.found(ipywidgets.Button, "Stop and keep")
                assert not button.disabled
                button.click()
                assert button.disabled
        return kinds

    assert asyncio.run(follow()) == ["start", "step", "step", "stopped"]
    assert controls.stopped
    assert "stopped at step 2/6" in shown.found(ipywidgets.HTML).value


def test_other_work_of_the_kernel_comes_in_between_two_steps(shown: Shown) -> None:
    """A click is such work: without it, no button would do anything while a cell runs."""
    controls, order = Controls(), []

    async def click() -> None:
        order.append("click")
        controls.stop()

    async def follow() -> None:
        waiting = None
        async for step in live(training(controls), controls, title="t", history=history):
            order.append(step.kind)
            waiting = waiting or asyncio.ensure_future(click())

    asyncio.run(follow())
    assert order == ["start", "click", "stopped"]


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("start", 0, 5, 0, 50), "epoch 0/5  (0 s)"),
        (
            Step("step", 1, 5, 12, 50, terms={"total": torch.tensor(1.25)}, seconds=3),
            "step 12/50, epoch 2/5  loss 1.250  (3 s)",
        ),
        (Step("paused", 1, 5, 12, 50, seconds=4.4), "paused 12/50, epoch 2/5  (4 s)"),
        (
            Step("epoch", 2, 5, 20, 50, evaluation=score(0.612, 0.58), seconds=12),
            "epoch 2/5  accuracy 61.2%  balanced 58.0%  (12 s, about 18 s to go)",
        ),
        (
            Step("stopped", 2, 5, 23, 50, evaluation=score(1, 1), seconds=14),
            "stopped at step 23/50  accuracy 100.0%  balanced 100.0%  (14 s)",
        ),
    ],
)
def test_a_step_in_a_line(step: Step, text: str) -> None:
    assert describe(step) == text
