"""Once the source model is trained, the source's images may be gone: every method still runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from socketlab.methods import REGISTRY
from socketlab.models.checkpoint import load_classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import model_file
from socketlab.runs.parameters import validate

Build = Callable[..., Experiment]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path) -> Build:
    """Experiments with a source model of a/rgb that is trained; the images are a copy."""
    folder = tmp_path_factory.mktemp("without")

    def build(name: str, **changes: Any) -> Experiment:
        data = folder / name / "data"
        if not data.exists():
            data.parent.mkdir()
            if (folder / "first").exists() and name != "first":
                shutil.copytree(folder / "first", folder / name, dirs_exist_ok=True)
        values = {
            "run": "tiny",
            "data": str(tiny_scenes),
            "size": 32,
            "source_options": {"epochs": 1, "batch_size": 8},
            "options": {method: {"batch_size": 8} for method in REGISTRY},
            "device": "cpu",
            "dtype": "float32",
            "data_dir": str(data),
            "runs_dir": str(folder / name / "runs"),
        }
        for method, options in values["options"].items():
            if method not in ("source_only", "adabn"):
                options["epochs"] = 1
        return Experiment(validate("05_transfer", values | changes))

    first = build("first")
    for _ in first.train_source():
        pass
    return build


def adapted(experiment: Experiment) -> AnyClassifier:
    trip = experiment.trip()
    for _ in experiment.transfer(trip):
        pass
    if trip.method == "source_only":
        return experiment.source_model()
    return load_classifier(model_file(experiment.run, trip.stage))[0]


def same(first: AnyClassifier, second: AnyClassifier) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def source_file(experiment: Experiment) -> Path:
    return experiment.store.folder / "a_rgb.npy"


@pytest.mark.parametrize("method", REGISTRY)
def test_with_the_source_domain_deleted(prepared: Build, method: str) -> None:
    """To the other sensor: nothing of a/rgb is needed, TI pairs are sensor b's."""
    whole = adapted(prepared("whole", method=method, target="b/depth"))
    without = prepared("without", method=method, target="b/depth")
    source_file(without).unlink(missing_ok=True)
    assert same(adapted(without), whole)
    with pytest.raises(FileNotFoundError):
        _ = without.views().source


@pytest.mark.parametrize("method", [name for name in REGISTRY if name != "oracle_pairs"])
def test_with_the_source_images_painted_over(prepared: Build, method: str) -> None:
    """To the same sensor: its TI pairs stay, its labelled images are noise."""
    whole = adapted(prepared("whole", method=method, target="a/depth"))
    painted = prepared("painted", method=method, target="a/depth")
    samples = painted.store.samples
    relevant = painted.manifest.protocol("held_out").task_relevant
    chosen = samples[(samples["domain"] == "a/rgb") & samples["class"].isin(relevant)]["row"]
    pixels = np.load(source_file(painted), mmap_mode="r+")
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    pixels[chosen] = noise[chosen]
    pixels.flush()
    assert same(adapted(painted), whole)
    left = prepared("whole", method=method).views().source.images.raw
    assert not torch.equal(painted.views().source.images.raw, left)
