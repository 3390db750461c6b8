"""What the faults are tried on: a small sweep of SOCKET, and all of its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.record import Run
from socketlab.runs.sweeps.record import read_sweep

Given = Callable[..., dict[str, Any]]
Numbers = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="session")
def given(tiny_scenes: Path) -> Given:
    """Makes what the file of a sweep of two seeds holds."""

    def make(name: str, place: Path, data: Path, epochs: int = 12) -> dict[str, Any]:
        parameters = {
            "data": str(tiny_scenes),
            "size": 32,
            "film": 0,
            "method": "socket",
            "source_options": {"epochs": 2, "batch_size": 8},
            "options": {"socket": {"epochs": epochs, "batch_size": 4}},
            "device": "cpu",
            "dtype": "float32",
            "data_dir": str(data),
            "runs_dir": str(place),
        }
        return {"sweep": name, "parameters": parameters, "grid": {"seed": [0, 1]}}

    return make


@pytest.fixture(scope="session")
def numbers() -> Numbers:
    """All results and all epochs of all runs of a sweep, without what a clock or memory says."""
    timed = {"seconds", "peak_memory", "expected_memory"}

    def read(folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for job in read_sweep(folder).jobs:
            run = Run(folder / job.name)
            rows = [row.model_dump(exclude=timed) for row in run.read().results]
            metrics = run.metrics().sort_values(["stage", "epoch", "name"])
            found[job.name] = (
                sorted(rows, key=lambda row: (row["stage"], row["chosen_by"])),
                metrics.to_csv(index=False),
            )
        return found

    return read
