"""Feature distances of pairs against loops over rows in float64."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from socketlab.objectives import PairReduction, feature_distance

REDUCTIONS: tuple[PairReduction, ...] = get_args(PairReduction)


def random_pairs(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(shape[0] + 10 * shape[1])
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator) + 0.5


def naive_distance(source: Tensor, target: Tensor, reduction: PairReduction) -> float:
    rows: list[tuple[list[float], list[float]]] = list(
        zip(source.double().tolist(), target.double().tolist(), strict=True)
    )
    if reduction == "cosine":
        values = []
        for s, t in rows:
            product = sum(a * b for a, b in zip(s, t, strict=True))
            values.append(1 - product / (math.hypot(*s) * math.hypot(*t)))
        return sum(values) / len(values)
    squares = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) for s, t in rows]
    if reduction == "frobenius":
        return math.sqrt(sum(squares))
    return sum(squares) / len(rows) / source.shape[1]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (32, 256)])
def test_distance_is_that_of_the_loop(reduction: PairReduction, shape: tuple[int, int]) -> None:
    source, target = random_pairs(shape)
    found = feature_distance(source, target, reduction)
    assert found.shape == ()
    expected = naive_distance(source, target, reduction)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_mean_squared_is_the_default() -> None:
    source, target = random_pairs((3, 7))
    assert torch.equal(feature_distance(source, target), torch.nn.MSELoss()(source, target))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_is_that_of_finite_differences(reduction: PairReduction) -> None:
    source, target = (t.double().requires_grad_() for t in random_pairs((3, 4)))

    def distance(source: Tensor, target: Tensor) -> Tensor:
        return feature_distance(source, target, reduction)

    assert torch.autograd.gradcheck(distance, (source, target))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("zeros", [True, False])
def test_gradient_is_finite_where_pairs_coincide(reduction: PairReduction, zeros: bool) -> None:
    source, _ = random_pairs((4, 5))
    source = torch.zeros(4, 5) if zeros else source
    target = source.clone().requires_grad_()
    distance = feature_distance(source, target, reduction)
    torch.autograd.backward(distance)
    # A row of zeros has no direction: its cosine counts as zero.
    expected = 1.0 if zeros and reduction == "cosine" else 0.0
    assert distance.item() == pytest.approx(expected, abs=1e-6)
    assert target.grad is not None
    assert target.grad.abs().max() < 1e-6


def test_cosine_gradient_of_a_zero_row_has_ordinary_size() -> None:
    source, _ = random_pairs((4, 5))
    target = torch.zeros(4, 5).requires_grad_()
    torch.autograd.backward(feature_distance(source, target, "cosine"))
    assert target.grad is not None
    assert target.grad.norm(dim=1).tolist() == pytest.approx([0.25] * 4, abs=1e-5)


def test_cosine_is_blind_to_length_and_the_others_are_not() -> None:
    source, target = random_pairs((8, 16))
    for reduction in REDUCTIONS:
        once = feature_distance(source, target, reduction).item()
        longer = feature_distance(source, 5 * target, reduction).item()
        assert (longer == pytest.approx(once, rel=1e-5)) == (reduction == "cosine")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(
    reduction: PairReduction, dtype: torch.dtype
) -> None:
    source, target = ((100 * t).to(dtype) for t in random_pairs((32, 256)))
    found = feature_distance(source, target, reduction)
    assert found.dtype == torch.float32
    expected = naive_distance(source, target, reduction)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_wrong_inputs_are_named() -> None:
    expected = r"source and target must have the same shape, found \(4, 256\) and \(4, 128\)"
    with pytest.raises(ValueError, match=expected):
        feature_distance(torch.zeros(4, 256), torch.zeros(4, 128))
    with pytest.raises(ValueError, match=r"source must have shape \[B, D\].*found \(4,\)"):
        feature_distance(torch.zeros(4), torch.zeros(4))
    with pytest.raises(ValueError, match=r"found \(0, 4\)"):
        feature_distance(torch.zeros(0, 4), torch.zeros(0, 4))
    with pytest.raises(ValueError, match=r"'mse'. Known: frobenius, mean_squared, cosine"):
        feature_distance(torch.zeros(2, 2), torch.zeros(2, 2), "mse")  # type: ignore[arg-type]
