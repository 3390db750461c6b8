from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from socketlab.data.layouts import threads
from socketlab.data.layouts.threads import cores, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.01 if item == 0 else 0)
        return item * 2

    assert list(in_threads(slow_first, range(20), at_once=4)) == [item * 2 for item in range(20)]
    assert list(in_threads(slow_first, [], at_once=4)) == []


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = in_threads(str, items(), at_once=5)
    next(results)
    assert len(taken) == 5
    results.close()


def test_no_thread_works_on_after_an_interruption() -> None:
    before = threading.active_count()
    results = in_threads(lambda item: time.sleep(0.01), range(50), at_once=10)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [1, 0, 1], at_once=2))


def test_cores_are_those_that_the_process_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.cores() == 1
