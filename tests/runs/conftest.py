"""A small experiment whose transfer is done and was filmed, for all who only look at it."""

from pathlib import Path

import pytest

from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate


@pytest.fixture(scope="session")
def adapted(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    """SOCKET in two epochs on tiny scenes, with a film of 12 pairs of each kind."""
    experiment = Experiment(
        validate(
            "05_transfer",
            {
                "run": "adapted",
                "data": str(tiny_scenes),
                "size": 32,
                "source_options": {"epochs": 2, "batch_size": 8},
                "options": {"socket": {"epochs": 2, "batch_size": 8}},
                "film": 12,
                "device": "cpu",
                "dtype": "float32",
                "data_dir": str(tiny_data),
                "runs_dir": str(tmp_path_factory.mktemp("adapted")),
            },
        )
    )
    for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
        for _ in steps:
            pass
    return experiment
