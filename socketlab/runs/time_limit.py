"""A kernel that takes too long, or hangs: it is told to save and end, and if it cannot, killed."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from socketlab.runs.signals import PATIENCE


class TimeLimit:
    """A kernel has so many seconds; then it is sent SIGTERM, and `PATIENCE` later SIGKILL.

    SIGTERM lets a training save within its epoch. A kernel that hangs outside Python, in a library
    or in the system, hears it only when that returns, which may be never.

    Attributes:
        seconds: that a kernel has; None sets no limit.
        passed: whether the time was up before a kernel had ended.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.passed = seconds, False

    @contextmanager
    def watching(self, tell: Callable[[signal.Signals], None]) -> Iterator[None]:
        """Within it the time runs; `tell` sends the kernel a signal, if one is at work."""
        over = threading.Event()

        def watch() -> None:
            if over.wait(self.seconds):
                return
            self.passed = True
            tell(signal.SIGTERM)
            if not over.wait(PATIENCE):
                tell(signal.SIGKILL)

        if self.seconds is not None:
            threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()
