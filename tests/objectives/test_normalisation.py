"""Statistics and their distances against loops over channels in float64."""

import math
import statistics as numbers
from typing import get_args

import pytest
import torch
from torch import Tensor

from socketlab.objectives import StatisticsForm, batch_statistics, statistics_distance

Layers = list[tuple[Tensor, Tensor]]
FORMS: tuple[StatisticsForm, ...] = get_args(StatisticsForm)


def random_layers(channels: list[int], seed: int, scale: float = 1.0) -> Layers:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            scale * torch.randn(count, generator=generator),
            scale**2 * (0.2 + 2 * torch.rand(count, generator=generator)),
        )
        for count in channels
    ]


def naive_distance(
    layers: Layers, reference: Layers, form: StatisticsForm, first_weight: float
) -> float:
    total = weights = 0.0
    for index, (layer, source) in enumerate(zip(layers, reference, strict=True)):
        columns = [t.double().tolist() for t in (*layer, *source)]
        rows = list(zip(*columns, strict=True))
        weight = first_weight if index == 0 else 1.0
        guard = 1e-5 + 1e-3 * numbers.median_low(columns[3])
        if form == "released_sum":
            value = math.sqrt(sum((m - ms) ** 2 for m, _, ms, _ in rows))
            value += math.sqrt(sum((v - vs) ** 2 for _, v, _, vs in rows))
        elif form == "normalised":
            shift = stretch = 0.0
            for m, v, ms, vs in rows:
                sigma = math.sqrt(vs + guard)
                shift += ((m - ms) / sigma) ** 2 / len(rows)
                stretch += (math.sqrt(v + guard) / sigma - 1) ** 2 / len(rows)
            value = math.sqrt(shift) + math.sqrt(stretch)
        else:
            value = 0.0
            for m, v, ms, vs in rows:
                first = torch.distributions.Normal(m, math.sqrt(v + guard))
                second = torch.distributions.Normal(ms, math.sqrt(vs + guard))
                there = torch.distributions.kl_divergence(first, second)
                back = torch.distributions.kl_divergence(second, first)
                value += (there + back).item() / len(rows)
        total += weight * value
        weights += weight
    return total if form == "released_sum" else total / weights


@pytest.mark.parametrize("shape", [(6, 3), (1, 4), (4, 3, 5, 2), (1, 2, 7, 7)])
def test_batch_statistics_are_biased_means(shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))) + 1
    mean, variance = batch_statistics(x)
    for channel in range(shape[1]):
        values = x[:, channel].double().flatten().tolist()
        assert mean[channel].item() == pytest.approx(numbers.fmean(values), abs=1e-5)
        assert variance[channel].item() == pytest.approx(numbers.pvariance(values), abs=1e-4)


def test_batch_statistics_are_what_batch_normalisation_divides_by() -> None:
    x = 5 * torch.randn(8, 6, 4, 4, generator=torch.Generator().manual_seed(0)) - 2
    mean, variance = batch_statistics(x)
    expected = torch.nn.BatchNorm2d(6).train()(x)
    found = (x - mean.view(-1, 1, 1)) / torch.sqrt(variance.view(-1, 1, 1) + 1e-5)
    torch.testing.assert_close(found, expected)


def test_batch_statistics_gradient() -> None:
    x = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(batch_statistics, (x.requires_grad_(),))


def test_half_precision_statistics_do_not_overflow() -> None:
    x = torch.full((4, 2, 64, 64), 60_000.0, dtype=torch.float16)
    mean, variance = batch_statistics(x)
    assert mean.dtype == variance.dtype == torch.float32
    assert mean.tolist() == pytest.approx([60_000.0] * 2, rel=1e-3)
    assert variance.tolist() == pytest.approx([0.0] * 2, abs=1.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first_layer_weight", [1.0, 10.0])
@pytest.mark.parametrize("channels", [[1], [5], [3, 8, 2]])
def test_distance_is_that_of_the_loop(
    form: StatisticsForm, first_layer_weight: float, channels: list[int]
) -> None:
    layers, reference = random_layers(channels, 1), random_layers(channels, 2)
    found = statistics_distance(layers, reference, form, first_layer_weight)
    expected = naive_distance(layers, reference, form, first_layer_weight)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_distance_gradient_is_that_of_finite_differences(form: StatisticsForm) -> None:
    reference = [(m.double(), v.double()) for m, v in random_layers([3, 2], 2)]
    flat = [t.double().requires_grad_() for pair in random_layers([3, 2], 1) for t in pair]

    def distance(*flat: Tensor) -> Tensor:
        pairs = [(flat[0], flat[1]), (flat[2], flat[3])]
        return statistics_distance(pairs, reference, form, first_layer_weight=3.0)

    assert torch.autograd.gradcheck(distance, flat)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source_variance", [0.0, 1e-40, 1.0])
@pytest.mark.parametrize("same", [True, False])
def test_gradients_are_finite_everywhere(
    form: StatisticsForm, source_variance: float, same: bool
) -> None:
    reference = [(torch.zeros(4), torch.full((4,), source_variance))]
    shift = 0.0 if same else 1.0
    mean = torch.full((4,), shift).requires_grad_()
    variance = (reference[0][1] + shift * torch.tensor([0.0, 0.0, 1.0, 9.0])).requires_grad_()
    distance = statistics_distance([(mean, variance)], reference, form)
    torch.autograd.backward(distance)
    assert mean.grad is not None
    assert variance.grad is not None
    assert torch.isfinite(torch.cat([mean.grad, variance.grad])).all()
    assert (distance.item() == 0) == same


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_a_constant_input(form: StatisticsForm) -> None:
    x = torch.ones(4, 3, 2, 2).requires_grad_()
    distance = statistics_distance([batch_statistics(x)], random_layers([3], 5), form)
    torch.autograd.backward(distance)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("form", ["normalised", "gaussian_kl"])
def test_scale_does_not_depend_on_units_channels_or_layers(form: StatisticsForm) -> None:
    layers, reference = random_layers([6], 1), random_layers([6], 2)
    base = statistics_distance(layers, reference, form).item()
    repeated = [(m.repeat(10), v.repeat(10)) for m, v in layers]
    wide = statistics_distance(repeated, [(m.repeat(10), v.repeat(10)) for m, v in reference], form)
    deep = statistics_distance(layers * 20, reference * 20, form)
    large = [(30 * m, 900 * v) for m, v in layers]
    units = statistics_distance(large, [(30 * m, 900 * v) for m, v in reference], form)
    assert [wide.item(), deep.item(), units.item()] == pytest.approx([base] * 3, rel=1e-3)


def test_released_sum_grows_with_layers() -> None:
    layers, reference = random_layers([6], 1), random_layers([6], 2)
    one = statistics_distance(layers, reference, "released_sum")
    twenty = statistics_distance(layers * 20, reference * 20, "released_sum")
    assert twenty.item() == pytest.approx(20 * one.item(), rel=1e-5)


def test_a_dead_channel_is_not_all_of_the_distance() -> None:
    reference = random_layers([64], 2)
    reference[0][1][7] = 1e-40
    layers = [(m.clone(), v.clone()) for m, v in reference]
    layers[0][0][7] += 0.05
    found = statistics_distance(layers, reference).item()
    unguarded = 0.05 / math.sqrt(1e-5) / math.sqrt(64)
    assert 0 < found < 0.15 * unguarded
    assert statistics_distance(reference, reference).item() == 0


def test_descent_brings_the_statistics_back() -> None:
    """A scale and an offset per channel, learnt with the default form alone."""
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(4))
    reference = [batch_statistics(x)]
    scale, offset = torch.tensor([3.0, 0.4, 1.0]), torch.tensor([1.0, -2.0, 0.0])
    scale.requires_grad_()
    offset.requires_grad_()
    optimiser = torch.optim.Adam([scale, offset], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        found = [batch_statistics(scale * x + offset)]
        torch.autograd.backward(statistics_distance(found, reference))
        optimiser.step()
    assert scale.tolist() == pytest.approx([1.0] * 3, abs=0.1)
    assert offset.tolist() == pytest.approx([0.0] * 3, abs=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_float32(form: StatisticsForm) -> None:
    layers, reference = random_layers([5, 4], 1), random_layers([5, 4], 2)
    half = [(m.half(), v.half()) for m, v in layers]
    half_reference = [(m.half(), v.half()) for m, v in reference]
    found = statistics_distance(half, half_reference, form)
    expected = statistics_distance(
        [(m.float(), v.float()) for m, v in half],
        [(m.float(), v.float()) for m, v in half_reference],
        form,
    )
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_wrong_inputs_are_named() -> None:
    layers = random_layers([3, 2], 1)
    with pytest.raises(ValueError, match=r"\[B, C, H, W\] or \[B, C\].*found \(2, 3, 4\)"):
        batch_statistics(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"found \(0, 3\)"):
        batch_statistics(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"same number of layers.*found 2 and 1"):
        statistics_distance(layers, layers[:1])
    with pytest.raises(ValueError, match=r"at least one, found 0 and 0"):
        statistics_distance([], [])
    with pytest.raises(ValueError, match=r"layer 0 and reference mean .*found \(3,\) and \(2,\)"):
        statistics_distance(layers, layers[::-1])
    with pytest.raises(ValueError, match=r"mean of layer 0 must have shape \[C\].*\(3, 1\)"):
        statistics_distance([(layers[0][0].unsqueeze(1), layers[0][1])], layers[:1])
    with pytest.raises(ValueError, match=r"first_layer_weight must be positive, found 0"):
        statistics_distance(layers, layers, first_layer_weight=0)
    with pytest.raises(ValueError, match=r"'sum'. Known: normalised, released_sum, gaussian_kl"):
        statistics_distance(layers, layers, "sum")  # type: ignore[arg-type]
