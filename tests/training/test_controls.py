"""What a person asks for while it trains: checked at once, taken once, from any thread."""

import math
import threading

import pytest

from socketlab.training.controls import Change, Controls


@pytest.fixture
def controls() -> Controls:
    """Of a training of eight steps that has begun."""
    made = Controls()
    made.begin({"pairs": 0.3, "entropy": 1}, 1.0, 0, 8)
    return made


def test_it_begins_with_nothing_asked_for() -> None:
    controls = Controls()
    assert not controls.stopped and not controls.paused and not controls.take_save()
    assert (controls.weights, controls.terms, controls.learning_rate_factor) == ({}, {}, 1.0)


def test_what_is_asked_for_is_taken_once(controls: Controls) -> None:
    controls.set_weight("pairs", 2)
    controls.set_weight("pairs", 3)
    controls.set_learning_rate_factor(0.5)
    assert controls.weights == {"pairs": 3.0}
    wanted = (Change(4, "weight/pairs", 3.0), Change(4, "learning_rate_factor", 0.5))
    assert controls.take(4) == wanted
    assert controls.take(5) == ()
    assert controls.terms == {"pairs": 3.0, "entropy": 1.0}
    assert (controls.weights, controls.learning_rate_factor) == ({"pairs": 3.0}, 0.5)


def test_what_is_in_force_already_is_no_change(controls: Controls) -> None:
    controls.set_weight("pairs", 0.3)
    controls.set_learning_rate_factor(2)
    controls.set_learning_rate_factor(1)
    assert controls.take(0) == ()


def test_what_was_asked_for_before_it_begins_takes_effect_with_the_first_step() -> None:
    controls = Controls()
    controls.weights = {"pairs": 2.0}
    controls.begin({"pairs": 0.3}, 1.0, 4, 8)
    assert controls.take(4) == (Change(4, "weight/pairs", 2.0),)


def test_a_save_is_asked_for_once(controls: Controls) -> None:
    controls.save()
    assert [controls.take_save() for _ in range(2)] == [True, False]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_wrong_value_is_named(controls: Controls, value: float) -> None:
    with pytest.raises(ValueError, match=rf"weight/pairs = {value}: give a finite number, 0 or"):
        controls.set_weight("pairs", value)
    with pytest.raises(ValueError, match="learning_rate_factor = "):
        controls.set_learning_rate_factor(value)
    with pytest.raises(ValueError, match="weight/pairs = "):
        controls.replay([Change(3, "weight/pairs", value)])
    assert controls.take(0) == ()


def test_an_unknown_term_is_named_with_the_known(controls: Controls) -> None:
    with pytest.raises(ValueError, match=r"no loss term 'pair'. Known: pairs, entropy"):
        controls.set_weight("pair", 1)
    assert controls.take(0) == () and controls.weights == {}


def test_a_hand_outweighs_a_replay_at_the_same_step_and_is_not_undone() -> None:
    controls = Controls()
    controls.replay([Change(at, "weight/pairs", at / 10) for at in (2, 3, 6)])
    controls.begin({"pairs": 0.0}, 1.0, 0, 8)
    assert controls.take(2) == (Change(2, "weight/pairs", 0.2),)
    controls.set_weight("pairs", 0.9)
    assert controls.take(3) == (Change(3, "weight/pairs", 0.9),)
    assert controls.take(4) == ()
    assert controls.take(6) == (Change(6, "weight/pairs", 0.6),), "a later replay is made"


def test_what_was_before_a_resume_is_not_replayed() -> None:
    controls = Controls()
    controls.replay([Change(2, "weight/pairs", 0.2), Change(5, "learning_rate_factor", 0.5)])
    controls.begin({"pairs": 0.7}, 0.25, 4, 8)
    assert controls.terms == {"pairs": 0.7} and controls.learning_rate_factor == 0.25
    assert [controls.take(at) for at in (2, 4)] == [(), ()]
    assert controls.take(5) == (Change(5, "learning_rate_factor", 0.5),)


def test_no_change_is_lost_or_taken_twice_between_threads(controls: Controls) -> None:
    values = range(1, 2001)
    done = threading.Event()

    def drag() -> None:
        for value in values:
            controls.set_weight("pairs", value)
        done.set()

    dragging = threading.Thread(target=drag)
    dragging.start()
    taken: list[float] = []
    while not done.is_set():
        taken += [change.value for change in controls.take(0)]
    dragging.join()
    taken += [change.value for change in controls.take(0)]
    assert taken == sorted(set(taken))
    assert taken[-1] == values[-1] == controls.terms["pairs"]
