"""SIGTERM: the machine is wanted for something else. A kernel saves, and whoever runs it waits."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from socketlab.runs.record import PART_VARIABLE
from socketlab.training.controls import Preempted, preemption

KERNEL: Final = ".kernel"
"""In a run's folder: the process number of the kernel that is at work in it."""
EXIT_CODE: Final = 128 + signal.SIGTERM
SOON: Final = 15.0  # seconds that a training has to come to the end of its step
LIMIT: Final = 25.0  # seconds after which a kernel ends, whatever it is doing
PATIENCE: Final = 30.0  # seconds that a kernel is waited for
LAST_WORDS: Final = 2.0  # seconds in which a kernel's last message is sent


class Terminated(SystemExit):
    """This process was asked to end, and has written down how far it is."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class KernelEnding:
    """How a kernel ends: a training after its step, other work at once, an idle kernel at once."""

    def __init__(self) -> None:
        self._asked = self._waited = self._raised = False
        self._executing = True

    def begin_cell(self, *_info: object) -> None:
        """A cell is being executed from now on."""
        self._executing = True

    def end_cell(self, *_result: object) -> None:
        """None is any more; where it was to end, this process does, its last message sent."""
        self._executing = False
        if self._asked:
            _after(LAST_WORDS, _exit)

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """What SIGTERM does."""
        if not self._executing:
            _exit()
        if not self._asked:
            self._asked = True
            preemption.ask()
            _after(LIMIT, _exit)
            _after(SOON, self._insist)
        # A training looks by itself, between two steps; whatever else there is cannot.
        if (preemption.trainings == 0 or self._waited) and not self._raised:
            self._raised = True
            raise Preempted

    def _insist(self) -> None:
        self._waited = True
        os.kill(os.getpid(), signal.SIGTERM)


_ending = KernelEnding()


def end_kernel_when_asked(folder: Path) -> None:
    """In a notebook's kernel: from now on SIGTERM saves and ends it; `folder` says who it is."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    if getattr(shell, "kernel", None) is None or not _in_main_thread():
        return
    if PART_VARIABLE in os.environ:  # somebody runs this notebook and waits for it
        (folder / KERNEL).write_text(str(os.getpid()))
    if signal.getsignal(signal.SIGTERM) == _ending.handle:
        return
    signal.signal(signal.SIGTERM, _ending.handle)
    shell.events.register("pre_run_cell", _ending.begin_cell)  # type: ignore[union-attr]
    shell.events.register("post_run_cell", _ending.end_cell)  # type: ignore[union-attr]


def kernel_of(folder: Path) -> int | None:
    """The process number of the kernel that is at work in a run's folder; None where none is."""
    try:
        return int((folder / KERNEL).read_text())
    except (OSError, ValueError):
        return None


class Forwarding:
    """Hands SIGTERM on to the kernel of a run.

    Attributes:
        asked: whether there was one.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / KERNEL
        self._timer: threading.Timer | None = None
        self._at_work = self._waited = False
        self.asked = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within it a kernel runs a notebook.

        Raises:
            Terminated: where SIGTERM has come before.
        """
        self._file.unlink(missing_ok=True)  # of the kernel before
        self._at_work = True
        try:
            if self.asked:
                raise Terminated
            yield
        finally:
            self._at_work = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """What SIGTERM does: between two notebooks it is remembered.

        Raises:
            Terminated: where there is no kernel that could save anything, or it takes too long.
        """
        if self._waited and self._at_work:
            raise Terminated
        if self.asked:
            return
        self.asked = True
        try:
            os.kill(int(self._file.read_text()), signal.SIGTERM)
            self._timer = _after(PATIENCE, self._insist)
        except (OSError, ValueError) as nobody:
            if self._at_work:
                raise Terminated from nobody

    def end(self) -> None:
        """The kernel has ended; nobody is waited for."""
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _insist(self) -> None:
        self._waited = True
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def forwarding(folder: Path) -> Iterator[Forwarding]:
    """Within it, SIGTERM to this process ends the kernel that works in `folder`, and then this.

    Only the main thread hears signals; elsewhere nothing is handed on.
    """
    found = Forwarding(folder)
    if not _in_main_thread():
        try:
            yield found
        finally:
            found.end()
        return
    before = signal.signal(signal.SIGTERM, found.handle)
    try:
        yield found
    finally:
        found.end()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _after(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer


def _exit() -> NoReturn:
    os._exit(EXIT_CODE)  # not through the ends of libraries that may be in the midst of something
