"""What a training is expected to need: asking changes nothing, and `auto` is decided by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.data.views import Views
from socketlab.methods import REGISTRY
from socketlab.methods.source import Source, SourceOptions
from socketlab.models.classifier import Classifier
from socketlab.training import estimate, rehearsal
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile

CPU = Precision(torch.device("cpu"), torch.float32, "a test")
Begin = Callable[..., Any]


@pytest.mark.parametrize("name", [*REGISTRY])
def test_asking_changes_nothing(
    name: str, begin: Begin, views: Views, source_model: Classifier
) -> None:
    plain = begin(name, views, epochs=1).finish()
    before = {key: value.clone() for key, value in source_model.state_dict().items()}
    training = begin(name, views, epochs=1)
    state = torch.random.get_rng_state()
    found = training.method.expect([source_model], views.target, views.pairs)
    assert torch.equal(state, torch.random.get_rng_state())
    training.finish()
    assert found.peak > found.held > 0
    assert found.batch_size == training.method.batch_size
    assert not training.method.memory.get("batch_size")
    for key, value in plain.weights.items():
        assert torch.equal(value, training.weights[key]), key
    for key, value in source_model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["socket", "aad", "translated", "oracle_labels", "oracle_pairs"])
def test_auto_trains_as_the_number_would(name: str, begin: Begin, views: Views) -> None:
    """Of 13 images a batch of 2 is as near to ten steps an epoch as there is."""
    chosen = begin(name, views, epochs=1, batch_size="auto").finish()
    assert chosen.method.batch_size == chosen.method.expected.batch_size == 2
    number = begin(name, views, epochs=1, batch_size=2).finish()
    for key, value in number.weights.items():
        assert torch.equal(value, chosen.weights[key]), key


def test_auto_is_kept_over_an_interruption(
    begin: Begin, views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin("shot", views, epochs=2, batch_size="auto").finish()
    state = StateFile(tmp_path / "state.pt", "same")
    broken = begin("shot", views, epochs=2, batch_size="auto", state=state)
    broken.until("epoch")
    broken.until("step")
    broken.kill()
    monkeypatch.setattr(estimate, "CHOICES", (4,))  # another machine would choose another one
    resumed = begin("shot", views, epochs=2, batch_size="auto", state=state).finish()
    assert resumed.method.expected.reason == "auto: as before the interruption"
    assert resumed.method.batch_size == 2
    for key, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[key]), key


def test_a_batch_has_no_more_pairs_than_there_are(begin: Begin, views: Views) -> None:
    """Five pairs, of which half are kept out."""
    method = begin("translated", views, validation=0.4).method
    assert method.largest_batch(13, 5) == 3
    assert begin("socket", views).method.largest_batch(13, 5) == 13


def test_the_source_s_training(views: Views) -> None:
    def trained(batch_size: Any, ask: bool) -> Source:
        options = SourceOptions(epochs=1, bottleneck=8, batch_size=batch_size)
        source = Source(options, crop=14, seed=3, precision=CPU)
        if ask:
            found = source.expect(views.source)
            assert found.peak > found.held > 0
        for _ in source.fit(views.source):
            pass
        return source

    plain, asked, chosen = trained(2, False), trained(2, True), trained("auto", False)
    assert asked.expected is not None and plain.expected is None
    assert chosen.batch_size == 2
    for other in (asked, chosen):
        for key, value in plain.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[key]), key


def test_trainings_that_are_alike_are_rehearsed_once(
    begin: Begin, views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str = "shot", **about: Any) -> int:
        training = begin(name, views, **about)
        return round(training.method.expect(source, views.target, views.pairs).peak)

    torch.manual_seed(7)
    source = Classifier("resnet_small", ("bed", "desk", "sofa"), bottleneck=8)
    found(crop=13)
    rehearsed: list[int] = []
    measured = rehearsal._measured

    def counted(rehearse: Any, batch_size: int, device: Any) -> Any:
        rehearsed.append(batch_size)
        return measured(rehearse, batch_size, device)

    monkeypatch.setattr(rehearsal, "_measured", counted)
    for alike in ({"seed": 9}, {"batch_size": 8}):
        found(**({"crop": 13} | alike))
    assert rehearsed == []
    for number, other in enumerate(({"crop": 12}, {"name": "tent"}, {"pseudo_label_weight": 0}), 1):
        found(**({"crop": 13} | other))
        assert rehearsed == [4, 8] * number
