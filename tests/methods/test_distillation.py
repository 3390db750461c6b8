import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.views import Views
from socketlab.models.classifier import Classifier
from socketlab.training.batches import shuffled_batch
from socketlab.training.steps import Controls

Begin = Callable[..., Any]


def norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def target_statistics(
    model: Classifier, images: Tensor, batch: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Mean over mixed batches of mean and unbiased variance of every normalisation's input."""
    network = copy.deepcopy(model).train()
    seen: list[list[Tensor]] = [[] for _ in norms(network)]
    for place, layer in enumerate(norms(network)):
        layer.register_forward_pre_hook(lambda _, args, place=place: seen[place].append(args[0]))
    with torch.no_grad():
        for position in range(math.ceil(len(images) / batch)):
            network(images[shuffled_batch(len(images), batch, seed, "settle", position)])
    found = []
    for inputs in seen:
        channels = [x.transpose(0, 1).flatten(1) for x in inputs]
        means = torch.stack([c.mean(1) for c in channels]).mean(0)
        found.append((means, torch.stack([c.var(1) for c in channels]).mean(0)))
    return found


def centre_crops(views: Views) -> Tensor:
    raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).float()
    return ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]


@pytest.mark.parametrize("batch_size", [13, 4])
@pytest.mark.parametrize("stopped", [False, True])
def test_the_statistics_after_an_epoch_are_those_of_the_target_images(
    batch_size: int, stopped: bool, views: Views, begin: Begin
) -> None:
    controls = Controls()
    training = begin("distillation", views, epochs=3, batch_size=batch_size, controls=controls)
    training.until("epoch")
    if stopped:
        training.until("step")
        controls.stop()
        training.until("stopped")
    model = training.method.model
    expected = target_statistics(model, centre_crops(views), batch_size, training.method.seed)
    for layer, (mean, variance) in zip(norms(model), expected, strict=True):
        torch.testing.assert_close(layer.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var, variance, rtol=1e-4, atol=1e-5)


def test_the_term_by_hand(views: Views, begin: Begin, source_model: Classifier) -> None:
    training = begin("distillation", views, pair_reduction="mean_squared")
    training.until("step")
    student = copy.deepcopy(training.method.student)
    rgb, depth = training.method.pair_batch(1)
    with torch.no_grad():
        expected = (source_model(rgb) * 0).sum() + (
            (source_model.features(rgb) - student.train().features(depth)) ** 2
        ).mean()
    found = training.until("step").terms
    assert float(found["pairs"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(found["total"]) == pytest.approx(0.5 * float(expected), rel=1e-4)


def test_paired_features_come_nearer(views: Views, begin: Begin) -> None:
    """Steps along the gradient, on one batch."""
    plain = {"momentum": 0, "weight_decay": 0, "backbone_factor": 1.0}
    training = begin("distillation", views, epochs=8, **plain)
    training.until("start")
    losses = training.method.losses
    training.method.losses = lambda step: losses(0)
    training.finish()
    values = [float(step.terms["pairs"]) for step in training.taken if step.kind == "epoch"]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.95 * values[0]


def test_target_images_matter_for_the_statistics_alone(views: Views, begin: Begin) -> None:
    brighter = views.target.images.raw.to(torch.int32).clamp_min(30000).to(torch.uint16)
    images = replace(views.target.images, raw=brighter)
    others = views.replaced(target=replace(views.target, images=images))
    first, second = (begin("distillation", v).finish().method.model for v in (views, others))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
    assert not torch.equal(norms(first)[0].running_mean, norms(second)[0].running_mean)  # type: ignore[arg-type]
