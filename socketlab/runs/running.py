"""Notebooks one after another into one run folder, and a record that cannot be fooled."""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

from socketlab.data.locks import alone
from socketlab.data.schema import Say
from socketlab.data.whole_files import is_full
from socketlab.runs.entries import Status, Try
from socketlab.runs.mishaps import (
    FULL,
    LOST,
    MEMORY,
    explained,
    hold_reserve,
    memory_kills,
    remove_reserve,
)
from socketlab.runs.notebooks import KernelDied, NotebookFailed, run_notebook
from socketlab.runs.planning import Planned
from socketlab.runs.record import Part, Record, Run
from socketlab.runs.run_status import LOCK
from socketlab.runs.signals import Forwarding, Terminated, forwarding
from socketlab.training.controls import PREEMPTED

_NOTHING: Mapping[str, str] = MappingProxyType({})
_SAYS_NOTHING = "CellExecutionError"
_SAY: Say = partial(print, flush=True)


def run_all(
    planned: Sequence[Planned],
    *,
    again: bool = False,
    command: str = "",
    environment: Mapping[str, str] = _NOTHING,
    warm: bool = False,
    seconds: float | None = None,
    out: TextIO | None = None,
    say: Say = _SAY,
) -> list[Path]:
    """Run notebooks one after another into one run folder; finished ones are passed over.

    `run.json` says `done` only when every notebook reached its end, and otherwise why not. While
    another process runs a folder this waits, and then finds done what that one has done. SIGTERM
    is handed on to the kernel, which saves; then this process ends, too.

    Args:
        planned: the notebooks.
        again: also those that are done.
        command: what `run.json` says was called.
        environment: variables of the kernels, beside this process's.
        warm: fork kernels from a process that has imported what notebooks import.
        seconds: that each notebook may take.
        out: where their output is printed; by default where this process prints.
        say: is told that another process is waited for, and which notebook runs.

    Returns:
        The run folders.

    Raises:
        NotebookFailed: at the first notebook that fails; `run.json` has the reason.
        KernelDied: if its kernel's process ended, or took too long; begun again, it may well
            succeed.
        Terminated: after SIGTERM.
        OSError: if there is no space left for a first record of the run.
    """
    how = _How(again, command, environment, warm, seconds, out or sys.stdout, say)
    folders = list(dict.fromkeys(item.parameters.folder for item in planned))
    for folder in folders:
        mine = [item for item in planned if item.parameters.folder == folder]
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / LOCK, say, f"running {folder.name}"), forwarding(folder) as signals:
            _Attempt(Run(folder), mine, how, signals).make()
    return folders


@dataclass(frozen=True)
class _How:
    again: bool
    command: str
    environment: Mapping[str, str]
    warm: bool
    seconds: float | None
    out: TextIO
    say: Say


class _Attempt:
    """One try at the notebooks of one run, by the process that holds the right to."""

    def __init__(
        self, run: Run, planned: Sequence[Planned], how: _How, signals: Forwarding
    ) -> None:
        self._run, self._planned, self._how, self._signals = run, planned, how, signals

    def make(self) -> None:
        """Run what is not done."""
        self._run.remove_abandoned()
        hold_reserve(self._run.folder)
        record = self._run.change(self._announce)
        for item in self._planned:
            if record.notebooks[item.part].status == "done":
                self._how.say(f"{item.part}: done")
                continue
            self._how.say(f"{item.part}: running")
            self._run_part(item)
        if self._signals.asked:
            raise Terminated
        if self._run.read().status == "done":
            remove_reserve(self._run.folder)

    def _announce(self, record: Record) -> None:
        record.command = self._how.command or record.command
        for item in self._planned:
            part = record.notebooks.get(item.part)
            same = part is not None and part.fingerprint == item.fingerprint
            again = self._how.again
            if again or part is None or not same or part.status != "done":
                earlier = part.seconds if part is not None and same and not again else 0.0
                record.notebooks[item.part] = Part(fingerprint=item.fingerprint, seconds=earlier)
                record.status, record.reason = "running", ""
        for before in record.tries:
            before.ended = before.ended or LOST
        parts = [record.notebooks[item.part] for item in self._planned]
        if any(part.status != "done" for part in parts):
            began = datetime.now(UTC).isoformat(timespec="seconds")
            record.tries.append(Try(began=began, host=socket.gethostname(), pid=os.getpid()))

    def _run_part(self, item: Planned) -> None:
        def begin(record: Record) -> None:
            record.tries[-1].notebook, record.tries[-1].ended = item.part, ""

        earlier = self._run.change(begin).notebooks[item.part].seconds
        began, killed = time.monotonic(), memory_kills()
        status: Status = "failed"
        failure: NotebookFailed | None = None
        reason = ""
        try:
            with self._signals.at_work():
                run_notebook(
                    item,
                    self._how.out,
                    environment=self._how.environment,
                    warm=self._how.warm,
                    seconds=self._how.seconds,
                )
            if self._run.read().notebooks[item.part].status != "done":
                reason = "the notebook ended without its last cell; its kernel may have been killed"
                failure = KernelDied(reason)
        except NotebookFailed as error:
            failure, reason = error, explained(str(error))
            if isinstance(error, KernelDied) and memory_kills() > killed:
                reason = explained(f"MemoryError: {error}: the system had none left for it")
        except KeyboardInterrupt:
            status, reason = "stopped", "interrupted"
            raise
        except Terminated:
            reason = PREEMPTED
            raise
        except Exception as error:
            reason = explained(f"{type(error).__name__}: {error}")
            raise
        finally:
            if reason.startswith("NonFiniteLoss"):
                status = "stopped"
            if reason and (self._signals.asked or reason.endswith(PREEMPTED)):
                status, reason = "stopped", PREEMPTED
            self._close(item, earlier + time.monotonic() - began, status, reason)
        if reason and self._signals.asked:
            raise Terminated
        if failure is not None:
            died = isinstance(failure, KernelDied) or reason == PREEMPTED
            kind: Callable[[str], NotebookFailed] = KernelDied if died else NotebookFailed
            raise kind(f"{item.part}: {reason}") from failure

    def _close(self, item: Planned, seconds: float, status: Status, reason: str) -> None:
        def close(record: Record) -> None:
            part = record.notebooks[item.part]
            part.seconds = seconds
            record.seconds = sum(part.seconds for part in record.notebooks.values())
            whole = part.status == "done"
            if reason:
                said = _as_its_stage_says(record, reason)
                record.status, record.reason = status, said
                if not whole:
                    part.status, part.reason = status, said
            record.tries[-1].ended = record.reason or "done"

        try:
            self._run.change(close)
        except OSError as error:
            if not is_full(error):
                raise
            self._how.say(f"{self._run.folder.name}: no space is left to write down why it ended")


def _as_its_stage_says(record: Record, reason: str) -> str:
    """Of a stage that failed for lack of something it is known how much was expected.

    A kernel that lacks memory may not even be able to say that its cell has failed.
    """
    known = [part.reason for part in record.stages.values() if part.status == "failed"]
    for lack in (FULL, MEMORY):
        if reason.startswith((lack, _SAYS_NOTHING)):
            found = [said for said in known if said.startswith(lack)]
            if found:
                return found[0]
    return reason
