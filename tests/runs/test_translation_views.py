"""Tables and figures about translators, recomputed from what the run keeps."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from socketlab.models.names import TRANSLATORS
from socketlab.models.translator import build_translator
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import load_answers
from socketlab.runs.parameters import validate
from socketlab.runs.record import Run
from socketlab.runs.translation_views import (
    calibration,
    checkpoint_frame,
    network_frame,
    picture_frame,
)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    """A translator of two epochs, and a control."""
    torch.set_num_threads(1)
    values: dict[str, Any] = {
        "run": "tiny",
        "data": str(tiny_scenes),
        "size": 32,
        "source_options": {"epochs": 1, "batch_size": 8},
        "variants": {"jet": "translated"},
        "options": {
            "translated": {"epochs": 2, "batch_size": 8, "translator": "pointwise"},
            "jet": {"translator": "colormap"},
        },
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(tiny_data),
        "runs_dir": str(tmp_path_factory.mktemp("views")),
    }
    experiment = Experiment(validate("04_train_translator", values))
    list(experiment.train_source())
    for name in ("translated", "jet"):
        list(experiment.transfer(experiment.trip(name)))
    return experiment


def test_every_network_with_its_size() -> None:
    frame = network_frame(16)
    assert tuple(frame.index) == TRANSLATORS
    for name in TRANSLATORS:
        count = sum(p.numel() for p in build_translator(name).parameters())
        assert frame.loc[name, "parameters"] == f"{count:,}"
    adds = {name: frame.loc[name, "multiply-adds"] for name in ("replicate", "pointwise")}
    # A 1x1 convolution to 64 channels, and one of 3x3 from there to 3.
    by_hand = 16 * 16 * (64 + 9 * 64 * 3) / 1e6
    assert adds == {"replicate": "0.0 million", "pointwise": f"{by_hand:.1f} million"}


def test_pictures_are_measured_on_the_pairs_that_were_kept_out(finished: Experiment) -> None:
    trip = finished.trip("translated")
    frame = picture_frame(finished, trip)
    assert list(frame.index) == ["translated", "replicate", "colormap"]
    assert list(frame["network"]) == ["pointwise", "replicate", "colormap"]
    # What was measured while it trained is the same, by another way.
    metrics = finished.run.metrics(trip.stage)
    for column, name in (("PSNR (dB)", "measure/psnr"), ("SSIM", "measure/ssim")):
        wide = metrics.pivot(index="epoch", columns="name", values="value")
        assert frame.loc["translated", column] == pytest.approx(wide[name].loc[2], abs=6e-4)
    jet = finished.run.metrics(finished.trip("jet").stage)
    psnr = jet[jet["name"] == "measure/psnr"]["value"].item()
    assert frame.loc["colormap", "PSNR (dB)"] == pytest.approx(psnr, abs=6e-4)


def test_the_picture_quality_of_replication_by_hand(finished: Experiment) -> None:
    shown = finished.previews(finished.trip("translated")).at(0)
    true = [one for one in shown if one.truth is not None]
    psnr = [
        -10 * math.log10(((np.stack([one.input] * 3, 2) - one.truth) ** 2).mean()) for one in true
    ]
    frame = picture_frame(finished, finished.trip("jet"))
    assert list(frame.index) == ["jet", "replicate", "colormap"]
    pairs = finished.views().pairs
    assert pairs is not None and len(psnr) == round(len(pairs) / 10)
    # The previews round to 1/255.
    assert frame.loc["replicate", "PSNR (dB)"] == pytest.approx(sum(psnr) / len(psnr), abs=0.05)
    same = frame.drop(columns="network").loc[["jet", "colormap"]].to_numpy()
    assert np.array_equal(same[0], same[1])


def test_a_translator_that_has_not_been_trained_is_named(finished: Experiment) -> None:
    trip = finished.trip("translated", seed=5)
    with pytest.raises(ValueError, match=r"translated-to-a.depth-held_out-seed5 has not been"):
        picture_frame(finished, trip)


def test_every_epoch_of_a_translator_is_a_checkpoint(finished: Experiment) -> None:
    trips = {name: finished.trip(name) for name in ("translated", "jet")}
    frame = checkpoint_frame(finished.run, {trip.stage: name for name, trip in trips.items()})
    assert list(frame.columns) == ["method", "epoch", "psnr", "accuracy"]
    assert list(zip(frame["method"], frame["epoch"], strict=True)) == [
        ("translated", 0),
        ("translated", 1),
        ("translated", 2),
        ("jet", 0),
    ]
    metrics = finished.run.metrics(trips["translated"].stage)
    for _, row in frame[frame["method"] == "translated"].iterrows():
        here = metrics[metrics["epoch"] == row["epoch"]].set_index("name")["value"]
        assert row["psnr"] == here["measure/psnr"] and row["accuracy"] == here["accuracy"]


def test_stages_without_pictures_have_no_checkpoints(finished: Experiment, tmp_path: Path) -> None:
    stage = finished.trip("source_only").stage
    frame = checkpoint_frame(finished.run, {stage: "source_only", "unknown": "unknown"})
    assert len(frame) == 0
    assert list(frame.columns) == ["method", "epoch", "psnr", "accuracy"]
    empty = Run(tmp_path / "empty")
    empty.change(lambda _: None)
    assert len(checkpoint_frame(empty, {stage: "x"})) == 0


def test_calibration_is_that_of_the_answers_kept(finished: Experiment) -> None:
    stages = {finished.trip(name).stage: name for name in ("source_only", "translated")}
    found = calibration(finished.run, stages, bins=5)
    assert list(found) == ["source_only", "translated"]
    for stage, name in stages.items():
        answers = load_answers(finished.run, stage)
        bins: dict[int, list[tuple[float, bool]]] = {}
        right = (answers["answer"] == answers["truth"]).tolist()
        for confidence, is_right in zip(answers["confidence"].tolist(), right, strict=True):
            place = min(math.ceil(confidence * 5) - 1, 4)
            bins.setdefault(place, []).append((confidence, is_right))
        counts = [len(bins.get(place, [])) for place in range(5)]
        assert found[name].count.tolist() == counts and sum(counts) == 24
        error = 0.0
        for inside in bins.values():
            mean = sum(c for c, _ in inside) / len(inside)
            share = sum(r for _, r in inside) / len(inside)
            error += len(inside) / 24 * abs(mean - share)
        assert found[name].error == pytest.approx(error, abs=1e-6)
