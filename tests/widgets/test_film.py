"""The player of a film: nothing when nobody watches, else each picture is drawn once."""

import sys
from typing import Any

import ipywidgets
import pytest
from matplotlib.figure import Figure

from socketlab.widgets import film
from socketlab.widgets.film import FilmPlayer


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Somebody watches; the epochs that were drawn, in order. A picture is its epoch."""
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    epochs: list[int] = []
    monkeypatch.setattr(film, "to_png", lambda _: b"%d" % epochs[-1])
    return epochs


def player(drawn: list[int], *epochs: int) -> FilmPlayer:
    def frame(epoch: int) -> Figure:
        drawn.append(epoch)
        return Figure()

    return FilmPlayer(epochs, frame)


def parts(box: Any) -> tuple[Any, Any, Any, Any]:
    controls, image = box.children
    play, slider, moment = controls.children
    assert isinstance(play, ipywidgets.Play) and isinstance(slider, ipywidgets.IntSlider)
    return play, slider, moment, image


def test_headless_it_shows_nothing(drawn: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it would fail
    player(drawn, 0, 1).show()
    assert drawn == []


def test_the_slider_turns_to_an_epoch_and_draws_it_once(drawn: list[int]) -> None:
    play, slider, moment, image = parts(player(drawn, 0, 2, 5).widget)
    assert (play.max, slider.max) == (2, 2)
    assert image.value == b"0" and moment.value == "before training"
    slider.value = 2
    assert image.value == b"5" and moment.value == "epoch 5 of 5"
    slider.value = 1
    assert image.value == b"2" and moment.value == "epoch 2 of 5"
    slider.value = 2
    assert image.value == b"5" and drawn == [0, 5, 2]


def test_every_control_says_what_it_is(drawn: list[int]) -> None:
    play, slider, _, _ = parts(player(drawn, 0, 1).widget)
    assert play.tooltip and slider.description


def test_a_film_needs_an_epoch(drawn: list[int]) -> None:
    with pytest.raises(ValueError, match="no epoch"):
        player(drawn)
