import copy
from typing import Any, cast

import pytest
import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.models.translator import build_translator
from socketlab.objectives import batch_statistics, statistics_distance
from socketlab.training.statistics import (
    every_batch_norm,
    held_running_statistics,
    input_statistics,
    normalisation_layers,
    recorded_statistics,
    reestimate_statistics,
    reference_statistics,
    source_statistics,
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


CLASSES = ("bed", "desk")


def classifier(backbone: str, encoder: nn.Module | None = None) -> Classifier:
    """A classifier that has seen a batch; with another encoder of 5 features where one is given."""
    torch.manual_seed(4)
    model = Classifier(backbone, CLASSES, bottleneck=8)
    if encoder is not None:
        model.encoder, model.bottleneck[0] = encoder, nn.Linear(5, 8)
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 32, 32))
    return model


def batch_normed(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_reference_of_batch_norm_is_a_copy_of_the_running_statistics() -> None:
    model = classifier("resnet_small")
    expected = [
        (layer.get_buffer("running_mean").clone(), layer.get_buffer("running_var").clone())
        for layer in batch_normed(model)
    ]
    found = reference_statistics(model, iter([torch.rand(2, 3, 32, 32)]))
    assert model.training
    model(torch.rand(6, 3, 32, 32))
    assert len(found) == len(expected) == 12
    for pair, wanted in zip(found, expected, strict=True):
        assert torch.equal(pair[0], wanted[0]) and torch.equal(pair[1], wanted[1])
    assert not torch.equal(found[0][0], batch_normed(model)[0].get_buffer("running_mean"))


class Tokens(nn.Module):
    """Every kind of layer that is not BatchNorm; one layer is never called, one is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.LayerNorm(5)
        self.last = nn.LayerNorm(5)  # registered before the layers that it comes after
        self.convolution = nn.Conv2d(3, 4, 4, stride=4)
        self.moved = LayerNorm2d(4)
        self.channels_last = nn.LayerNorm(4)
        self.grouped = nn.GroupNorm(2, 4)
        self.wider = nn.Linear(4, 5)
        self.shared = nn.LayerNorm(5)

    def inputs(self, images: Tensor) -> dict[str, list[Tensor]]:
        """The inputs of each layer that is called, channels last."""
        first = self.convolution(images)
        second = self.moved(first).permute(0, 2, 3, 1)
        third = self.channels_last(second).permute(0, 3, 1, 2)
        fourth = self.wider(self.grouped(third).flatten(2).transpose(1, 2))
        fifth = self.shared(fourth)[:, :2] * 3
        sixth = self.shared(fifth).mean(1)
        channels_last = {"moved": first, "grouped": third}
        return {
            "last": [sixth],
            **{name: [x.permute(0, 2, 3, 1)] for name, x in channels_last.items()},
            "channels_last": [second],
            "shared": [fourth, fifth],
        }

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.last(self.inputs(images)["last"][0])
        return features


CALLED = ("last", "moved", "channels_last", "grouped", "shared")  # in the order of the modules


def by_hand(batches: list[list[Tensor]]) -> tuple[list[float], list[float]]:
    """Mean and biased variance per channel of all values, one after another in float64."""
    channels = batches[0][0].shape[-1]
    values: list[list[float]] = [[] for _ in range(channels)]
    for inputs in batches:
        for x in inputs:
            for row in x.detach().double().reshape(-1, channels).tolist():
                for channel, value in enumerate(row):
                    values[channel].append(value)
    means = [sum(v) / len(v) for v in values]
    spreads = [sum((x - m) ** 2 for x in v) / len(v) for v, m in zip(values, means, strict=True)]
    return means, spreads


def check(found: Any, wanted: dict[str, list[list[Tensor]]]) -> None:
    assert len(found) == len(CALLED)
    for (mean, variance), name in zip(found, CALLED, strict=True):
        means, variances = by_hand(wanted[name])
        torch.testing.assert_close(mean, torch.tensor(means), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variance, torch.tensor(variances), rtol=1e-4, atol=1e-5)


def test_statistics_of_every_other_layer_are_per_channel() -> None:
    """A layer that is not reached is left out, and the order is that of the modules."""
    layers, images = Tokens(), torch.rand(3, 3, 16, 16)
    with recorded_statistics(layers) as recorded:
        layers(images)
    check(recorded, {name: [inputs] for name, inputs in layers.inputs(images).items()})
    weight = layers.convolution.weight
    for place, (mean, variance) in enumerate(recorded):
        (gradient,) = torch.autograd.grad((mean + variance).sum(), weight, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0, place


def test_source_statistics_are_those_of_all_batches_together() -> None:
    """Batches of different sizes and brightness: the variance between them counts too."""
    layers = Tokens().train()
    batches = [torch.rand(n, 3, 16, 16) * s + s for n, s in ((3, 1), (1, 2), (2, 5))]
    found = source_statistics(layers, iter(batches))
    inputs = [layers.inputs(batch) for batch in batches]
    check(found, {name: [given[name] for given in inputs] for name in CALLED})
    assert not any(mean.requires_grad for mean, _ in found)
    assert layers.training


def test_statistics_of_layers_of_one_s_choice_are_by_layer() -> None:
    """A layer that is not reached is left out; mode and hooks are as before."""
    layers = Tokens().train()
    batches = [torch.rand(n, 3, 16, 16) * s for n, s in ((3, 1), (2, 5))]
    chosen = [layers.shared, layers.unused, layers.grouped]
    found = input_statistics(layers, chosen, iter(batches))
    assert [*found] == [layers.shared, layers.grouped]
    inputs = [layers.inputs(batch) for batch in batches]
    for layer, name in ((layers.shared, "shared"), (layers.grouped, "grouped")):
        for part, wanted in zip(found[layer], by_hand([g[name] for g in inputs]), strict=True):
            torch.testing.assert_close(part, torch.tensor(wanted), rtol=1e-4, atol=1e-5)
            assert not part.requires_grad
    assert layers.training and not any(layer._forward_pre_hooks for layer in chosen)


def test_the_reference_is_estimated_on_normalised_images_in_eval_mode() -> None:
    encoder = nn.Sequential(nn.Dropout(0.9), Tokens())
    model = classifier("resnet_small", encoder)
    batches = [torch.rand(2, 3, 16, 16), torch.rand(3, 3, 16, 16)]
    found = reference_statistics(model, iter(batches))
    tokens = cast(Tokens, encoder[1])
    inputs = [tokens.inputs((batch - model.mean) / model.deviation) for batch in batches]
    check(found, {name: [given[name] for given in inputs] for name in CALLED})


class Late(nn.Module):
    """BatchNorms of 3, 3 and 5 channels: the first is never called, the others in reverse."""

    def __init__(self) -> None:
        super().__init__()
        self.unused, self.second, self.first = (nn.BatchNorm2d(c) for c in (3, 3, 5))
        self.narrower, self.wider = nn.Conv2d(5, 3, 1), nn.Conv2d(3, 5, 1)
        self.lift = nn.Conv2d(3, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.wider(self.second(self.narrower(self.first(self.lift(images)))))
        return features.mean((2, 3))


@pytest.mark.parametrize("kind", [Late, Tokens])
def test_recorded_statistics_pair_with_the_reference(kind: type[nn.Module]) -> None:
    """The distance of a batch to itself is zero, whatever is not called or called in reverse."""
    encoder = kind()
    model, images = classifier("resnet_small", encoder), torch.rand(4, 3, 16, 16)
    for layer in batch_normed(model):
        layer.momentum = None
        layer.reset_running_stats()
    model.train()(images)
    reference = reference_statistics(model, [images])
    with recorded_statistics(model.encoder) as recorded:
        model(images)
    assert len(recorded) == len(normalisation_layers(encoder)) - 1
    # The running variance is the unbiased one.
    assert float(statistics_distance(recorded, reference).detach()) < 2e-3


def test_normalisation_layers_are_the_batch_norms_where_there_is_one() -> None:
    mixed = nn.Sequential(nn.LayerNorm(4), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    assert normalisation_layers(mixed) == [mixed[1]]
    others = nn.Sequential(nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4))
    assert normalisation_layers(others) == [others[0], others[2]]


def test_what_has_no_statistics_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    batch = torch.rand(2, 3, 8, 8)
    assert normalisation_layers(plain) == []
    with pytest.raises(ValueError, match=r"'resnet_small' has no .*statistics_weight: 0"):
        reference_statistics(classifier("resnet_small", plain), [batch])
    forgetful = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), plain)
    with pytest.raises(ValueError, match="keeps no running statistics"):
        reference_statistics(classifier("resnet_small", forgetful), [batch])
    for encoder in (None, Tokens()):
        with pytest.raises(ValueError, match="no batch of RGB images"):
            reference_statistics(classifier("resnet_small", encoder), [])


def test_a_bottleneck_s_batch_norm_alone_is_held_and_estimated_anew() -> None:
    model, batch = classifier("resnet_small", Tokens()), torch.rand(4, 3, 16, 16)
    norm = model.bottleneck[1]
    before = buffers(model)
    with held_running_statistics(model):
        model.train()(batch)
    assert all(torch.equal(before[name], now) for name, now in model.named_buffers())
    reestimate_statistics(model, [batch])
    with torch.no_grad():
        x = model.bottleneck[0](model.encoder((batch - model.mean) / model.deviation))
    torch.testing.assert_close(norm.get_buffer("running_mean"), x.mean(0))
    torch.testing.assert_close(norm.get_buffer("running_var"), x.var(0))


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


def test_a_translator_s_batch_norms_are_its_own() -> None:
    """Counted neither in a classifier nor in a mixture, nor where the translator is the network."""
    plain = classifier("resnet_small")
    norms = every_batch_norm(plain)
    assert norms == [*batch_normed(plain), plain.bottleneck[1]]
    plain.translate_with(build_translator("pointwise"))
    assert every_batch_norm(plain) == norms
    other = classifier("resnet_small")
    other.translate_with(build_translator("residual"))
    members = [*norms, *batch_normed(other.encoder), other.bottleneck[1]]
    assert every_batch_norm(Mixture([plain, other])) == members
    assert every_batch_norm(plain.translator) == []


@pytest.mark.parametrize("trained", [True, False])
def test_a_translator_is_neither_held_nor_estimated_anew(trained: bool) -> None:
    """In its own training it moves within `held`; of a re-estimation it hears nothing."""
    model, batch = classifier("resnet_small"), torch.rand(4, 1, 32, 32)
    translator = build_translator("pointwise").requires_grad_(trained)
    model.translate_with(translator)
    model.train()
    before = buffers(model)
    with held_running_statistics(model):
        model(batch)
    for name, now in model.named_buffers():
        moves = trained and name.startswith("translator.")
        assert torch.equal(before[name], now) is not moves, name
    theirs = buffers(translator)
    reestimate_statistics(model, [batch])
    assert all(torch.equal(theirs[name], now) for name, now in translator.named_buffers())
    layer = batch_normed(model)[1]  # the first is the translator's
    with torch.no_grad():
        first = next(m for m in model.encoder.modules() if isinstance(m, nn.Conv2d))
        x = first((translator.eval()(batch) - model.mean) / model.deviation)
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
