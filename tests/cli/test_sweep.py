"""`socketlab sweep` as a person starts it: on this machine, on Ray, again, and with a slip."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from socketlab.runs.record import Run
from socketlab.runs.sweeps.record import read_sweep

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("seed0", "seed1")
SPOILT = "tent-learning_rate1e.30"


def socketlab(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "socketlab.cli", *words], cwd=ROOT, capture_output=True, text=True
    )


def write(place: Path, tiny_scenes: Path, data: Path, **values: Any) -> Path:
    parameters = {
        "data": str(tiny_scenes),
        "size": 32,
        "film": 0,
        "method": "adabn",
        "source_options": {"epochs": 1, "batch_size": 8},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(data),
        "runs_dir": str(place),
    }
    given = {"sweep": "night", "parameters": parameters, "grid": {"seed": [0, 1]}} | values
    file = place / "night.yaml"
    file.write_text(yaml.safe_dump(given, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path) -> Path:
    """The folder of a sweep that this machine has done, all but one run that cannot be done."""
    place = tmp_path_factory.mktemp("local")
    spoilt = {"method": "tent", "options.tent.learning_rate": 1e30}
    file = write(place, tiny_scenes, tiny_data, include=[spoilt])
    done = socketlab("sweep", str(file))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Done: 5 of 6." in done.stdout
    assert f"{SPOILT} failed" in done.stderr
    assert "has no finite value" in done.stderr
    return place / "night"


def numbers(folder: Path) -> dict[str, Any]:
    timed = {"seconds", "peak_memory", "expected_memory"}
    return {
        seed: [row.model_dump(exclude=timed) for row in Run(folder / seed).read().results]
        for seed in SEEDS
    }


def test_every_run_is_an_ordinary_one(night: Path) -> None:
    jobs = read_sweep(night).jobs
    assert len(jobs) == 6
    for job in jobs:
        record = Run(night / job.name).read()
        assert record.status == ("failed" if job.name == SPOILT else "done"), record.reason
        assert (night / job.name / "report.html").is_file()
        assert (night / job.name / "log.txt").read_text()
        assert record.command == f"socketlab sweep {night}"


def test_source_models_are_made_once(night: Path) -> None:
    taken = {
        part.taken_from
        for name in (*SEEDS, SPOILT)
        for stage, part in Run(night / name).read().stages.items()
        if stage.startswith("source-")
    }
    assert taken == {"source-a.rgb-seed0", "source-a.rgb-seed1"}


def test_one_report_has_them_all(night: Path) -> None:
    assert "has no finite value" in (night / "report.html").read_text()
    rows = pd.read_parquet(night / "report.parquet")
    assert {"adabn", "source_only", "source"} <= set(rows["method"])
    assert set(SEEDS) <= set(rows["run"])


def test_status_says_that_not_all_is_well(night: Path) -> None:
    done = socketlab("status", str(night), "--json")
    assert done.returncode == 1, done.stderr
    assert json.dumps(json.loads(done.stdout)).count('"done"') >= 5
    assert socketlab("status", str(night / SEEDS[0])).returncode == 0


def test_again_only_what_failed_is_left_to_do(night: Path) -> None:
    before = {seed: Run(night / seed).read() for seed in SEEDS}
    done = socketlab("sweep", str(night))  # the folder stands for its file
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("done already") == 5
    assert {seed: Run(night / seed).read() for seed in SEEDS} == before
    assert len(Run(night / SPOILT).read().tries) == 2


def test_on_ray_the_numbers_are_the_same(
    night: Path, tmp_path: Path, tiny_scenes: Path, tiny_data: Path
) -> None:
    done = socketlab("sweep", str(write(tmp_path, tiny_scenes, tiny_data)), "--engine", "ray")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_sweep(tmp_path / "night").engine == "ray"
    assert numbers(tmp_path / "night") == numbers(night)


def test_the_plan_runs_nothing(tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> None:
    done = socketlab("sweep", str(write(tmp_path, tiny_scenes, tiny_data)), "--plan")
    assert done.returncode == 0, done.stderr
    assert "5 jobs" in done.stdout
    assert not (tmp_path / "night").exists()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"grid": {"sede": [0]}}, "Did you mean 'seed'"),
        ({"grid": {"method": ["sokcet"]}}, "socket"),
        ({"resources": {"gpu": 1}}, "resources.gpu: no such entry"),
        ({"resources": {"gpus": 64}}, "asks for gpus: 64, and this machine has 0"),
    ],
)
def test_a_slip_is_named_before_anything_runs(
    tmp_path: Path, tiny_scenes: Path, tiny_data: Path, values: dict[str, Any], complaint: str
) -> None:
    done = socketlab("sweep", str(write(tmp_path, tiny_scenes, tiny_data, **values)))
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("night/*/run.json"))
