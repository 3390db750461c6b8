"""What a kernel does on SIGTERM, by what it is doing just then."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socketlab.runs import signals
from socketlab.runs.signals import LIMIT, SOON, KernelEnding, end_kernel_when_asked
from socketlab.training.controls import Preempted, preemption


class Exited(BaseException):
    """In the place of the end of this process."""


Timers = dict[float, Callable[[], None]]


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Timers]:
    """What was to be done later, by seconds; nothing of it is done."""
    found: Timers = {}

    def leave() -> None:
        raise Exited

    monkeypatch.setattr(signals, "_after", lambda seconds, act: found.update({seconds: act}))
    monkeypatch.setattr(signals, "_exit", leave)
    yield found
    preemption.forget()


def test_a_training_is_asked_and_ends_by_itself(timers: Timers) -> None:
    ending = KernelEnding()
    with preemption.training():
        ending.handle(15, None)
        ending.handle(15, None)
        assert preemption.asked and set(timers) == {SOON, LIMIT}
    with pytest.raises(Exited):
        timers[LIMIT]()


def test_a_training_that_does_not_come_to_the_end_of_its_step_is_broken_off_once(
    timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, sent = KernelEnding(), list[int]()
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    with preemption.training():
        ending.handle(15, None)
        timers[SOON]()
        assert sent == [os.getpid()]
        with pytest.raises(Preempted):
            ending.handle(15, None)
        ending.handle(15, None)  # while its last words are written


def test_other_work_is_broken_off_at_once(timers: Timers) -> None:
    with pytest.raises(Preempted):
        KernelEnding().handle(15, None)
    assert preemption.asked


def test_an_idle_kernel_ends_and_one_whose_cell_has_ended(timers: Timers) -> None:
    ending = KernelEnding()
    ending.end_cell()
    assert timers == {}
    with pytest.raises(Exited):
        ending.handle(15, None)
    ending.begin_cell()
    with pytest.raises(Preempted):
        ending.handle(15, None)
    ending.end_cell()
    with pytest.raises(Exited):
        timers[signals.LAST_WORDS]()


def test_nothing_is_installed_outside_of_a_kernel(tmp_path: Path) -> None:
    end_kernel_when_asked(tmp_path)
    assert list(tmp_path.iterdir()) == []
