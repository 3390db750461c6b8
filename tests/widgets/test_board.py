"""The board: what it says of a training, what its controls ask for, and what it may cost."""

import time
from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from socketlab.training.controls import Change, Controls
from socketlab.training.inference import Score, score
from socketlab.training.steps import Look, Step
from socketlab.widgets import board, board_budget
from socketlab.widgets.board import Board
from socketlab.widgets.board_steering import Steering

CLASSES = ("bed_room", "lab<1>", "office")
TRUTH = [0, 0, 1, 1, 2, 2]
WEIGHTS = {"pairs": 0.1, "pseudo_labels": 0.0}


class Pictures:
    """Six scored images of three classes, and paintings that can be added."""

    classes = CLASSES
    truth = TRUTH

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.png: bytes | None = None

    def picture(self, row: int) -> npt.NDArray[np.uint8]:
        """A grey field."""
        self.asked.append(row)
        return np.full((8, 8, 3), 5 * row, np.uint8)

    def painted(self) -> bytes | None:
        """The newest paintings."""
        return self.png


class Shown:
    """A board, and the widgets that a person sees of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **about: Any) -> None:
        found: list[Any] = []
        monkeypatch.setattr(board, "display", found.append)
        monkeypatch.setattr(board_budget, "AT_FIRST", 1e9)
        self.controls = Controls()
        self.controls.begin(WEIGHTS, 1.0, 0, 100)
        self.references: dict[str, float] = {"source_only": 0.25}
        self.drawn: list[Mapping[str, float]] = []
        monkeypatch.setattr(board, "learning_curves", self._curves)
        monkeypatch.setattr(board, "to_png", lambda _: b"curves %d" % len(self.drawn))
        self.board = Board("a<b", self.controls, pd.DataFrame, self.references, **about)
        (self.box,) = found

    def _curves(self, _: pd.DataFrame, references: Mapping[str, float], **__: Any) -> None:
        self.drawn.append(references)

    def all(self, kind: type) -> list[Any]:
        """The widgets of a kind, from top to bottom."""
        seen, waiting = [], [self.box]
        while waiting:
            widget = waiting.pop(0)
            waiting = [*getattr(widget, "children", ()), *waiting]
            if isinstance(widget, kind):
                seen.append(widget)
        return seen

    def button(self, text: str) -> Any:
        """The button that says so."""
        (only,) = (b for b in self.all(ipywidgets.Button) if b.description == text)
        return only

    @property
    def steering(self) -> Steering:
        """The sliders."""
        (only,) = self.all(Steering)
        return only  # type: ignore[no-any-return]

    def move(self, name: str, value: Any) -> None:
        """A person moves a slider."""
        self.steering._handle_custom_msg({"name": name, "value": value}, [])

    @property
    def text(self) -> str:
        """All that is said in words."""
        return "\n".join(widget.value for widget in self.all(ipywidgets.HTML))


def scored(*answers: int) -> Score:
    return score(torch.nn.functional.one_hot(torch.tensor(answers), 3).float(), torch.tensor(TRUTH))


def epoch(number: int, *answers: int, **more: Any) -> Step:
    evaluation = scored(*answers) if answers else None
    kind: Any = "epoch" if number else "start"
    return Step(kind, number, 10, 10 * number, 100, evaluation=evaluation, **more)


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> Shown:
    """A board that has as much time for drawing as it wants."""
    return Shown(monkeypatch, subject=pictures)


def test_it_says_how_good_the_model_is_and_what_to_compare_with(shown: Shown) -> None:
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2), "line")
    assert "83.3%</b> accuracy" in shown.text
    assert "83.3%</b> balanced accuracy" in shown.text
    assert "source only 25.0%" in shown.text
    assert shown.drawn == [{"source_only": 0.25}]
    assert "a&lt;b" in shown.text and "a<b" not in shown.text


def test_before_anything_is_drawn_no_picture_is_broken(shown: Shown) -> None:
    pictures = shown.all(ipywidgets.Image)
    assert pictures and all(len(image.value) > 0 for image in pictures)


def test_the_numbers_stay_between_two_epochs(shown: Shown) -> None:
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2), "line")
    shown.board.update(Step("step", 1, 10, 11, 100), "another line")
    assert "83.3%</b> accuracy" in shown.text and "another line" in shown.text
    assert len(shown.drawn) == 1


def test_each_loss_term_is_said_with_its_weight(shown: Shown) -> None:
    terms = {"pairs": torch.tensor(1.5), "total": torch.tensor(0.15)}
    shown.board.update(Step("step", 0, 10, 1, 100, terms=terms), "line")
    assert "pairs <b>1.5</b> &times; 0.1" in shown.text
    assert "total <b>0.15</b> &nbsp;" not in shown.text and "total <b>0.15</b>" in shown.text


def test_the_answers_by_class_are_those_on_target_images(shown: Shown) -> None:
    look = Look(predicted=(30, 10, 0))
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2, look=look), "line")
    assert "Answers on 40 target images" in shown.text
    evenness = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    assert f"evenness {evenness:.2f}" in shown.text
    assert "bed room" in shown.text and "lab&lt;1&gt;" in shown.text


def test_without_a_look_they_are_those_on_the_scored_images(shown: Shown) -> None:
    shown.board.update(epoch(1, 0, 0, 0, 0, 0, 0), "line")
    assert "Answers on 6 scored images" in shown.text
    assert "evenness 0.00" in shown.text
    assert "answers fall on 1 of 3 classes" in shown.text


def test_examples_are_images_whose_answer_changed_at_the_last_epoch(
    shown: Shown, pictures: Pictures
) -> None:
    shown.board.update(epoch(0, 0, 0, 0, 0, 0, 0), "line")
    assert pictures.asked == []
    shown.board.update(epoch(1, 0, 1, 1, 0, 0, 0), "line")
    assert sorted(pictures.asked) == [1, 2]
    assert "Epoch 1: 2 answers changed: 1 corrected, 1 broken, 0 wrong both times" in shown.text
    assert 'alt="is bed room, answered bed room, now lab&lt;1&gt;"' in shown.text
    assert "✓ was bed room" in shown.text and "✗ now lab&lt;1&gt;" in shown.text
    pictures.asked.clear()
    shown.board.update(epoch(2, 0, 1, 1, 0, 0, 1), "line")
    assert pictures.asked == [5]
    assert "Epoch 2: 1 answer changed: 0 corrected, 0 broken, 1 wrong both times" in shown.text


def test_examples_compare_the_last_two_epochs_though_drawing_was_put_off(
    shown: Shown, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.board.update(epoch(0, 0, 0, 0, 0, 0, 0), "line")
    monkeypatch.setattr(board_budget, "AT_FIRST", -1e9)
    shown.board.update(epoch(1, 1, 1, 1, 1, 1, 1), "line")
    shown.board.update(epoch(2, 1, 1, 1, 1, 1, 2), "line")
    assert pictures.asked == [] and shown.drawn == []
    shown.board.finish()
    assert pictures.asked == [5] and len(shown.drawn) == 1


def test_at_most_eight_examples_and_in_no_order_of_merit(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Pictures()
    many.truth = [0] * 50
    shown = Shown(monkeypatch, subject=many)
    for number, answer in ((0, 1), (1, 0)):
        about = Score(0.5, 0.5, torch.eye(3).long(), torch.full((50,), answer), torch.zeros(50))
        shown.board.update(
            Step("epoch" if number else "start", number, 5, number, 5, evaluation=about), "line"
        )
    assert len(many.asked) == 8
    assert many.asked != sorted(many.asked)
    assert "50 answers changed: 50 corrected" in shown.text


def test_newest_paintings_stand_below_once_there_are_some(shown: Shown, pictures: Pictures) -> None:
    image = shown.all(ipywidgets.Image)[-1]
    box = shown.all(ipywidgets.VBox)[-1]
    shown.board.update(epoch(0), "line")
    assert box.layout.display == "none"
    pictures.png = b"a picture"
    shown.board.update(epoch(1), "line")
    assert bytes(image.value) == b"a picture" and box.layout.display != "none"


def test_without_a_subject_there_are_no_examples_and_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown(monkeypatch)
    for number in (0, 1):
        answers = [number] * 6
        shown.board.update(epoch(number, *answers, look=Look(predicted=(3, 3))), "line")
    assert "answers changed" not in shown.text
    assert "class 1" in shown.text and len(shown.drawn) == 1


def test_a_slider_for_the_learning_rate_and_each_loss_term(shown: Shown) -> None:
    shown.board.update(epoch(0), "line")
    rows = {row["name"]: row for row in shown.steering.rows}
    assert list(rows) == ["learning_rate_factor", "weight/pairs", "weight/pseudo_labels"]
    ranges = {name: (row["low"], row["value"], row["high"]) for name, row in rows.items()}
    assert ranges["learning_rate_factor"] == (0.1, 1.0, 3.0)
    assert ranges["weight/pairs"] == pytest.approx((0.0, 0.1, 0.4))
    assert ranges["weight/pseudo_labels"] == (0.0, 0.0, 1.0)
    assert rows["weight/pseudo_labels"]["label"] == "Weight of pseudo labels"
    assert all(row["tooltip"] for row in rows.values())


def test_moving_a_slider_asks_for_it(shown: Shown) -> None:
    shown.board.update(epoch(0), "line")
    shown.move("weight/pairs", 0.3)
    shown.move("learning_rate_factor", 99)  # what is not on the slider becomes its end
    assert shown.controls.weights == {"pairs": 0.3}
    assert shown.controls.learning_rate_factor == 3.0


@pytest.mark.parametrize(("name", "value"), [("weight/other", 1.0), ("weight/pairs", float("nan"))])
def test_nonsense_from_a_front_end_asks_for_nothing(shown: Shown, name: str, value: float) -> None:
    shown.board.update(epoch(0), "line")
    shown.move(name, value)
    assert shown.controls.weights == {}


def test_a_change_is_listed_with_its_step_and_the_slider_follows(shown: Shown) -> None:
    shown.board.update(epoch(0), "line")
    assert "Nothing changed by hand" in shown.text
    shown.move("weight/pairs", 0.3)
    changes = shown.controls.take(7)
    shown.board.update(Step("step", 0, 10, 8, 100, changes=changes), "line")
    assert "step 7: weight of pairs <b>0.3</b>" in shown.text
    pairs = shown.steering.rows[1]
    assert (pairs["value"], pairs["start"], pairs["high"]) == pytest.approx((0.3, 0.1, 0.4))


def test_the_newest_changes_come_first_and_the_list_does_not_grow(shown: Shown) -> None:
    for step in range(9):
        change = Change(step, "learning_rate_factor", 1 + step / 10)
        shown.board.update(Step("step", 0, 10, step + 1, 100, changes=(change,)), "line")
    assert "hand: step 8: learning rate factor <b>1.8</b>" in shown.text
    assert "step 5:" in shown.text and "step 4:" not in shown.text
    assert "and 5 before" in shown.text


def test_save_now_until_it_is_done(shown: Shown) -> None:
    button = shown.button("Save now")
    button.click()
    assert shown.controls.take_save() and button.disabled
    shown.board.update(Step("saved", 0, 10, 8, 100), "line")
    assert not button.disabled
    assert "Saved at step <b>8</b>" in shown.text


def test_at_the_end_nothing_can_be_changed(shown: Shown) -> None:
    shown.board.update(epoch(0), "line")
    shown.board.finish()
    assert [b.disabled for b in shown.all(ipywidgets.Button)] == [True] * 3
    assert shown.steering.disabled
    shown.move("weight/pairs", 0.3)
    assert shown.controls.weights == {}


def test_every_control_has_a_name_and_a_tooltip(shown: Shown) -> None:
    controls = [*shown.all(ipywidgets.Button), *shown.all(ipywidgets.IntProgress)]
    assert len(controls) == 4
    assert all(control.description and control.tooltip for control in controls)


def test_a_front_end_that_has_drawn_it_is_known(shown: Shown) -> None:
    assert not shown.board.seen
    shown.steering._handle_custom_msg({"seen": True}, [])
    assert shown.board.seen


def test_a_picture_that_cannot_be_drawn_does_not_end_the_training(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("accuracy reaches <2>")

    monkeypatch.setattr(board, "learning_curves", broken)
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2), "line")
    assert "curves not drawn:</b> accuracy reaches &lt;2&gt;" in shown.text


def test_drawing_gets_its_share_of_the_time_and_no_more(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.25 s are free, then 1 % of the time: a drawing of 0.2 s about every 20 s."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(board_budget, "AT_FIRST", 0.25)
    shown.board._budget = board_budget.Budget()

    def slow(*_: Any, **__: Any) -> None:
        shown.drawn.append({})
        clock[0] += 0.2

    monkeypatch.setattr(board, "learning_curves", slow)
    times = []
    for number in range(1, 101):
        clock[0] = max(clock[0], float(number))
        before = len(shown.drawn)
        shown.board.update(epoch(number, 0, 0, 0, 1, 2, 2), "line")
        if len(shown.drawn) > before:
            times.append(number)
    assert times[:3] == [1, 15, 35]
    assert 0.2 * len(times) <= 0.25 + 0.01 * 100
    assert len(times) == 6


def test_what_is_put_off_is_drawn_as_soon_as_there_is_time(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_budget, "AT_FIRST", -1e9)
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2), "line")
    assert shown.drawn == []
    monkeypatch.setattr(board_budget, "AT_FIRST", 1e9)
    shown.board.update(Step("step", 1, 10, 11, 100), "line")
    assert len(shown.drawn) == 1


def test_in_a_pause_there_is_time(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_budget, "AT_FIRST", -1e9)
    shown.board.update(epoch(1, 0, 0, 0, 1, 2, 2), "line")
    assert shown.drawn == []
    shown.board.update(Step("paused", 1, 10, 10, 100), "line")
    assert len(shown.drawn) == 1


def test_curves_of_one_point_wait_for_an_epoch_but_not_for_long(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.board.update(epoch(0, 0, 0, 0, 1, 2, 2), "line")
    assert shown.drawn == [] and "Answers on" in shown.text
    monkeypatch.setattr(board, "START_AFTER", 0.0)
    shown.board.update(Step("step", 0, 10, 1, 100), "line")
    assert len(shown.drawn) == 1
