"""The slider through the epochs kept: nothing when nobody watches, else the newest sheet first."""

import sys
from typing import Any

import IPython.display
import ipywidgets
import pytest
from matplotlib.figure import Figure

from socketlab.widgets import previews
from socketlab.widgets.previews import PreviewSlider


class Sheets:
    """Contact sheets that can be added, and a count of those that were drawn."""

    def __init__(self, *epochs: int) -> None:
        self.epochs = list(epochs)
        self.drawn: list[int] = []

    def sheet(self, epoch: int) -> Figure:
        """A figure of its own."""
        self.drawn.append(epoch)
        return Figure()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Somebody watches: what is displayed is kept here. A picture is its figure's number."""
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    found: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", found.append)
    numbers = iter(range(100))
    monkeypatch.setattr(previews, "to_png", lambda _: b"picture %d" % next(numbers))
    return found


def parts(shown: list[Any]) -> tuple[Any, Any]:
    """The slider and the picture, of the one thing that is displayed."""
    (box,) = shown
    slider, image = box.children
    assert isinstance(slider, ipywidgets.SelectionSlider)
    assert isinstance(image, ipywidgets.Image)
    return slider, image


def test_headless_it_does_nothing(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it would fail
    kept = Sheets(0, 3)
    slider = PreviewSlider(kept)
    slider.refresh()
    assert shown == [] and kept.drawn == []


def test_before_there_is_a_preview_nothing_is_shown(shown: list[Any]) -> None:
    PreviewSlider(Sheets()).refresh()
    assert shown == []


def test_it_grows_and_follows_the_newest(shown: list[Any]) -> None:
    kept = Sheets(0)
    slider = PreviewSlider(kept)
    for epochs in ([0], [0, 3], [0, 3, 6]):
        kept.epochs = list(epochs)
        slider.refresh()
        control, image = parts(shown)
        assert list(control.options) == epochs
        assert control.value == epochs[-1]
        assert kept.drawn[-1] == epochs[-1]
        newest = bytes(image.value)
        slider.refresh()  # nothing new
        assert bytes(image.value) == newest
    assert kept.drawn.count(6) == 1


def test_a_person_walks_through_the_epochs(shown: list[Any]) -> None:
    kept = Sheets(0, 3, 6)
    PreviewSlider(kept).refresh()
    control, image = parts(shown)
    pictures = {6: bytes(image.value)}
    for epoch in (3, 0):
        control.value = epoch
        pictures[epoch] = bytes(image.value)
    assert len(set(pictures.values())) == 3
    drawn = list(kept.drawn)
    for epoch in (6, 0, 3):
        control.value = epoch
        assert bytes(image.value) == pictures[epoch]
    assert kept.drawn == drawn  # each was drawn once


def test_a_training_that_began_anew_has_other_sheets(shown: list[Any]) -> None:
    kept = Sheets(0, 3, 6)
    slider = PreviewSlider(kept)
    slider.refresh()
    control, image = parts(shown)
    control.value = 0
    before = bytes(image.value)
    kept.epochs = [0]
    slider.refresh()
    assert list(control.options) == [0] and control.value == 0
    assert bytes(image.value) != before


def test_a_picture_is_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    monkeypatch.setattr(IPython.display, "display", found.append)
    PreviewSlider(Sheets(0)).refresh()
    assert bytes(parts(found)[1].value).startswith(b"\x89PNG")
