"""Watching a training: every step is handed on, as lines when nobody watches, else on a board."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import ipywidgets
import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient

from socketlab.training.inference import Score
from socketlab.training.steps import Change, Controls, Step
from socketlab.widgets import board, live
from socketlab.widgets.board_steering import Steering
from socketlab.widgets.live import Pace, describe, headless

MODULE = sys.modules[live.__module__]
EPOCHS, EACH = 2, 3


def score(accuracy: float, balanced: float) -> Score:
    nothing = torch.zeros(0)
    return Score(accuracy, balanced, nothing, nothing.long(), nothing)


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

    def every(self, kind: type) -> list[Any]:
        seen, (first,) = [], self.all
        waiting = [first]
        while waiting:
            widget = waiting.pop(0)
            waiting += list(getattr(widget, "children", ()))
            if isinstance(widget, kind):
                seen.append(widget)
        return seen

    def found(self, kind: type, description: str | None = None) -> Any:
        (only,) = (w for w in self.every(kind) if description in (None, w.description))
        return only

    def status(self) -> str:
        return str(self.every(ipywidgets.HTML)[0].value)


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


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("value", ["1", "0", None])
def test_who_watches(value: str | None, kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the variable says counts; where it says nothing, a kernel is needed."""
    monkeypatch.setattr(MODULE, "in_kernel", lambda: kernel)
    if value is None:
        monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    else:
        monkeypatch.setenv("SOCKETLAB_HEADLESS", value)
    assert headless() is {"1": True, "0": False, None: not kernel}[value]


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
                (steering,) = shown.every(Steering)
                steering._handle_custom_msg({"seen": True}, [])  # a front end has drawn it
        return progress

    assert asyncio.run(follow()) == [(0, 6), (3, 6), (6, 6)]
    text = shown.status()
    assert "epoch 2/2" in text
    assert "a&lt;b" in text
    assert bytes(shown.every(ipywidgets.Image)[0].value).startswith(b"\x89PNG")
    assert shown.found(ipywidgets.Button, "Pause").disabled
    assert shown.found(ipywidgets.Button, "Stop and keep").disabled
    assert capsys.readouterr().out == ""


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
    assert "stopped at step 2/6" in shown.status()


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
    ("step", "left", "text"),
    [
        (Step("start", 0, 5, 0, 50), None, "epoch 0/5  (0 s)"),
        (
            Step("step", 1, 5, 12, 50, terms={"total": torch.tensor(1.25)}, seconds=3),
            130.0,
            "step 12/50, epoch 2/5  loss 1.250  (3 s, about 2 min 10 s to go)",
        ),
        (Step("paused", 1, 5, 12, 50, seconds=4.4), None, "paused 12/50, epoch 2/5  (4 s)"),
        (Step("saved", 1, 5, 12, 50, seconds=119), None, "saved 12/50, epoch 2/5  (119 s)"),
        (
            Step("epoch", 2, 5, 20, 50, evaluation=score(0.612, 0.58), seconds=12),
            18.0,
            "epoch 2/5  accuracy 61.2%  balanced 58.0%  (12 s, about 18 s to go)",
        ),
        (
            Step("stopped", 2, 5, 23, 50, evaluation=score(1, 1), seconds=7500),
            None,
            "stopped at step 23/50  accuracy 100.0%  balanced 100.0%  (2 h 5 min)",
        ),
    ],
)
def test_a_step_in_a_line(step: Step, left: float | None, text: str) -> None:
    assert describe(step, left) == text


def at(kind: Any, step: int, seconds: float) -> Step:
    return Step(kind, 0, 5, step, 100, seconds=seconds)


def test_the_time_left_goes_by_the_steps_that_were_seen() -> None:
    """After a resume at step 40, steps 40 to 50 took 20 s: 50 more take 100 s."""
    pace = Pace()
    assert pace.left(at("step", 40, 3.0)) is None
    assert pace.left(at("step", 50, 23.0)) == pytest.approx(100.0)
    assert pace.left(at("stopped", 50, 23.0)) is None
    assert pace.left(at("epoch", 100, 120.0)) is None


def test_a_pause_does_not_make_the_rest_longer() -> None:
    pace = Pace()
    pace.left(at("step", 40, 3.0))
    pace.left(at("step", 50, 23.0))
    for seconds in (23.0, 300.0, 1000.0):
        assert pace.left(at("paused", 50, seconds)) == pytest.approx(100.0)
    assert pace.left(at("step", 60, 1020.0)) == pytest.approx(80.0)


def test_where_no_front_end_answers_there_are_lines_too(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held back while one may still answer; what is left comes at the end."""
    said: list[str] = []

    async def follow() -> None:
        async for step in live(training(), Controls(), title="t", history=history):
            said.append(capsys.readouterr().out)
            if step.kind == "epoch" and step.epoch == 1:
                monkeypatch.setattr(MODULE, "FRONT_END_ANSWERS_WITHIN", -1.0)

    asyncio.run(follow())
    assert said[:5] == [""] * 5
    assert "t: epoch 0/2" in said[5] and "t: epoch 1/2" in said[5]
    assert "t: epoch 2/2" in said[-1]


def test_a_training_that_fails_leaves_a_board_that_is_finished(shown: Shown) -> None:
    def failing() -> Iterator[Step]:
        yield from list(training())[:3]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        watch(Controls(), failing())
    assert shown.found(ipywidgets.Button, "Stop and keep").disabled


def test_an_interrupted_cell_ends_the_training_though_its_traceback_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Jupyter keeps the traceback, and a generator in it is not collected."""
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    ended: list[str] = []

    def steps() -> Iterator[Step]:
        try:
            yield from training()
        finally:
            ended.append("interrupted")

    async def cell() -> None:
        async for step in live(steps(), Controls(), title="x", history=history):
            if step.kind == "step":
                running = asyncio.current_task()
                assert running is not None
                running.cancel()  # what an interrupted kernel does to its cell

    async def kernel() -> list[str]:
        try:
            await asyncio.create_task(cell())
        except asyncio.CancelledError as kept:
            assert kept.__traceback__ is not None
            return list(ended)
        return []

    assert asyncio.run(kernel()) == ["interrupted"]


def test_headless_a_change_is_written_where_it_took_effect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    changed = Step("step", 0, 5, 13, 50, changes=(Change(12, "weight/pair", 0.25),))
    watch(Controls(), iter([changed]))
    assert capsys.readouterr().out == "a<b: step 13/50, epoch 1/5  (0 s)  weight/pair = 0.25\n"


CELL = """
from socketlab.training.steps import Change, Controls, Step
from socketlab.widgets import live
import pandas
def steps():
    for step in range(3):
        yield Step("epoch", step + 1, 3, step + 1, 3)
async for step in live(steps(), Controls(), title="t", history=pandas.DataFrame):
    last = step
"""


def test_a_notebook_without_a_front_end_runs_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    made: Any = nbformat.v4  # it has no types
    notebook = made.new_notebook(cells=[made.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=120).execute()
    outputs = notebook.cells[0].outputs
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert [line[:12] for line in text.splitlines()] == [f"t: epoch {n}/3" for n in (1, 2, 3)]
    assert last_shown(outputs) == 1


def last_shown(outputs: Any) -> int:
    """How many widgets a cell has displayed."""
    kind = "application/vnd.jupyter.widget-view+json"
    return sum(kind in output.get("data", {}) for output in outputs)


def test_a_script_is_headless() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "SOCKETLAB_HEADLESS"}
    wrapped = "import asyncio\nasync def main():\n" + textwrap.indent(CELL, "    ")
    script = f"{wrapped}\nasyncio.run(main())\nimport sys\nprint('ipywidgets' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    *lines, widgets = done.stdout.splitlines()
    assert [line[:12] for line in lines] == [f"t: epoch {n}/3" for n in (1, 2, 3)]
    assert widgets == "False"
