"""Run notebooks by the command line on the tiny data set; one undisturbed run for all tests."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml


@dataclass(frozen=True)
class Workplace:
    """A parameter file, and the folder of runs that it names."""

    root: Path
    parameters: Path
    runs: Path

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """The command line as a process of its own, at the head of its own group."""
        program = [sys.executable, "-m", "socketlab.cli", "run"]
        return subprocess.Popen(
            [*program, "--params", str(self.parameters), *words],
            cwd=self.root,
            env=os.environ | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the command line to its end."""
        process = self.start(*words)
        out, error = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)


@pytest.fixture(scope="session")
def workplace(
    root: Path, tiny_scenes: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """Where the notebooks are run."""
    folder = tmp_path_factory.mktemp("workplace")
    values = {
        "run": "whole",
        "data": str(tiny_scenes),
        "size": 32,
        "data_dir": str(tiny_data),
        "runs_dir": str(folder / "runs"),
        "device": "cpu",
        "dtype": "float32",
        "source_options": {"epochs": 2, "batch_size": 8},
        "options": {
            "socket": {"epochs": 5, "batch_size": 4},
            "translated": {"epochs": 2, "batch_size": 4},
        },
        "steps": [
            "01_prepare_data",
            "02_train_source",
            "04_train_translator",
            "05_transfer",
            {"notebook": "03_modality_gap", "points": 100},
            {"notebook": "06_compare", "methods": ["source_only", "socket"]},
        ],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    return Workplace(root, folder / "tiny.yaml", folder / "runs")


@pytest.fixture(scope="session")
def undisturbed(workplace: Workplace) -> "subprocess.CompletedProcess[str]":
    """All six notebooks, run to their end."""
    return workplace.run()
