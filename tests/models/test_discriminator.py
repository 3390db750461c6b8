import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from socketlab.models.discriminator import (
    DiscriminatorPlace,
    build_discriminator,
    reverse_gradient,
)

Array = NDArray[np.float64]

INPUTS: dict[DiscriminatorPlace, tuple[int, ...]] = {
    "features": (6,),
    "early": (6, 7, 5),
    "patches": (3, 24, 17),
}
PLACES = tuple(INPUTS)


def built(place: DiscriminatorPlace) -> nn.Module:
    return build_discriminator(place, INPUTS[place][0])


def array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.detach().numpy().astype(np.float64)


def layers_of(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def multiplied(x: Array, layer: nn.Module) -> Array:
    assert isinstance(layer, nn.Linear)
    rows = zip(array(layer.weight), array(layer.bias), strict=True)
    return np.array([sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in rows])


def convolved(x: Array, layer: nn.Module) -> Array:
    """A convolution of stride 2 and padding 1 of [C, H, W], one output value after another."""
    assert isinstance(layer, nn.Conv2d)
    weight, padded = array(layer.weight), np.pad(x, ((0, 0), (1, 1), (1, 1)))
    side = weight.shape[2]
    rows = range(0, padded.shape[1] - side + 1, 2)
    columns = range(0, padded.shape[2] - side + 1, 2)
    out = np.zeros((len(weight), len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            seen = padded[:, top : top + side, left : left + side]
            out[:, i, j] = (weight * seen).sum(axis=(1, 2, 3)) + array(layer.bias)
    return out


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def test_the_gradient_is_reversed_and_scaled() -> None:
    x = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(y, x)
    (y**2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-0.5, 1.0, -1.5]


def test_strength_0_lets_nothing_pass() -> None:
    x = torch.ones(3, requires_grad=True)
    reverse_gradient(x, 0.0).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().tolist() == [0.0, 0.0, 0.0]


def test_the_gradient_keeps_its_type_under_autocast() -> None:
    x = torch.ones(2, 4, dtype=torch.bfloat16, requires_grad=True)
    y = reverse_gradient(x, 0.5)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full_like(x, -0.5))


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strength must not be negative, found -0\.1"):
        reverse_gradient(torch.ones(1), -0.1)


def test_descent_trains_the_discriminator_and_deceives_it() -> None:
    """The gradient behind the reversal is as without it, before it the opposite one."""
    torch.manual_seed(1)
    encoder, network = nn.Linear(4, 6), build_discriminator("features", 6)
    x, domain = torch.rand(8, 4), torch.tensor([[0], [1]] * 4)
    gradients = []
    for reverse in (False, True):
        features = encoder(x)
        logits = network(reverse_gradient(features, 0.3) if reverse else features)
        both = [encoder.weight, next(network.parameters())]
        gradients.append(torch.autograd.grad(cross_entropy(logits, domain), both))
    (plain, plain_inside), (reversed_, reversed_inside) = gradients
    assert torch.equal(plain_inside, reversed_inside)
    assert plain.abs().max() > 1e-4
    torch.testing.assert_close(reversed_, -0.3 * plain)


@pytest.mark.parametrize(
    ("place", "shape", "patches"),
    [
        ("features", (6,), 1),
        ("early", (6, 7, 5), 1),
        ("early", (6, 1, 1), 1),
        ("early", (6, 1, 9), 1),
        ("patches", (3, 16, 16), 2 * 2),
        ("patches", (3, 24, 17), 3 * 2),
        ("patches", (3, 56, 40), 7 * 5),
    ],
)
def test_two_logits_for_each_patch(
    place: DiscriminatorPlace, shape: tuple[int, ...], patches: int
) -> None:
    logits = built(place)(torch.rand(5, *shape))
    assert logits.shape == (5, 2, patches)
    assert cross_entropy(logits, torch.zeros(5, patches, dtype=torch.long)).isfinite()


def test_features_against_loops() -> None:
    network, x = built("features"), torch.randn(3, 6)
    found, layers = array(network(x)), layers_of(network)
    assert [tuple(p.shape) for p in network.parameters()][::2] == [(500, 6), (500, 500), (2, 500)]
    for sample, logits in zip(array(x), found, strict=True):
        hidden = np.maximum(multiplied(sample, layers[0]), 0)
        hidden = np.maximum(multiplied(hidden, layers[1]), 0)
        np.testing.assert_allclose(logits[:, 0], multiplied(hidden, layers[2]), atol=1e-5)


def test_features_has_the_size_of_the_released_network() -> None:
    expected = (256 * 500 + 500) + (500 * 500 + 500) + (500 * 2 + 2)
    network = build_discriminator("features", 256)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_early_against_loops() -> None:
    network, x = built("early"), torch.randn(2, 6, 7, 5)
    found, layers = array(network(x)), layers_of(network)
    for sample, logits in zip(array(x), found, strict=True):
        hidden = leaky(convolved(leaky(convolved(sample, layers[0])), layers[1]))
        assert hidden.shape == (64, 2, 2)
        expected = multiplied(hidden.mean(axis=(1, 2)), layers[2])
        np.testing.assert_allclose(logits[:, 0], expected, atol=1e-5)


def test_patches_against_loops() -> None:
    network, x = built("patches"), torch.rand(2, 3, 24, 17)
    found, layers = array(network(x)), layers_of(network)
    assert [len(array(next(layer.parameters()))) for layer in layers] == [32, 64, 2]
    for sample, logits in zip(array(x), found, strict=True):
        hidden = leaky(convolved(leaky(convolved(sample, layers[0])), layers[1]))
        expected = convolved(hidden, layers[2])
        np.testing.assert_allclose(logits, expected.reshape(2, 6), atol=1e-5)


def test_a_patch_is_22_pixels_wide() -> None:
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    built("patches")(x)[0, 0, 3 * 8 + 4].backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(dim=0).nonzero()
    assert (seen.max(dim=0).values - seen.min(dim=0).values + 1).tolist() == [22, 22]


@pytest.mark.parametrize("place", PLACES)
def test_a_sample_is_judged_alone(place: DiscriminatorPlace) -> None:
    """No statistics of the batch: its other half would say to which domain the first belongs."""
    network = built(place).train()
    x = torch.rand(4, *INPUTS[place])
    other = torch.cat([x[:2], 10 + x[2:]])
    torch.testing.assert_close(network(x)[:2], network(other)[:2], rtol=0, atol=1e-6)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_what_it_looks_at_is_left_as_it_was(place: DiscriminatorPlace) -> None:
    x = torch.randn(4, *INPUTS[place])
    before = x.clone()
    built(place)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("place", PLACES)
def test_learns_to_tell_two_domains(place: DiscriminatorPlace) -> None:
    network = built(place)
    x = torch.rand(16, *INPUTS[place])
    x[8:] += 0.5
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    before = copy.deepcopy(list(network.parameters()))
    for _ in range(40):
        logits = network(x)
        domain = (torch.arange(16) >= 8).long()[:, None].expand(-1, logits.shape[2])
        loss = cross_entropy(logits, domain)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(dim=1) == domain).float().mean() > 0.9
    for old, new in zip(before, network.parameters(), strict=True):
        assert not torch.equal(old, new)


@pytest.mark.parametrize("place", PLACES)
def test_works_in_bfloat16(place: DiscriminatorPlace) -> None:
    network, x = built(place), torch.rand(2, *INPUTS[place])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(x)
    torch.testing.assert_close(logits.float(), network(x), rtol=0, atol=0.02)


@pytest.mark.parametrize("shape", [(2, 197, 6), (6, 7, 5), (2, 6)])
def test_early_wants_maps(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"maps \[B, C, h, w\], found .*choose 'features'") as e:
        built("early")(torch.rand(shape))
    assert str(shape) in str(e.value)


def test_an_unknown_place_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'late'.*features, early, patches"):
        build_discriminator("late", 3)  # type: ignore[arg-type]
