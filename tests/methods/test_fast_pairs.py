"""Choices that make a step cheaper: RGB features of TI pairs seen once, and one pass for both."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods import UnknownOption, seeing
from socketlab.objectives import feature_distance
from socketlab.training import inference
from socketlab.training.batches import random_window, take
from socketlab.training.state import StateFile

Begin = Callable[..., Any]
STILL = 1e-300  # a learning rate that moves no float32 weight


def test_fixed_crops_are_the_same_in_both_halves_and_seen_once(
    views: Views, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin("distillation", views, pair_crops="fixed", epochs=3, learning_rate=STILL)
    training.until("start")
    method, seen = training.method, []
    original = method.teacher.features

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(images)  # type: ignore[no-any-return]

    monkeypatch.setattr(method.teacher, "features", counted)
    assert views.pairs is not None
    window = random_window(5, 16, 14, method.seed, "cached", 0)
    rgb, other = (
        take(half, torch.arange(5), window) for half in (views.pairs.source, views.pairs.target)
    )
    with torch.no_grad():
        wanted = original(rgb)
    index = method.pair_rows(0)
    found = method.student.train().features(other[index]).detach()
    term = training.until("step").terms["pairs"]
    expected = feature_distance(wanted[index], found, "frobenius")
    assert float(term) == pytest.approx(float(expected), rel=1e-4)
    training.finish()
    assert seen == [5]


def test_the_epochs_take_turns_with_the_crops(views: Views, begin: Begin) -> None:
    about = {"pair_crops": "fixed", "pair_views": 2, "epochs": 3, "batch_size": 5}
    training = begin("distillation", views, **about)
    training.until("start")
    method = training.method
    steps = [epoch * method.steps_per_epoch for epoch in range(3)]
    batches = []
    for step in steps:
        wanted, other = method.wanted_and_other(step)
        order = method.pair_rows(step).argsort()
        batches.append((wanted[0][order], other[order]))
    assert torch.equal(batches[0][1], batches[2][1]) and torch.equal(batches[0][0], batches[2][0])
    assert not torch.equal(batches[0][1], batches[1][1])
    assert not torch.equal(batches[0][0], batches[1][0])


def test_with_fixed_crops_a_training_goes_on_as_if_never_interrupted(
    views: Views, begin: Begin, tmp_path: Path
) -> None:
    about = {"pair_crops": "fixed", "pair_views": 2, "epochs": 3}
    whole = begin("socket", views, **about).finish()
    file = StateFile(tmp_path / "state", "same")
    first = begin("socket", views, state=file, **about)
    first.until("epoch", 2)
    first.until("step")
    first.kill()
    second = begin("socket", views, state=file, **about).finish()
    for name, tensor in whole.weights.items():
        assert torch.equal(second.weights[name], tensor)


def test_one_pass_normalises_both_batches_together(views: Views, begin: Begin) -> None:
    about = {"pair_statistics": "moving", "learning_rate": STILL, "weight_decay": 0}
    together = begin("socket", views, one_pass=True, **about)
    together.until("start")
    method = together.method
    _, images = method.target_batch(0)
    wanted, other = method.wanted_and_other(0)
    student = method.student.train()
    before = [b.clone() for b in student.buffers()]
    with torch.no_grad():
        features, logits = student.outputs(torch.cat([images, other]))
    for buffer, value in zip(student.buffers(), before, strict=True):
        buffer.copy_(value)
    expected = feature_distance(wanted[0], features[len(images) :], "frobenius")
    found = together.until("step").terms
    assert float(found["pairs"]) == pytest.approx(float(expected), rel=1e-4)
    apart = begin("socket", views, **about).until("step").terms
    assert found.keys() == apart.keys()
    for name in found.keys() - {"total"}:
        assert float(found[name]) != pytest.approx(float(apart[name]), rel=1e-6), name
    assert logits.shape == (8, 3)
    together.finish()


def test_one_pass_goes_without_the_pairs_where_they_have_no_weight(
    views: Views, begin: Begin
) -> None:
    about = {"pair_statistics": "moving", "pair_weight": 0}
    together = begin("socket", views, one_pass=True, **about).finish()
    apart = begin("socket", views, **about).finish()
    for name, tensor in apart.weights.items():
        assert torch.equal(together.weights[name], tensor)


def test_one_pass_cannot_hold_the_statistics(views: Views, begin: Begin) -> None:
    with pytest.raises(UnknownOption, match="Set pair_statistics: moving"):
        begin("socket", views, one_pass=True)


def test_one_pass_moves_several_sources(views: Views, begin: Begin, source_model: Any) -> None:
    about = {"pair_statistics": "moving", "one_pass": True, "epochs": 1}
    models = [source_model, copy.deepcopy(source_model)]
    training = begin("socket", views, model=models, **about).finish()
    assert training.taken[-1].kind == "epoch"


def test_images_that_are_adapted_on_and_scored_are_looked_at_once_an_epoch(
    views: Views, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counted(model: Any, images: Any, *about: Any, **more: Any) -> Any:
        passes.append(len(images))
        return inference_predict(model, images, *about, **more)

    inference_predict = inference.predict
    monkeypatch.setattr(seeing, "predict", counted)
    monkeypatch.setattr(inference, "predict", counted)
    same = views.replaced(evaluation=views.target_labels)
    shared = begin("shot", same).finish()
    assert passes == [13] * 3
    passes.clear()
    apart = begin("shot", views).finish()
    assert passes == [13, 9] * 3
    for name, tensor in apart.weights.items():
        assert torch.equal(shared.weights[name], tensor)
