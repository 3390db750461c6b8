"""How far a long piece of work is, at what speed, and how long it will take. Imports no torch."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from socketlab.data.schema import Progress, Say

SECONDS_BETWEEN_LINES = 10.0


class Pace:
    """Tells a progress bar of every step, and where nobody sees one, `say` now and then.

    `total` images in all, of which `before` were there at the beginning: they say nothing about
    the speed. Without a terminal, and without `progress`, a line every ten seconds.
    """

    def __init__(
        self, total: int, before: int, *, progress: Progress | None, say: Say | None
    ) -> None:
        self._total, self._before = total, before
        self._progress = progress
        seen = progress is not None and sys.stdout.isatty()
        self._say = None if seen else say
        self._began = self._last = time.monotonic()
        if progress is not None and before:
            progress(before, total)

    def step(self, done: int) -> None:
        """`done` images of all are ready, those from before included."""
        if self._progress is not None:
            self._progress(done, self._total)
        now = time.monotonic()
        if self._say is None or now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        speed = (done - self._before) / (now - self._began)
        left = timedelta(seconds=round((self._total - done) / speed)) if speed else "unknown time"
        self._say(f"{done:,} of {self._total:,} images, {speed:,.0f} images/s, {left} left")
