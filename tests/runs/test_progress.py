"""How far a training is: in `run.json` while it goes on, and without slowing it down."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.runs.entries import Part
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
from socketlab.runs.progress import SECONDS_BETWEEN, Progress
from socketlab.runs.record import Run
from socketlab.runs.shared_parameters import Parameters
from socketlab.training.inference import Score
from socketlab.training.steps import Controls, Step

SOURCE = "source-a.rgb-seed0"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that stands still unless the test moves it."""
    now = [1000.0]
    monkeypatch.setattr("socketlab.runs.progress.time.monotonic", lambda: now[0])
    yield now


def written(run: Run) -> dict[str, Any]:
    part = json.loads((run.folder / "run.json").read_text())["stages"].get("work", {})
    return {name: part.get(name) for name in ("epoch", "epochs", "step", "steps", "seconds")}


def test_steps_are_written_now_and_then_and_epochs_at_once(
    tmp_path: Path, clock: list[float]
) -> None:
    run = Run(tmp_path / "mine")
    progress = Progress(run, "work", Part(seconds=100))

    def after(kind: Any, step: int) -> int | None:
        progress.heard(Step(kind, step // 4, 3, step, 12, seconds=step))
        found: int | None = written(run)["step"]
        return found

    assert after("step", 5) == 5  # a training that goes on says so at once
    assert after("step", 6) == 5
    clock[0] += SECONDS_BETWEEN - 0.01
    assert after("step", 7) == 5
    assert after("paused", 7) == 5
    assert after("epoch", 8) == 8
    clock[0] += SECONDS_BETWEEN - 0.01
    assert after("step", 9) == 8
    clock[0] += 0.01
    assert after("step", 10) == 10
    assert after("stopped", 11) == 11
    assert written(run) == {"epoch": 2, "epochs": 3, "step": 11, "steps": 12, "seconds": 111}


def test_the_accuracy_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    part = Part()
    progress = Progress(Run(tmp_path / "mine"), "work", part)
    seen = []
    nan = float("nan")  # nothing that is scored has a label
    kinds: list[tuple[Any, float | None]] = [
        ("start", 0.1),
        ("step", None),
        ("epoch", 0.9),
        ("epoch", nan),
    ]
    for kind, accuracy in kinds:
        empty = torch.zeros(0)
        score = None if accuracy is None else Score(accuracy, nan, empty, empty, empty)
        progress.heard(Step(kind, 0, 1, 0, 1, evaluation=score))
        seen.append(part.accuracy)
    assert seen == [0.1, 0.1, 0.9, None]


def build(runs: Path, scenes: Path, data: Path) -> Experiment:
    values = {
        "run": "tiny",
        "data": str(scenes),
        "size": 32,
        "source_options": {"epochs": 2, "batch_size": 8},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(data),
        "runs_dir": str(runs),
    }
    parameters = validate("05_transfer", values)
    assert isinstance(parameters, Parameters)
    return Experiment(parameters)


def test_a_training_says_how_far_it_is_and_goes_on_from_there(
    tmp_path: Path, tiny_scenes: Path, tiny_data: Path
) -> None:
    first, controls = build(tmp_path, tiny_scenes, tiny_data), Controls()
    seen: dict[int, Part] = {}
    for step in first.train_source(controls=controls):
        if step.kind in ("start", "epoch"):
            seen[step.epoch] = first.run.read().stages[SOURCE]
        if step.kind == "epoch":
            controls.stop()
    assert [(part.status, part.epoch, part.epochs) for part in seen.values()] == [
        ("running", 0, 2),
        ("running", 1, 2),
    ]
    metrics = first.run.metrics(SOURCE)
    accuracy = metrics[(metrics["name"] == "accuracy") & (metrics["epoch"] == 1)]["value"].item()
    assert seen[1].accuracy == accuracy
    stopped = first.run.read().stages[SOURCE]
    assert (stopped.status, stopped.epoch, stopped.step) == ("stopped", 1, seen[1].step)
    assert stopped.steps == 2 * seen[1].step

    again = build(tmp_path, tiny_scenes, tiny_data)
    steps = again.train_source()
    next(steps)
    begun = again.run.read().stages[SOURCE]
    assert (begun.status, begun.epoch, begun.step) == ("running", 1, seen[1].step + 1)
    assert begun.seconds >= stopped.seconds
    for _ in steps:
        pass
    done = again.run.read().stages[SOURCE]
    assert (done.status, done.epoch, done.step) == ("done", 2, done.steps)
    assert not (again.run.folder / "tensorboard").exists(), "nobody asked for its curves"
