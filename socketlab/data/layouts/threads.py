"""Work on many things with every core, a few at a time, so that memory does not grow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], *, at_once: int
) -> Iterator[Result]:
    """Results of `work` in the order of `items`; at most `at_once` of them are under way.

    Whatever interrupts the consumer, no thread still works when this returns.
    """
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        for start in range(0, len(items), at_once):
            yield from pool.map(work, items[start : start + at_once])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
