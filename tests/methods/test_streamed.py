"""A training on images that do not fit is the training on images that do, bit by bit."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data.streaming import THREAD_NAME, Streamed
from socketlab.data.views import ImagePairs, Images, Views
from socketlab.methods.source import Source, SourceOptions
from socketlab.models.classifier import Classifier
from socketlab.training.inference import predict
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile

Begin = Callable[..., Any]
PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")


def streamed(images: Images) -> Images:
    """The same images, read batch by batch."""
    assert isinstance(images.raw, Tensor)
    rows = np.arange(len(images))
    given = {"device": torch.device("cpu"), "reason": "a test"}
    raw = Streamed([images.raw.numpy()], np.zeros_like(rows), rows, **given)  # type: ignore[arg-type]
    return replace(images, raw=raw)


def all_streamed(views: Views) -> Views:
    assert views.pairs is not None
    pairs = views.pairs
    return views.replaced(
        source=replace(views.source, images=streamed(views.source.images)),
        target=replace(views.target, images=streamed(views.target.images)),
        pairs=ImagePairs(streamed(pairs.source), streamed(pairs.target), pairs.pair_ids),
        evaluation=replace(views.evaluation, images=streamed(views.evaluation.images)),
    )


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(autouse=True)
def no_thread_outlives_a_training() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("socket", {}),
        ("socket", {"pair_crops": "cached", "pair_order": "redrawn"}),
        ("aad", {}),
        ("distillation", {}),
        ("translated", {}),
    ],
    ids=str,
)
def test_a_method_streamed(
    name: str, options: dict[str, Any], views: Views, begin: Begin, tmp_path: Path
) -> None:
    """Also one that was killed within its second epoch, and goes on."""
    resident = begin(name, views, **options).finish()
    whole = begin(name, all_streamed(views), **options).finish()
    assert isinstance(whole.method.target.raw, Streamed)
    assert same(whole.weights, resident.weights)
    for found, wanted in zip(whole.taken, resident.taken, strict=True):
        assert {k: float(v) for k, v in found.terms.items()} == {
            k: float(v) for k, v in wanted.terms.items()
        }
        assert found.look == wanted.look
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    killed = begin(name, all_streamed(views), state=state, **options)
    killed.until("epoch")
    killed.until("step")
    killed.kill()
    resumed = begin(name, all_streamed(views), state=state, **options).finish()
    assert same(resumed.weights, resident.weights)


@pytest.mark.parametrize("name", ["socket", "distillation"])
def test_what_a_step_needs_is_there_when_it_begins(name: str, views: Views, begin: Begin) -> None:
    training = begin(name, all_streamed(views))
    training.until("step", 2)
    method = training.method
    method.target_batch(5)
    method.pair_batch(5)
    orders = ((method.target, method.target_rows), (method.pairs.source, method.pair_rows))
    for images, order in (*orders, (method.pairs.target, method.pair_rows)):
        read = []
        images.raw._gathered = lambda index, read=read, **about: read.append(index)
        for step in (6, 7):
            images.raw[order(step)]
        assert not read
    training.kill()


def test_steps_in_any_order(views: Views, begin: Begin) -> None:
    resident, other = (
        begin("socket", given, batch_size=3) for given in (views, all_streamed(views))
    )
    for training in (resident, other):
        training.until("start")
    for step in (0, 1, 5, 5, 2, 9, 0):
        for batch in ("target_batch", "pair_batch"):
            for found, wanted in zip(
                getattr(other.method, batch)(step),
                getattr(resident.method, batch)(step),
                strict=True,
            ):
                assert torch.equal(found, wanted)


def test_an_error_while_reading_ends_the_training(views: Views, begin: Begin) -> None:
    training = begin("socket", all_streamed(views))
    training.until("step")

    def broken_disk(index: Tensor, **about: Any) -> Tensor:
        raise OSError("the disk is gone")

    training.method.pairs.source.raw._gathered = broken_disk
    with pytest.raises(OSError, match="the disk is gone"):
        training.finish()


@pytest.mark.parametrize("normalisation", ["imagenet", "source_statistics"])
def test_source_training_streamed(views: Views, normalisation: str) -> None:
    found = []
    for given in (views, all_streamed(views)):
        options = SourceOptions(batch_size=4, epochs=2, normalisation=normalisation)  # type: ignore[arg-type]
        trainer = Source(options, crop=14, seed=0, precision=PRECISION)
        for _ in trainer.fit(given.source):
            pass
        found.append(dict(trainer.model.state_dict()))
    assert same(*found)


def test_prediction_streamed(views: Views, source_model: Classifier) -> None:
    images = views.target.images
    for batch_size in (4, 13, 64):
        found, wanted = (
            predict(source_model, given, 14, PRECISION, batch_size=batch_size)
            for given in (streamed(images), images)
        )
        assert torch.equal(found.logits, wanted.logits)
        assert torch.equal(found.features, wanted.features)
