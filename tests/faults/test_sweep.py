"""Sweeps on this machine whose processes are killed, told to end, and started twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from socketlab.runs.record import Record, Run
from socketlab.runs.signals import kernel_of
from socketlab.runs.sweeps.record import read_sweep

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
WAIT = 600  # seconds that anything here may take on a busy machine
Process = subprocess.Popen[str]
Numbers = Callable[[Path], dict[str, Any]]


class Sweep:
    """The same sweep of SOCKET with two seeds, in a folder of its own."""

    def __init__(self, place: Path, given: dict[str, Any], numbers: Numbers) -> None:
        self.folder = place / "runs" / "small"
        self.file = place / "small.yaml"
        self.given, self._numbers = given, numbers
        self.write()

    def write(self, **more: Any) -> None:
        """Write its file, with these entries beside the others."""
        self.file.write_text(yaml.safe_dump(self.given | more))

    def start(self, engine: str = "local") -> Process:
        """Start it as a person would."""
        words = ["sweep", str(self.file), "--engine", engine]
        return subprocess.Popen(
            [sys.executable, "-m", "socketlab.cli", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, engine: str = "local") -> str:
        """Start it and wait for its good end; what it said."""
        process = self.start(engine)
        said, _ = process.communicate(timeout=WAIT)
        assert process.returncode == 0, said
        return said

    def records(self) -> dict[str, Record]:
        """What each run says of itself."""
        jobs = read_sweep(self.folder).jobs
        return {job.name: Run(self.folder / job.name).read() for job in jobs}

    def until_training(self, process: Process, run: str = "seed0") -> None:
        """Until the transfer of a run is within its epochs."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
            if (self.folder / run / "run.json").is_file():
                stages = Run(self.folder / run).read().stages
                if any(n.startswith("socket") and p.epoch >= 2 for n, p in stages.items()):
                    return
            time.sleep(0.05)
        raise AssertionError(f"{run} did not train within {WAIT} s")

    def numbers(self) -> dict[str, Any]:
        """All numbers of all runs."""
        return self._numbers(self.folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def make(data: Path, given: Any, numbers: Numbers) -> Callable[[Path], Sweep]:
    def made(place: Path) -> Sweep:
        return Sweep(place, given("small", place / "runs", data), numbers)

    return made


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], Sweep]
) -> dict[str, Any]:
    sweep = make(tmp_path_factory.mktemp("undisturbed"))
    sweep.finish()
    return sweep.numbers()


@pytest.fixture
def sweep(tmp_path: Path, make: Callable[[Path], Sweep]) -> Sweep:
    return make(tmp_path)


def test_a_killed_kernel_is_begun_again(sweep: Sweep, undisturbed: dict[str, Any]) -> None:
    process = sweep.start()
    sweep.until_training(process)
    kernel = kernel_of(sweep.folder / "seed0")
    assert kernel is not None
    os.kill(kernel, signal.SIGKILL)
    said, _ = process.communicate(timeout=WAIT)
    assert process.returncode == 0, said
    tries = [each.ended for each in sweep.records()["seed0"].tries]
    assert len(tries) == 2
    assert "killed by signal 9 (SIGKILL)" in tries[0]
    assert tries[1] == "done"
    assert sweep.numbers() == undisturbed


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_kernel_that_hangs_is_ended_and_begun_again(
    sweep: Sweep, undisturbed: dict[str, Any], engine: str
) -> None:
    sweep.write(resources={"hours": 60 / 3600})
    process = sweep.start(engine)
    sweep.until_training(process)
    kernel = kernel_of(sweep.folder / "seed0")
    assert kernel is not None
    os.kill(kernel, signal.SIGSTOP)  # deaf to SIGTERM, as one that hangs in a driver
    said, _ = process.communicate(timeout=WAIT)
    assert process.returncode == 0, said
    tries = [each.ended for each in sweep.records()["seed0"].tries]
    assert len(tries) == 2
    assert tries[0].endswith("took longer than the 1 min 00 s that it was given, and was ended")
    assert tries[1] == "done"
    assert sweep.numbers() == undisturbed


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_after_sigterm_the_same_command_goes_on(
    sweep: Sweep, undisturbed: dict[str, Any], engine: str
) -> None:
    process = sweep.start(engine)
    sweep.until_training(process)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    stopped = sweep.records()["seed0"]
    assert stopped.status == "stopped"
    assert "SIGTERM" in stopped.reason
    sweep.finish(engine)
    assert sweep.numbers() == undisturbed


def test_after_a_kill_the_same_command_goes_on(sweep: Sweep, undisturbed: dict[str, Any]) -> None:
    process = sweep.start()
    sweep.until_training(process)
    kernel = kernel_of(sweep.folder / "seed0")
    assert kernel is not None
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 20
    while psutil.pid_exists(kernel):
        assert time.monotonic() < end, "the kernel outlived the sweep"
        time.sleep(0.1)
    said = sweep.finish()
    assert "source-a.rgb-seed0: done already" in said
    assert sweep.numbers() == undisturbed


def test_started_twice_it_is_run_once(sweep: Sweep, undisturbed: dict[str, Any]) -> None:
    first = sweep.start()
    sweep.until_training(first)
    second = sweep.start()
    said = [each.communicate(timeout=WAIT)[0] for each in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "Another process is running sweep 'small'; waiting for it" in said[1]
    assert "seed1: done already" in said[1]
    assert {len(record.tries) for record in sweep.records().values()} == {1}
    assert sweep.numbers() == undisturbed
