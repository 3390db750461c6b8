"""Sixty runs on two Ray nodes of this machine, one of which is killed twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from socketlab.runs.addresses import LOOPBACK, free_port
from socketlab.runs.record import Run
from socketlab.runs.signals import kernel_of
from socketlab.runs.sweeps.record import read_sweep

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]


class Cluster:
    """A head node and a second one, each with one core, as `ray start` makes them."""

    def __init__(self) -> None:
        from socketlab.runs.sweeps.ray_security import secure_environment

        os.environ.update(secure_environment())
        from ray.cluster_utils import Cluster as RayCluster

        # Ray's own port is somebody else's where another Ray runs on this machine.
        about = {"include_dashboard": False, "dashboard_port": free_port(LOOPBACK)}
        self._ray = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, **about})
        self.address = self._ray.address
        self.killed = 0
        self._second: Any = None
        self.add()

    def add(self) -> None:
        """Start the second node."""
        self._second = self._ray.add_node(num_cpus=1)

    def works(self, folder: Path) -> bool:
        """Whether a run of that sweep is at work on the second node."""
        kernels = {kernel_of(run) for run in folder.iterdir()}
        return any(process.pid in kernels for process in self._processes())

    def kill(self) -> None:
        """Kill the second node, as a power cut would: no process of it hears anything."""
        for process in self._processes():
            process.send_signal(signal.SIGKILL)
        self._ray.remove_node(self._second, allow_graceful=False)
        self.killed += 1

    def _processes(self) -> list[psutil.Process]:
        found = []
        for raylet in self._second.all_processes["raylet"]:
            parent = psutil.Process(raylet.process.pid)
            found += [parent, *parent.children(recursive=True)]
        return found

    def close(self) -> None:
        """End both nodes."""
        self._ray.shutdown()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.close()


def sweep_file(folder: Path, runs: Path, data: Path) -> Path:
    given = yaml.safe_load((ROOT / "notebooks" / "sweeps" / "scenes_60.yaml").read_text())
    given["parameters"] |= {"runs_dir": str(runs), "data_dir": str(data), "device": "cpu"}
    file = folder / "sixty.yaml"
    file.write_text(yaml.safe_dump(given))
    return file


def start(file: Path, cluster: Cluster) -> "subprocess.Popen[str]":
    words = ["socketlab.cli", "sweep", str(file), "--engine", "ray", "--address", cluster.address]
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done_runs(folder: Path) -> list[str]:
    found = []
    for file in folder.glob("*/run.json"):
        if json.loads(file.read_text())["status"] == "done":
            found.append(file.parent.name)
    return found


def wait_for(count: int, folder: Path, process: "subprocess.Popen[str]") -> None:
    while len(done_runs(folder)) < count:
        assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
        time.sleep(0.5)


def test_a_node_killed_twice_costs_no_run_and_changes_no_number(
    cluster: Cluster, tmp_path: Path, numbers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, quiet, data = tmp_path / "killed", tmp_path / "quiet", tmp_path / "data"
    began = time.monotonic()
    process = start(sweep_file(tmp_path, runs, data), cluster)
    folder = runs / "scenes_60"
    for count in (12, 35):
        wait_for(count, folder, process)
        while not cluster.works(folder):
            assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
            time.sleep(0.05)
        cluster.kill()
        wait_for(count + 3, folder, process)
        cluster.add()
    said, _ = process.communicate(timeout=3000)
    disturbed = time.monotonic() - began
    assert process.returncode == 0, said
    assert cluster.killed == 2

    began = time.monotonic()
    process = start(sweep_file(tmp_path, quiet, data), cluster)
    said, _ = process.communicate(timeout=3000)
    undisturbed = time.monotonic() - began
    assert process.returncode == 0, said

    records = [Run(folder / job.name).read() for job in read_sweep(folder).jobs]
    assert [record.status for record in records] == ["done"] * 66
    again = [record for record in records if len(record.tries) > 1]
    assert again, "a node was killed while it worked, and no run was begun again"
    assert numbers(folder) == numbers(quiet / "scenes_60")
    assert (folder / "report.html").is_file()
    assert (folder / "report.parquet").is_file()
    with capsys.disabled():
        lost = {record.name: [each.ended for each in record.tries[:-1]] for record in again}
        print(f"\n60 runs, one of two nodes killed twice: {disturbed:.0f} s")
        print(f"undisturbed: {undisturbed:.0f} s; begun again: {lost}")
