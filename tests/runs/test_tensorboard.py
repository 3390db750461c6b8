"""Curves for TensorBoard: the numbers of `metrics.parquet`, each epoch once, whatever happened."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.tensorboard import Curves

SOURCE = "source-a.rgb-seed0"
EPOCHS = 3

Make = Callable[..., Experiment]


@pytest.fixture
def make(tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment whose source model takes a few seconds."""

    def made(**changes: Any) -> Experiment:
        values: dict[str, Any] = {
            "run": "tiny",
            "data": str(tiny_scenes),
            "size": 32,
            "source_options": {"epochs": EPOCHS, "batch_size": 8},
            "device": "cpu",
            "dtype": "float32",
            "tensorboard": True,
            "data_dir": str(tiny_data),
            "runs_dir": str(tmp_path),
        }
        parameters = validate("05_transfer", values | changes)
        assert isinstance(parameters, Parameters)
        return Experiment(parameters)

    return made


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve in a folder, as TensorBoard would show it."""
    shown = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


def written(experiment: Experiment) -> dict[str, list[tuple[int, float]]]:
    """The same from the run's own table."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in experiment.run.metrics(SOURCE).itertuples(index=False):
        found.setdefault(str(row.name), []).append((int(row.epoch), pytest.approx(row.value)))
    return found


def test_a_training_that_was_broken_off_shows_no_epoch_twice_and_none_too_few(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    steps = first.train_source()
    for step in steps:
        if (step.kind, step.epoch) == ("epoch", 2):
            break  # its numbers are written, its state is not: a resume does it again
    steps.close()  # type: ignore[attr-defined]
    folder = first.run.folder / "tensorboard" / SOURCE
    assert [epoch for epoch, _ in curves(folder)["accuracy"]] == [0, 1, 2]

    monkeypatch.setattr("time.time", lambda: 1e9)  # the clock was set back by years
    again = make()
    begun = [step.epoch for step in again.train_source() if step.kind == "epoch"]
    assert begun == [2, 3]
    found = curves(folder)
    assert [epoch for epoch, _ in found["accuracy"]] == [0, 1, 2, 3]
    assert {"loss/total", "accuracy"} <= found.keys()
    assert found == written(again)


def test_an_open_tensorboard_forgets_what_is_written_anew(tmp_path: Path) -> None:
    def rows(*values: float) -> pd.DataFrame:
        table = pd.DataFrame({"epoch": range(len(values)), "value": values})
        return table.assign(name="accuracy")

    first = Curves(tmp_path, rows())
    for epoch in range(3):
        first.add(epoch, {"accuracy": 0.1})
    open_page = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in open_page.Scalars("accuracy")] == [0, 1, 2]
    first.close()
    second = Curves(tmp_path, rows(0.1, 0.2))
    second.add(2, {"accuracy": 0.5})
    second.close()
    shown = open_page.Reload().Scalars("accuracy")
    found = [(event.step, round(event.value, 3)) for event in shown]
    assert found == [(0, 0.1), (1, 0.2), (2, 0.5)]


def test_without_tensorboard_the_way_out_is_named_before_the_run_is_made(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "tensorboard" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(ValueError, match=r"pip install 'socketlab\[tensorboard\]'"):
        make()
    assert not (tmp_path / "tiny").exists()
