"""The local engine: order, places, another attempt where a process died, and an end in between."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.runs.notebooks import KernelDied
from socketlab.runs.record import Run
from socketlab.runs.signals import KERNEL, Terminated
from socketlab.runs.sweeps import local
from socketlab.runs.sweeps.grid import Resources
from socketlab.runs.sweeps.local import run_locally, slots
from socketlab.runs.sweeps.record import Job, SweepError
from socketlab.runs.sweeps.work import Outcome

Perform = Callable[..., Outcome]


def job(name: str, *after: str) -> Job:
    return Job(name=name, steps=[], after=list(after))


class Performed:
    """Stands for `perform`: remembers what it was asked, and does as told for a job."""

    def __init__(self, **acts: Callable[[], None]) -> None:
        self.acts = acts
        self.names: list[str] = []
        self.places: list[Mapping[str, str]] = []
        self.how: list[Mapping[str, Any]] = []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def __call__(
        self, job: Job, folder: Path, home: Path, *, environment: Mapping[str, str], **how: Any
    ) -> Outcome:
        with self._lock:
            self.names.append(job.name)
            self.places.append(environment)
            self.how.append(how)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            self.acts.get(job.name, lambda: None)()
        finally:
            with self._lock:
                self.at_once -= 1
        return Outcome(job.name, "done")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(
        performed: Perform, *jobs: Job, places: int = 1, retries: int = 2, **options: Any
    ) -> Any:
        monkeypatch.setattr(local, "perform", performed)
        heard: list[tuple[str, str]] = []
        outcomes = run_locally(
            jobs,
            tmp_path,
            places=[{"PLACE": str(k)} for k in range(places)],
            retries=retries,
            told=lambda job, outcome: heard.append(
                (job.name, outcome.status if outcome else "begun")
            ),
            **options,
        )
        return outcomes, heard

    return made


def test_each_after_those_it_needs(run: Any) -> None:
    performed = Performed()
    outcomes, heard = run(performed, job("run", "source"), job("source", "data"), job("data"))
    assert performed.names == ["data", "source", "run"]
    assert heard[:2] == [("data", "begun"), ("data", "done")]
    assert {outcome.status for outcome in outcomes.values()} == {"done"}


def test_as_many_at_once_as_there_are_places_and_each_on_its_own(run: Any) -> None:
    both = threading.Barrier(2, timeout=20)
    performed = Performed(a=both.wait, b=both.wait)
    run(performed, job("a"), job("b"), job("c"), places=2)
    assert performed.most == 2
    assert {place["PLACE"] for place in performed.places[:2]} == {"0", "1"}


def test_what_died_is_begun_again(run: Any) -> None:
    deaths = iter([True, True, False])

    def die() -> None:
        if next(deaths):
            raise KernelDied("killed by signal 9")

    performed = Performed(a=die)
    outcomes, _ = run(performed, job("a"), job("b", "a"))
    assert performed.names == ["a", "a", "a", "b"]
    assert outcomes["a"].status == "done"


def test_what_always_dies_fails_with_its_reason_and_takes_only_its_own_with_it(
    run: Any, tmp_path: Path
) -> None:
    def die() -> None:
        raise KernelDied("killed by signal 9")

    performed = Performed(a=die)
    outcomes, _ = run(performed, job("a"), job("b", "a"), job("c", "b"), job("d"), retries=1)
    assert performed.names.count("a") == 2
    assert outcomes["a"].reason == "begun 2 times; the last time killed by signal 9"
    assert outcomes["c"].reason.startswith("needs b, which failed: needs a, which failed: begun 2")
    assert outcomes["d"].status == "done"
    records = {name: Run(tmp_path / name).read() for name in "abc"}
    assert {record.status for record in records.values()} == {"failed"}
    assert records["b"].reason == outcomes["b"].reason


def test_sigterm_tells_the_kernels_and_begins_nothing_more(run: Any, tmp_path: Path) -> None:
    asked = threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    class Kernel:
        """Something that ends by SIGTERM, as a kernel does."""

        def __init__(self) -> None:
            self.pid = os.fork()
            if self.pid == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(60)
                os._exit(0)

        def __call__(self) -> None:
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / KERNEL).write_text(str(self.pid))
            os.kill(os.getpid(), signal.SIGTERM)
            _, status = os.waitpid(self.pid, 0)
            assert os.WTERMSIG(status) == signal.SIGTERM
            asked.set()
            raise KernelDied("preempted")

    performed = Performed(a=Kernel())
    with pytest.raises(Terminated):
        run(performed, job("a"), job("b"), job("c", "a"))
    assert asked.is_set()
    assert performed.names == ["a"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_every_attempt_has_the_time_that_was_asked_for(run: Any) -> None:
    deaths = iter([True, False])

    def die() -> None:
        if next(deaths):
            raise KernelDied("it took longer than the 7.0 s that it was given, and was ended")

    performed = Performed(a=die)
    outcomes, _ = run(performed, job("a"), seconds=7.0, warm=False)
    assert performed.how == [{"warm": False, "seconds": 7.0}] * 2
    assert outcomes["a"].status == "done"


def test_a_core_for_each_run_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    found = slots(Resources(cpus=3))
    assert [dict(place) for place in found] == [
        {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": ""}
    ] * 2
    assert len(slots(Resources(cpus=3), jobs=5)) == 5


def test_no_more_runs_than_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(local, "free_memory", lambda _: 20 * 2**30)
    assert len(slots(Resources(memory=6))) == 3
    assert len(slots(Resources(memory=6), jobs=8)) == 3
    assert len(slots(Resources(memory=6), jobs=2)) == 2
    assert len(slots(Resources(memory=20))) == 1
    with pytest.raises(SweepError, match=r"memory: 20.5 \(GiB\), and 20.0 GiB of this machine are"):
        slots(Resources(memory=20.5))
    monkeypatch.setattr(local, "free_memory", lambda _: None)  # nobody says
    assert len(slots(Resources(memory=600))) == 8
    monkeypatch.setattr(local, "free_memory", lambda _: 20 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    found = slots(Resources(memory=9))
    assert [place["CUDA_VISIBLE_DEVICES"] for place in found] == ["0", "1"]


@pytest.mark.parametrize(
    ("visible", "resources", "expected"),
    [
        ("", Resources(), ["0", "1", "2"]),
        ("5,7,9", Resources(gpus=1), ["5", "7", "9"]),
        ("", Resources(gpus=2), ["0,1"]),
        ("", Resources(gpus=0.5), ["0", "1", "2", "0", "1", "2"]),
    ],
)
def test_a_gpu_for_each_run(
    monkeypatch: pytest.MonkeyPatch, visible: str, resources: Resources, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in slots(resources)] == expected
    assert len(slots(resources, jobs=1)) == 1


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SweepError, match=r"gpus: 2, and this machine has 1"):
        slots(Resources(gpus=2))
