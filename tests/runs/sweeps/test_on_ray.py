"""What a sweep asks of a Ray cluster, and what it says where it cannot have it."""

import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from socketlab.runs.sweeps import on_ray
from socketlab.runs.sweeps.grid import Resources
from socketlab.runs.sweeps.on_ray import connect, ends_with, wanted
from socketlab.runs.sweeps.record import SweepError

GIB = 2**30


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of nodes with these resources; the first is alive no more."""

    def made(*resources: dict[str, float]) -> None:
        lost = {"Alive": False, "Resources": {"CPU": 512.0, "GPU": 8.0, "memory": 900.0 * GIB}}
        there = [{"Alive": True, "Resources": each} for each in resources]
        ray = SimpleNamespace(nodes=lambda: [lost, *there])
        monkeypatch.setitem(sys.modules, "ray", ray)

    return made


def test_a_gpu_for_each_run_where_there_are_some(nodes: Any) -> None:
    nodes({"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0})
    assert wanted(Resources(cpus=3)) == {"num_cpus": 3, "num_gpus": 1.0}
    nodes({"CPU": 4.0})
    assert wanted(Resources(cpus=3)) == {"num_cpus": 3, "num_gpus": 0.0}


def test_a_part_of_a_gpu_and_memory_in_bytes(nodes: Any) -> None:
    nodes({"CPU": 8.0, "GPU": 1.0, "memory": 32.0 * GIB})
    found = wanted(Resources(gpus=0.5, memory=16))
    assert found == {"num_cpus": 1, "num_gpus": 0.5, "memory": 16 * GIB}


@pytest.mark.parametrize(
    "resources", [Resources(cpus=5), Resources(gpus=3), Resources(memory=64), Resources(cpus=4)]
)
def test_what_no_node_has_is_said_before_it_is_waited_for(nodes: Any, resources: Resources) -> None:
    # The CPUs are on one node and the GPUs on another.
    nodes({"CPU": 4.0, "memory": 32.0 * GIB}, {"CPU": 2.0, "GPU": 2.0, "memory": 32.0 * GIB})
    with pytest.raises(SweepError, match="No node of the cluster has what one run asks for"):
        wanted(resources)


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(on_ray, "secure_environment", lambda _: {})
    with pytest.raises(SweepError, match=r"needs the extra `cluster`"):
        connect(None)


def test_a_worker_ends_when_the_sweep_is_told_to(tmp_path: Path) -> None:
    heard = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: heard.set())
    try:
        with ends_with(tmp_path / "ending"):
            assert not heard.wait(0.1)
            (tmp_path / "ending").touch()
            assert heard.wait(20)
        heard.clear()
        with ends_with(tmp_path / "another"):
            pass
        (tmp_path / "another").touch()
        assert not heard.wait(1.5)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_ray_says_is_its_last_line() -> None:
    error = RuntimeError("a traceback\nThe node died.\n")
    assert on_ray._said(error) == "RuntimeError: The node died."
    wrapped = RuntimeError("many lines")
    wrapped.cause = ValueError("no GPU")  # type: ignore[attr-defined]
    assert on_ray._said(wrapped) == "ValueError: no GPU"
