"""SOCKET on translations: each term is SOCKET's with T(x) in the place of x, and T stays."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.views import Views
from socketlab.models.classifier import Classifier
from socketlab.models.translator import Translator

Begin = Callable[..., Any]
ByHand = Callable[..., float]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def given(training: Any) -> Translator:
    translator: Translator = training.method.given_translator()
    return translator


def test_the_terms_by_hand(
    views: Views, begin: Begin, source_model: Classifier, statistics_by_hand: ByHand
) -> None:
    """Pictures of three channels, painted here, go past whatever translator a network has."""
    training = begin("socket_translated", views, learning_rate=0.05)
    training.until("step", 2)
    method, translator = training.method, given(training)
    assert translator.name == "pointwise"
    _, images = method.target_batch(2)
    rgb, other = method.pair_batch(2)
    with torch.no_grad():
        pictures, halves = translator(images), translator(other)
        first, second = (copy.deepcopy(method.student).train() for _ in range(2))
        inputs: list[Tensor] = []
        for layer in first.encoder.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        p = first(pictures).double().softmax(1)
        distance = (source_model.features(rgb) - second.features(halves)).double()
    found = training.until("step").terms

    entropies = -(p * (p + 1e-5).log()).sum(1)
    mean = p.mean(0)
    information = float(entropies.mean() + (mean * (mean + 1e-5).log()).sum())
    assert float(found["information_maximisation"]) == pytest.approx(information, abs=1e-4)
    assert float(found["pairs"]) == pytest.approx(math.sqrt(distance.square().sum()), rel=1e-4)
    layers = [m for m in source_model.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert float(found["statistics"]) == pytest.approx(statistics_by_hand(layers, inputs), rel=1e-3)


def test_it_is_socket_for_a_source_model_that_translates(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    training = begin("socket_translated", views, epochs=1).finish()
    composed = copy.deepcopy(source_model)
    composed.translate_with(given(training))
    assert same(training.weights, begin("socket", views, epochs=1, model=composed).finish().weights)
    plain = begin("socket", views, epochs=1).finish().weights
    learnt = {k: v for k, v in training.weights.items() if not k.startswith("translator.")}
    assert learnt.keys() == plain.keys() and not same(learnt, plain)


@pytest.mark.parametrize("options", [{}, {"statistics_first": True}], ids=["usual", "re-estimated"])
def test_the_translator_is_used_in_eval_mode_and_not_changed(
    options: dict[str, Any], views: Views, begin: Begin
) -> None:
    training = begin("socket_translated", views, learning_rate=0.05, **options)
    training.until("start")
    method, modes = training.method, []
    wanted = dict(given(training).state_dict())
    assert [key for key in wanted if key.endswith("running_mean")]
    for network in (method.teacher, method.student):
        for part in network.translator.modules():
            part.register_forward_hook(lambda m, *_: modes.append(m.training))
    training.finish()
    assert modes and not any(modes)
    for network in (method.teacher, method.student):
        assert same(dict(network.translator.state_dict()), wanted)
        assert all(p.grad is None for p in network.translator.parameters())


def test_the_target_model_is_the_translator_and_what_follows_it(views: Views, begin: Begin) -> None:
    training = begin("socket_translated", views).finish()
    model, grey = training.method.model.eval(), torch.rand(4, 1, 14, 14)
    with torch.no_grad():
        pictures = given(training)(grey)
        assert torch.equal(model(grey), model(pictures))
        assert not torch.allclose(model(grey), model(grey.repeat(1, 3, 1, 1)))


def test_statistics_estimated_anew_are_those_of_translations(views: Views, begin: Begin) -> None:
    """Of the pictures of all target images, for the student's own layers alone."""
    training = begin("socket_translated", views, batch_size=13, epochs=1)
    training.until("start")
    method = training.method
    adapted = method.with_target_statistics()
    raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).float()
    grey = ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]
    first = next(m for m in adapted.encoder.modules() if isinstance(m, nn.Conv2d))
    layer = next(m for m in adapted.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        x = first((given(training)(grey) - adapted.mean) / adapted.deviation)
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
