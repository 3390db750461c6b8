"""From an experiment to what the figures draw: examples, changed answers, maps and gap rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from socketlab.figures import changed_examples, pair_grid
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
from socketlab.runs.pictures import (
    changed_answers,
    class_table,
    depth_values,
    example_columns,
    pixels,
)


@pytest.fixture(scope="module")
def experiment(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    values: dict[str, Any] = {
        "data": str(tiny_scenes),
        "size": 32,
        "source_options": {"epochs": 1, "batch_size": 8},
        "options": {"socket": {"epochs": 1, "batch_size": 8}},
        "dtype": "float32",
        "data_dir": str(tiny_data),
        "runs_dir": str(tmp_path_factory.mktemp("pictures")),
    }
    made = Experiment(validate("05_transfer", values))
    list(made.train_source())
    return made


def test_stored_depth_becomes_metres_and_holes() -> None:
    stored = np.array([[0, 1500], [65535, 250]], np.uint16)
    metres = pixels(stored, "depth")
    assert np.isnan(metres[0, 0])
    assert metres[0, 1] == 1.5 and metres[1, 0] == pytest.approx(65.535)
    assert pixels(stored, "depth", None)[0, 0] == 0
    assert pixels(np.array([[0, 65535]], np.uint16), "nir").tolist() == [[0, 255]]


def test_examples_are_one_scene_through_all_cameras_of_the_sensor(experiment: Experiment) -> None:
    columns, titles = example_columns(experiment, 6)
    assert titles == ["bottle", "chair", "lamp", "arch (TI)", "ball (TI)", "cone (TI)"]
    samples = experiment.store.samples
    for title, column in zip(titles, columns, strict=True):
        assert set(column) == {"rgb", "depth", "nir"}
        mine = samples[(samples["class"] == title.removesuffix(" (TI)"))]
        pair = mine[mine["domain"].isin(["a/rgb", "a/depth", "a/nir"])]["pair_id"].min()
        row = mine[(mine["domain"] == "a/rgb") & (mine["pair_id"] == pair)]["row"].iloc[0]
        assert np.array_equal(column["rgb"], experiment.store.array("a/rgb")[row])
    assert pair_grid(columns, titles).axes


def test_counts_and_depths(experiment: Experiment) -> None:
    table = class_table(experiment)
    assert table["mug"] == {"train": 6, "test": 4} and table["ring"] == {"train": 4}
    metres, without = depth_values(experiment)
    assert without == np.isnan(metres).mean()
    assert np.nanmin(metres) >= 0.3 and np.nanmax(metres) <= 6.0


def test_all_answers_are_counted_and_some_that_changed_are_drawn(experiment: Experiment) -> None:
    trip = experiment.trip()
    before = experiment.score(experiment.source_model(), trip)
    list(experiment.transfer(trip))
    model = experiment.target_model(trip)
    assert model is not None
    after = experiment.score(model, trip)
    found = changed_answers(experiment, trip, before, after, most=3)
    assert len(found["images"]) == before.n == 24
    changed = sum(a != b for a, b in zip(found["before"], found["after"], strict=True))
    assert changed == int((before.answers != after.answers).sum()) > 0
    right = sum(a == t for a, t in zip(found["after"], found["true"], strict=True))
    assert right / 24 == pytest.approx(after.accuracy)
    drawn = [image for image in found["images"] if image.shape == (32, 32)]
    assert len(drawn) == min(3, changed)
    heading = changed_examples(**found).texts[0].get_text()
    assert f"{changed} of 24" in heading
