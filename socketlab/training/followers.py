"""The processes of a training over several devices: how they start, obey, and end.

The process that was asked to train leads: it alone watches the controls, scores, and saves states.
It starts one follower for each further device. A follower prepares the same training and takes the
steps that it is told to take; it ends when it is told so, or when the leader is gone.
"""

import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection as pipes
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing as multiprocessing
from torch.distributed import DistError

from socketlab.training.recipe import Recipe
from socketlab.training.state import StateFile

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from socketlab.training.task import Task

GRACE = 5.0  # seconds that a follower has to end by itself, and a lost one to be noticed
READY, END = "ready", ("end",)
QUESTIONS = ("random",)  # orders that are answered


class FollowerLost(RuntimeError):  # noqa: N818 - reads as the thing found
    """A process of a training over several devices failed or ended; says which one and why."""


@dataclass(frozen=True)
class Place:
    """Which of several processes this one is.

    Attributes:
        rank: from 0; the process of rank 0 leads.
        devices: how many there are.
        folder: where they find each other, and the models that they start from.
    """

    rank: int
    devices: int
    folder: Path


class Orders:
    """What a follower is told, one after the other."""

    def __init__(self, place: Place, pipe: "Connection") -> None:
        self._place = place
        self._pipe = pipe

    def of(self, task: "Task") -> Iterator[tuple[Any, ...]]:
        """The orders for a task that is prepared here; meanwhile it has its `team`."""
        from socketlab.training.team import Team

        self._pipe.send(READY)
        task.team = Team(task, self._place)
        try:
            with suppress(EOFError, OSError):  # the leader is gone
                while (order := self._pipe.recv()) != END:
                    yield order
        finally:
            task.team.leave()

    def answer(self, said: Any) -> None:
        """Say what the leader has asked for."""
        self._pipe.send(said)


class Followers:
    """The processes beside the leader's.

    Attributes:
        processes: in the order of their devices.
    """

    def __init__(self, recipe: Recipe, state: StateFile | None, place: Place) -> None:
        self.processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []
        self._devices, self._ending = place.devices, threading.Event()
        recipe.write(place.folder)
        context = multiprocessing.get_context("spawn")
        kind = recipe.task.precision.device.type
        try:
            for rank in range(1, place.devices):
                ours, theirs = context.Pipe()
                about = (replace(place, rank=rank), kind, recipe.task, recipe.images, state, theirs)
                process = context.Process(target=_work, args=about, daemon=True)
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self.processes.append(process)
        except BaseException:
            self.end()
            raise

    def wait(self) -> None:
        """Until the training is prepared in all of them.

        Raises:
            FollowerLost: if one fails to.
        """
        for rank, pipe in enumerate(self._pipes, 1):
            said = _heard(pipe)
            if said != READY:
                raise self._loss(rank, said)

    def tell(self, *order: Any) -> list[Any]:
        """Give an order to all of them; returns what each answers to a question, else nothing.

        Raises:
            FollowerLost: if one is not there any more.
        """
        for rank, (pipe, process) in enumerate(zip(self._pipes, self.processes, strict=True), 1):
            try:
                if not process.is_alive():
                    raise BrokenPipeError
                pipe.send(order)
            except OSError as error:
                raise self._loss(rank, _heard(pipe)) from error
        if order[0] not in QUESTIONS:
            return []
        answers = [_heard(pipe) for pipe in self._pipes]
        for rank, said in enumerate(answers, 1):
            if said is None or isinstance(said, str):  # it ended, or says why it does
                raise self._loss(rank, said)
        return answers

    def when_lost(self, act: Callable[[], None]) -> None:
        """Let a thread `act` when one of them ends that was not told to."""

        def watch() -> None:
            pipes.wait([process.sentinel for process in self.processes])
            if not self._ending.is_set():
                act()

        threading.Thread(target=watch, daemon=True).start()

    def lost(self) -> FollowerLost | None:
        """What became of the one that failed or ended, if one does within a few seconds."""
        ranks = {process.sentinel: rank for rank, process in enumerate(self.processes, 1)}
        ended = [ranks[end] for end in pipes.wait([*ranks], timeout=GRACE) if isinstance(end, int)]
        if not ended:
            return None
        heard = {rank: _heard(self._pipes[rank - 1]) for rank in ended}
        # One that was killed says nothing; the others then complain that it is gone.
        rank = min(ended, key=lambda rank: heard[rank] is not None)
        return self._loss(rank, heard[rank])

    def _loss(self, rank: int, said: Any) -> FollowerLost:
        process = self.processes[rank - 1]
        process.join(GRACE)
        why = said or f"it ended with exit code {process.exitcode}"
        return FollowerLost(
            f"Process {rank} of {self._devices} (process number {process.pid}), which trained "
            f"beside this one, was lost: {why}. What the last epoch left is kept: run again to go "
            "on from there, or set devices: 1."
        )

    def end(self) -> None:
        """End them: by an order, and where that does not help by force."""
        self._ending.set()
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(END)
            pipe.close()
        until = time.monotonic() + GRACE
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _heard(pipe: "Connection") -> Any:
    """What a follower says next; None if it has gone without a word."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


@contextmanager
def leading(task: "Task", recipe: Recipe, state: StateFile | None) -> Iterator[Followers]:
    """Followers for all devices but this process's; meanwhile the task has its `team`.

    Raises:
        FollowerLost: if one of them fails or ends.
        RuntimeError: if another training over several devices is under way in this process.
        ValueError: if a batch cannot be shared equally.
    """
    from socketlab.training.team import Team, check_divisible, is_one_under_way

    devices = task.precision.devices
    check_divisible(task.batch_size, devices)
    if is_one_under_way():
        raise RuntimeError(
            "Another training over several devices is under way in this process. End it first: "
            "stop it, or close its generator of steps."
        )
    with tempfile.TemporaryDirectory() as folder:
        place = Place(0, devices, Path(folder))
        followers = Followers(recipe, state, place)
        try:
            followers.wait()
            task.team = Team(task, place)
            task.team.followers += followers.processes
            if task.precision.device.type == "cuda":  # elsewhere a collective notices by itself
                followers.when_lost(task.team.abort)
            yield followers
        except RuntimeError as error:
            # What a collective raises; our own errors have types of their own.
            of_connection = type(error) is RuntimeError or isinstance(error, DistError)
            lost = followers.lost() if of_connection else None
            if lost is None:
                raise
            raise lost from error
        finally:
            if task.team is not None:
                task.team.leave()
            task.team = None
            followers.end()


def _work(
    place: Place,
    kind: str,
    task: "Task",
    images: Mapping[str, Any],
    state: StateFile | None,
    pipe: "Connection",
) -> None:
    """What a follower does in its process."""
    # A notebook's interrupt, or a preemption, may reach all processes; the one that leads decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        device = torch.device(kind, place.rank) if kind == "cuda" else torch.device(kind)
        if kind == "cuda":
            torch.cuda.set_device(device)
        recipe = Recipe.read(place.folder, task, images, device)
        recipe.task.orders = Orders(place, pipe)
        recipe.fit(state)
    except BaseException as error:
        with suppress(OSError):  # nobody is there to hear it
            pipe.send("".join(traceback.format_exception_only(error)).strip())
        os._exit(1)  # not through the ends of libraries whose peers are gone


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        pipes.wait([parent.sentinel])
        os._exit(1)
