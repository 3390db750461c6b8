from __future__ import annotations

import sys

import pytest

from socketlab.data import pace as pace_module
from socketlab.data.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only entry; it stands still until a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: now[0])
    return now


def terminal(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: there)


def test_a_line_every_ten_seconds_with_speed_and_time_left(clock: list[float]) -> None:
    lines: list[str] = []
    pace = Pace(10_000, 2_000, progress=None, say=lines.append)
    for seconds, done in ((9.9, 2_800), (10.0, 3_000), (19.0, 3_900), (20.0, 4_000)):
        clock[0] = 1000 + seconds
        pace.step(done)
    # images that were there at the beginning do not count as speed
    assert lines == [
        "3,000 of 10,000 images, 100 images/s, 0:01:10 left",
        "4,000 of 10,000 images, 100 images/s, 0:01:00 left",
    ]


def test_no_speed_yet_is_no_division_by_zero(clock: list[float]) -> None:
    lines: list[str] = []
    pace = Pace(10, 4, progress=None, say=lines.append)
    clock[0] += 11
    pace.step(4)
    assert lines == ["4 of 10 images, 0 images/s, unknown time left"]


@pytest.mark.parametrize(("there", "lines"), [(True, 0), (False, 1)])
def test_a_bar_in_a_terminal_needs_no_lines(
    there: bool, lines: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, there)
    said: list[str] = []
    seen: list[tuple[int, int]] = []
    pace = Pace(10, 4, progress=lambda done, of: seen.append((done, of)), say=said.append)
    clock[0] += 11
    pace.step(6)
    assert seen == [(4, 10), (6, 10)] and len(said) == lines


def test_a_notebook_has_no_bar_whatever_its_terminal(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, True)
    said: list[str] = []
    pace = Pace(10, 0, progress=None, say=said.append)
    clock[0] += 11
    pace.step(5)
    assert len(said) == 1
