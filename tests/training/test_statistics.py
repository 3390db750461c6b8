import copy
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from socketlab.objectives import batch_statistics
from socketlab.training.statistics import (
    held_running_statistics,
    recorded_statistics,
    reestimate_statistics,
    running_statistics,
)


def network() -> nn.Sequential:
    """Two convolutions with a BatchNorm2d each, then pooling and a BatchNorm1d."""
    torch.manual_seed(4)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5, momentum=0.3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(5),
    )
    for module in layers.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight)
            nn.init.normal_(module.bias)
    return layers


def norm(layers: nn.Sequential, which: int) -> nn.BatchNorm2d:
    return cast(nn.BatchNorm2d, [layers[1], layers[3][1], layers[6]][which])  # type: ignore[index]


def normalised(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What a BatchNorm in train mode gives, by its definition."""
    axes = (0, 2, 3)
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    standard = (x - mean) / (variance + layer.eps).sqrt()
    return standard * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)


def inputs_of_norms(layers: nn.Sequential, images: Tensor) -> list[Tensor]:
    """The inputs of the three normalisation layers in train mode, computed by hand."""
    first = layers[0](images)
    second = layers[3][0](normalised(norm(layers, 0), first).clamp_min(0))  # type: ignore[index]
    third = normalised(norm(layers, 1), second).mean((2, 3))
    return [first, second, third]


def buffers(layers: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in layers.named_buffers()}


def test_recorded_statistics_are_those_of_the_inputs() -> None:
    layers, images = network().train(), torch.rand(6, 3, 8, 8)
    with recorded_statistics(layers) as recorded:
        layers(images)
    expected = inputs_of_norms(layers, images)[:2]
    assert len(recorded) == 2
    for (mean, variance), x in zip(recorded, expected, strict=True):
        channels = x.detach().transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean, channels.mean(1))
        spread = (channels - channels.mean(1, keepdim=True)).square().mean(1)
        torch.testing.assert_close(variance, spread)


def test_recorded_statistics_carry_the_gradient() -> None:
    layers, images = network().train(), torch.rand(6, 3, 8, 8)
    with recorded_statistics(layers) as recorded:
        layers(images)
    draw = [(torch.randn_like(m), torch.randn_like(v)) for m, v in recorded]
    gradients = []
    by_hand = [
        (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))
        for x in inputs_of_norms(layers, images)[:2]
    ]
    for statistics in (recorded, by_hand):
        layers.zero_grad()
        terms = [
            (mean * a + variance * b).sum()
            for (mean, variance), (a, b) in zip(statistics, draw, strict=True)
        ]
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
        weight = layers[0].get_parameter("weight").grad
        assert weight is not None and weight.abs().sum() > 0
        gradients.append(weight.clone())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_nothing_is_recorded_afterwards() -> None:
    layers, images = network(), torch.rand(6, 3, 8, 8)
    with pytest.raises(KeyError), recorded_statistics(layers) as recorded:
        layers(images)
        raise KeyError
    layers(images)
    assert len(recorded) == 2


def test_running_statistics_are_copies() -> None:
    layers = network().train()
    found = running_statistics(layers)
    expected = [
        (layer.running_mean.clone(), layer.running_var.clone())  # type: ignore[union-attr]
        for layer in (norm(layers, 0), norm(layers, 1))
    ]
    layers(torch.rand(6, 3, 8, 8))
    assert len(found) == 2
    for pair, wanted in zip(found, expected, strict=True):
        assert torch.equal(pair[0], wanted[0]) and torch.equal(pair[1], wanted[1])
    assert not torch.equal(found[0][0], norm(layers, 0).running_mean)  # type: ignore[arg-type]


def test_a_network_without_normalisation_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    with pytest.raises(ValueError, match=r"no BatchNorm2d.*statistics_weight: 0"):
        running_statistics(plain)
    with pytest.raises(ValueError, match="keeps no running statistics"):
        running_statistics(nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)))


def test_held_statistics_do_not_move_though_the_batch_s_are_used() -> None:
    layers, images = network().train(), torch.rand(6, 3, 8, 8)
    free = copy.deepcopy(layers)
    before = buffers(layers)
    with held_running_statistics(layers):
        held = layers(images)
    assert all(torch.equal(before[name], now) for name, now in layers.named_buffers())
    assert torch.equal(held, free(images))
    layers(images)
    for name, now in layers.named_buffers():
        assert torch.equal(now, free.get_buffer(name)), name  # it moves again, as before
        assert not torch.equal(now, before[name]), name


def test_held_statistics_survive_a_batch_that_is_not_finite() -> None:
    layers = network().train()
    before = buffers(layers)
    with held_running_statistics(layers):
        layers(torch.full((2, 3, 8, 8), torch.inf))
    assert all(torch.equal(before[name], now) for name, now in layers.named_buffers())


def test_held_statistics_move_again_after_an_error() -> None:
    layers = network().train()
    with pytest.raises(KeyError), held_running_statistics(layers):
        raise KeyError
    before = buffers(layers)
    layers(torch.rand(6, 3, 8, 8))
    assert not any(torch.equal(before[name], now) for name, now in layers.named_buffers())


def test_reestimated_statistics_are_the_plain_average_over_batches() -> None:
    layers = network().train()
    layers(torch.rand(6, 3, 8, 8))  # what it has seen before is to be forgotten
    layers.eval()
    batches = [torch.rand(count, 3, 8, 8) * scale for count, scale in ((6, 1), (3, 2), (4, 5))]
    parameters = [parameter.clone() for parameter in layers.parameters()]
    reestimate_statistics(layers, iter(batches))
    inputs = [inputs_of_norms(layers, batch) for batch in batches]
    for which in range(3):
        means, variances = [], []
        for found in inputs:
            channels = found[which].detach().transpose(0, 1).flatten(1)
            means.append(channels.mean(1))
            variances.append(channels.var(1))  # unbiased, as BatchNorm keeps it
        layer = norm(layers, which)
        assert layer.running_mean is not None and layer.running_var is not None
        torch.testing.assert_close(layer.running_mean, torch.stack(means).mean(0))
        torch.testing.assert_close(layer.running_var, torch.stack(variances).mean(0))
        assert layer.num_batches_tracked is not None and int(layer.num_batches_tracked) == 3
    for before, now in zip(parameters, layers.parameters(), strict=True):
        assert torch.equal(before, now) and now.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_reestimating_leaves_mode_and_momentum_alone(training: bool) -> None:
    layers = network().train(training)
    reestimate_statistics(layers, [torch.rand(6, 3, 8, 8)])
    assert all(module.training is training for module in layers.modules())
    assert [norm(layers, which).momentum for which in range(3)] == [0.1, 0.3, 0.1]
    with pytest.raises(RuntimeError):
        reestimate_statistics(layers, [torch.rand(6, 2, 8, 8)])
    assert [norm(layers, which).momentum for which in range(3)] == [0.1, 0.3, 0.1]


def test_batch_statistics_are_those_that_batch_norm_uses() -> None:
    """The function that the recorder calls, against the layer itself."""
    x = torch.rand(5, 4, 3, 3)
    layer = nn.BatchNorm2d(4, momentum=1.0).train()
    layer(x)
    mean, variance = batch_statistics(x)
    assert layer.running_mean is not None and layer.running_var is not None
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance * 45 / 44)
