import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.views import Views
from socketlab.methods import check_options
from socketlab.models.classifier import Classifier

Begin = Callable[..., Any]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def without_batch_norm(model: Classifier, *layers: nn.Module) -> Classifier:
    """Its encoder is a convolution, `layers`, and pooling."""
    model.encoder = nn.Sequential(
        nn.Conv2d(3, 256, 3), *layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return model


def naive_entropy(model: Classifier, images: Tensor) -> float:
    """mean_i -sum_k p_ik log(p_ik + 1e-5), one number after another in float64."""
    with torch.no_grad():
        rows = model(images).tolist()
    total = 0.0
    for row in rows:
        exponentials = [math.exp(value - max(row)) for value in row]
        for e in exponentials:
            p = e / sum(exponentials)
            total -= p * math.log(p + 1e-5)
    return total / len(rows)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_scales_and_shifts_move_and_nothing_else(
    kind: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    if kind == "group":
        without_batch_norm(source_model, nn.GroupNorm(2, 256))
    before = dict(source_model.named_parameters())
    training = begin("tent", views, model=source_model).finish()
    affine = {
        f"{name}.{part}"
        for name, module in source_model.named_modules()
        if isinstance(module, NORMS)
        for part in ("weight", "bias")
    }
    assert len(affine) == {"batch": 26, "group": 4}[kind]
    after = dict(training.method.model.named_parameters())
    assert {name for name in after if not torch.equal(after[name], before[name])} == affine
    assert {name for name in after if after[name].requires_grad} == affine


def test_the_gradient_is_that_of_the_entropy(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    """By central differences in float64, of a batch that is normalised with its own statistics."""
    training = begin("tent", views)
    training.until("step")
    _, images = training.method.target_batch(0)
    double, images = copy.deepcopy(source_model).double().train(), images.double()
    assert float(training.taken[-1].terms["entropy"]) == pytest.approx(
        naive_entropy(double, images), rel=1e-5
    )
    for name in ("encoder.stages.1.weight", "encoder.stages.5.bn2.bias", "bottleneck.1.weight"):
        found = training.method.student.get_parameter(name).grad
        values = double.get_parameter(name).data
        for place in (0, 5):
            kept, sides = values[place].item(), []
            for step in (1e-6, -1e-6):
                values[place] = kept + step
                sides.append(naive_entropy(double, images))
            values[place] = kept
            expected = (sides[0] - sides[1]) / 2e-6
            assert float(found[place]) == pytest.approx(expected, rel=1e-3, abs=1e-6), name


def test_the_steps_are_adam_s(views: Views, begin: Begin) -> None:
    """Three steps from the gradients, by the equations of Kingma and Ba (ICLR 2015)."""
    chosen = {"learning_rate": 0.01, "backbone_factor": 0.5, "momentum": 0.8, "weight_decay": 0.1}
    for name, factor in (("bottleneck.1.weight", 1.0), ("encoder.stages.1.weight", 0.5)):
        training = begin("tent", views, **chosen)
        training.until("start")
        parameter = training.method.student.get_parameter(name)
        value, first, second = float(parameter[3].detach()), 0.0, 0.0
        for step in range(3):
            training.until("step")
            gradient = float(parameter.grad[3]) + 0.1 * value
            rate = 0.01 * factor * (1 + 10 * step / 6) ** -0.75
            first = 0.8 * first + 0.2 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            unbiased = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            value -= rate * unbiased[0] / (math.sqrt(unbiased[1]) + 1e-8)
            assert float(parameter[3].detach()) == pytest.approx(value, rel=1e-5, abs=1e-7)


def test_the_defaults_are_the_authors() -> None:
    options = check_options("tent", {})
    assert (options.learning_rate, options.momentum, options.weight_decay) == (1e-3, 0.9, 0)
    assert options.backbone_factor == 1


def test_the_running_statistics_follow_the_target(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    training = begin("tent", views)
    training.until("step")
    _, images = training.method.target_batch(0)
    with torch.no_grad():
        first = source_model.encoder.stages[0]  # type: ignore[index]
        inputs = first((images - source_model.mean) / source_model.deviation)
    before = source_model.encoder.get_buffer("stages.1.running_mean")
    found = training.method.student.encoder.get_buffer("stages.1.running_mean")
    torch.testing.assert_close(found, 0.9 * before + 0.1 * inputs.mean((0, 2, 3)))


def test_the_answers_become_sure(views: Views, begin: Begin) -> None:
    """Steps along the gradient, on one batch."""
    training = begin("tent", views, epochs=6, learning_rate=0.05)
    training.until("start")
    losses = training.method.losses
    training.method.losses = lambda step: losses(0)
    training.finish()
    values = [float(step.terms["entropy"]) for step in training.taken if step.kind == "epoch"]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]


def test_several_sources_move_and_their_mixing_does_not(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    model = (
        begin("tent", views, model=[source_model, copy.deepcopy(source_model)])
        .finish()
        .method.model
    )
    assert model.mixing_logits.tolist() == [0, 0]
    before = source_model.bottleneck[1].weight
    assert not any(torch.equal(member.bottleneck[1].weight, before) for member in model.members)


@pytest.mark.parametrize("layers", [[], [nn.GroupNorm(2, 256, affine=False)]])
def test_an_encoder_without_scales_and_shifts_is_refused(
    layers: list[nn.Module], views: Views, begin: Begin, source_model: Classifier
) -> None:
    without_batch_norm(source_model, *layers)
    with pytest.raises(ValueError, match=r"'tent'.*'resnet_small' has none.*shot_im"):
        begin("tent", views, model=source_model).finish()
