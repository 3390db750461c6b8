"""Jobs on this machine: one at a time on each device, each in a process of its own."""

import os
import queue
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self

from socketlab.data.free_memory import free_memory, in_words
from socketlab.runs.notebooks import KernelDied
from socketlab.runs.places import home
from socketlab.runs.signals import Terminated, kernel_of
from socketlab.runs.sweeps.grid import Resources
from socketlab.runs.sweeps.record import Job, SweepError
from socketlab.runs.sweeps.work import Outcome, lacking, perform, refuse

Slot = Mapping[str, str]
"""A place for one run: the variables that show its process a device, and how many threads."""


def slots(resources: Resources, jobs: int | None = None) -> Sequence[Slot]:
    """The places of this machine: as many runs at once as there are GPUs, or cores for them.

    Several runs share a GPU where each asks for a part of one. `jobs` limits their number; without
    a GPU it may also be more. There are never more than fit into the memory that is free now.

    Raises:
        SweepError: where one run asks for more than there is.
    """
    found = _devices(resources, jobs)[:jobs]
    return found[: _fitting(resources.memory, len(found))]


def _devices(resources: Resources, jobs: int | None) -> list[Slot]:
    import torch

    cores, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    asked = resources.gpus if resources.gpus != "auto" else float(gpus > 0)
    if asked > gpus:
        raise SweepError(
            f"A run asks for gpus: {asked:g}, and this machine has {gpus}. Ask for fewer, or use "
            "--engine ray with a cluster that has them."
        )
    threads = {"OMP_NUM_THREADS": str(resources.cpus)}
    if asked == 0:
        count = jobs or max(1, cores // resources.cpus)
        return [{**threads, "CUDA_VISIBLE_DEVICES": ""}] * count
    # What this process may see is all that there is to hand out.
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    listed = names.split(",")[:gpus]
    if asked >= 1:
        each = int(asked)
        groups = [listed[k : k + each] for k in range(0, gpus - each + 1, each)]
    else:
        groups = [[name] for _ in range(int(1 / asked)) for name in listed]
    return [{**threads, "CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]


def _fitting(asked: float, most: int) -> int:
    """How many runs that ask for so many GiB find them free, at most `most`."""
    import torch

    free = free_memory(torch.device("cpu"))
    if not asked or free is None:
        return most
    fitting = int(free / 2**30 / asked)
    if fitting == 0:
        raise SweepError(
            f"A run asks for memory: {asked:g} (GiB), and {in_words(free)} of this machine are "
            "free. Ask for less, free some, or use --engine ray with a cluster that has it."
        )
    return min(most, fitting)


def run_locally(
    jobs: Sequence[Job],
    folder: Path,
    *,
    places: Sequence[Slot],
    retries: int,
    told: Callable[[Job, Outcome | None], None],
    warm: bool = True,
    seconds: float | None = None,
) -> dict[str, Outcome]:
    """Run jobs, each after those that it needs; `told` hears of each that begins and ends.

    A job whose kernel died, or took longer than `seconds`, is begun again up to `retries` times.
    After SIGTERM or Ctrl+C none is begun any more, and those at work save and end.

    Raises:
        Terminated, KeyboardInterrupt: when they have.
    """
    by_name = {job.name: job for job in jobs}
    order = TopologicalSorter({job.name: job.after for job in jobs})
    order.prepare()
    free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
    for place in places:
        free.put(place)
    found: dict[str, Outcome] = {}
    act = partial(perform, warm=warm, seconds=seconds)

    with ThreadPoolExecutor(len(places), thread_name_prefix="sweep") as pool, _Ending() as ending:

        def work(job: Job) -> Outcome:
            place = free.get()
            try:
                if ending.asked:
                    return Outcome(job.name, "stopped", "not begun")
                told(job, None)
                return _attempts(job, folder, partial(act, environment=place), retries, ending)
            finally:
                free.put(place)

        at_work: dict[Future[Outcome], Job] = {}
        while at_work or order.is_active():
            for name in order.get_ready() if order.is_active() and not ending.asked else ():
                job = by_name[name]
                reason = lacking(job, [found[other] for other in job.after])
                task = pool.submit(refuse, job, folder, reason) if reason else None
                at_work[task or pool.submit(work, job)] = job
            if not at_work:
                break
            ended, _ = ending.wait(at_work, folder)
            for future in ended:
                job = at_work.pop(future)
                found[job.name] = future.result()
                told(job, found[job.name])
                order.done(job.name)
    ending.leave()
    return found


class _Ending:
    """What SIGTERM and Ctrl+C do to a sweep: its kernels are told, save, and end."""

    def __init__(self) -> None:
        self.asked: type[BaseException] | None = None
        self._told: set[int] = set()
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = [
            signal.signal(number, partial(self._hear, kind))
            for number, kind in ((signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt))
        ]
        return self

    def __exit__(self, *_error: object) -> None:
        for number, before in zip((signal.SIGTERM, signal.SIGINT), self._before, strict=True):
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _hear(self, kind: type[BaseException], *_about: object) -> None:
        self.asked = self.asked or kind

    def wait(
        self, at_work: Mapping[Future[Outcome], Job], folder: Path
    ) -> tuple[set[Future[Outcome]], set[Future[Outcome]]]:
        """Until one has ended, or a second has passed; kernels are told what was heard."""
        if self.asked:
            for job in at_work.values():
                pid = kernel_of(folder / job.name)
                if pid is not None and pid not in self._told:
                    self._told.add(pid)
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
        return wait(at_work, timeout=1.0, return_when=FIRST_COMPLETED)

    def leave(self) -> None:
        """Raise what was asked for, when all have ended."""
        if self.asked is not None:
            raise self.asked


def _attempts(
    job: Job, folder: Path, act: Callable[..., Outcome], retries: int, ending: _Ending
) -> Outcome:
    for left in range(retries, -1, -1):
        try:
            return act(job, folder, home())
        except KernelDied as died:
            if ending.asked:
                return Outcome(job.name, "stopped", str(died))
            if left == 0:
                times = f"{retries + 1} times" if retries else "once"
                return refuse(job, folder, f"begun {times}; the last time {died}")
    raise AssertionError("unreachable")
