"""Information maximisation against sums written out in float64."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from socketlab.objectives import (
    diversity,
    entropy,
    information_maximisation,
    mean_entropy,
    next_running_mean,
)

GUARD = 1e-5
SHAPES = [(1, 2), (5, 3), (32, 17)]


def softmax(row: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def naive_entropy(row: Sequence[float], guard: float = GUARD) -> float:
    return -sum(p * math.log(p + guard) for p in row)


def naive_terms(logits: Tensor) -> tuple[float, list[float]]:
    rows = [softmax(row) for row in logits.double().tolist()]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return sum(naive_entropy(row) for row in rows) / len(rows), mean


def random_logits(shape: tuple[int, int], scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(shape[0] * 100 + shape[1])
    return scale * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("guard", [1e-5, 1e-2])
def test_entropy_is_the_written_out_sum(shape: tuple[int, int], guard: float) -> None:
    probabilities = random_logits(shape).softmax(dim=1)
    expected = [naive_entropy(row, guard) for row in probabilities.tolist()]
    assert entropy(probabilities, guard).tolist() == pytest.approx(expected, abs=1e-5)


def test_entropy_lies_between_zero_and_log_classes() -> None:
    values = entropy(torch.stack([torch.eye(6)[2], torch.full((6,), 1 / 6)]))
    assert values.tolist() == pytest.approx([-GUARD, math.log(6)], abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_terms_are_the_written_out_sums(shape: tuple[int, int]) -> None:
    logits = random_logits(shape)
    certain, mean = naive_terms(logits)
    assert mean_entropy(logits).item() == pytest.approx(certain, abs=1e-5)
    assert diversity(logits).item() == pytest.approx(naive_entropy(mean), abs=1e-5)
    expected = certain - naive_entropy(mean)
    assert information_maximisation(logits).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_running_mean_sets_value_and_slope_of_the_diversity(shape: tuple[int, int]) -> None:
    logits = random_logits(shape).double().requires_grad_()
    running = random_logits((1, shape[1]), 1.0).double().softmax(dim=1)[0]
    value = diversity(logits, running)
    assert value.item() == pytest.approx(naive_entropy(running.tolist()), abs=1e-9)

    (gradient,) = torch.autograd.grad(value, logits)
    slopes = [-math.log(m + GUARD) - m / (m + GUARD) for m in running.tolist()]
    for row, found in zip(logits.tolist(), gradient.tolist(), strict=True):
        p = softmax(row)
        average = sum(s * q for s, q in zip(slopes, p, strict=True))
        expected = [q * (s - average) / shape[0] for s, q in zip(slopes, p, strict=True)]
        assert found == pytest.approx(expected, abs=1e-9)


def test_running_mean_equal_to_the_batch_changes_nothing() -> None:
    logits = random_logits((8, 5)).requires_grad_()
    with_running_mean = information_maximisation(logits, logits.softmax(dim=1).mean(dim=0))
    without = information_maximisation(logits)
    assert with_running_mean.item() == pytest.approx(without.item(), abs=1e-6)
    (first,) = torch.autograd.grad(with_running_mean, logits)
    (second,) = torch.autograd.grad(without, logits)
    torch.testing.assert_close(first, second)


def random_prior(classes: int) -> Tensor:
    return random_logits((1, classes), 1.0).double().softmax(dim=1)[0].flip(0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("running", [False, True])
def test_class_prior_gives_the_divergence_from_it(shape: tuple[int, int], running: bool) -> None:
    logits = random_logits(shape).double()
    certain, mean = naive_terms(logits)
    memory = random_logits((1, shape[1]), 1.0).double().softmax(dim=1)[0] if running else None
    prior = random_prior(shape[1])
    p = mean if memory is None else memory.tolist()
    divergence = sum(a * math.log(a / b) for a, b in zip(p, prior.tolist(), strict=True))
    # The guard inside the logarithm of the entropy, which the divergence does not have.
    guard = naive_entropy(p) - naive_entropy(p, 0.0)
    expected = math.log(shape[1]) - divergence + guard
    assert diversity(logits, memory, class_prior=prior).item() == pytest.approx(expected, abs=1e-9)
    loss = information_maximisation(logits, memory, class_prior=prior)
    assert loss.item() == pytest.approx(certain - expected, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_uniform_class_prior_changes_nothing(shape: tuple[int, int]) -> None:
    logits = random_logits(shape).double().requires_grad_()
    uniform = torch.full((shape[1],), 1 / shape[1], dtype=torch.float64)
    with_prior = information_maximisation(logits, class_prior=uniform)
    without = information_maximisation(logits)
    assert with_prior.item() == pytest.approx(without.item(), abs=1e-12)
    (first,) = torch.autograd.grad(with_prior, logits)
    (second,) = torch.autograd.grad(without, logits)
    torch.testing.assert_close(first, second)


def test_descending_to_a_class_prior_uses_classes_as_often_as_it_says() -> None:
    logits = (0.1 * random_logits((40, 3))).requires_grad_()
    prior = torch.tensor([0.6, 0.3, 0.1], requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=10.0)
    for _ in range(500):
        optimiser.zero_grad()
        torch.autograd.backward(-diversity(logits, class_prior=prior))
        optimiser.step()
    assert prior.grad is None
    assert logits.softmax(dim=1).mean(dim=0).tolist() == pytest.approx([0.6, 0.3, 0.1], abs=5e-3)
    highest = diversity(logits, class_prior=prior)
    assert highest.item() == pytest.approx(math.log(3), abs=1e-3)


def test_class_prior_with_a_running_mean_slopes_as_at_the_running_mean() -> None:
    logits = random_logits((5, 3)).double().requires_grad_()
    prior = random_prior(3)
    batch_mean = logits.detach().softmax(dim=1).mean(dim=0)
    at_batch = information_maximisation(logits, batch_mean, class_prior=prior)
    (first,) = torch.autograd.grad(at_batch, logits)
    (second,) = torch.autograd.grad(information_maximisation(logits, class_prior=prior), logits)
    torch.testing.assert_close(first, second)


def test_descending_separates_equal_predictions() -> None:
    logits = (0.01 * random_logits((12, 3))).requires_grad_()
    optimiser = torch.optim.SGD([logits], lr=5.0)
    for _ in range(300):
        optimiser.zero_grad()
        torch.autograd.backward(information_maximisation(logits))
        optimiser.step()
    assert information_maximisation(logits).item() == pytest.approx(-math.log(3), abs=0.05)
    assert set(logits.argmax(dim=1).tolist()) == {0, 1, 2}


def test_gradients_are_those_of_finite_differences() -> None:
    logits = random_logits((4, 3)).double().requires_grad_()
    assert torch.autograd.gradcheck(information_maximisation, (logits,))
    prior = random_prior(3)
    assert torch.autograd.gradcheck(lambda x: diversity(x, class_prior=prior), (logits,))
    probabilities = logits.detach().softmax(dim=1).requires_grad_()
    assert torch.autograd.gradcheck(entropy, (probabilities,))


def test_certain_predictions_have_finite_gradients() -> None:
    logits = (500 * torch.eye(4)).requires_grad_()
    torch.autograd.backward(information_maximisation(logits))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_next_running_mean_follows_its_recursion(momentum: float) -> None:
    batches = [random_logits((size, 4)) for size in (3, 7, 5)]
    running: Tensor | None = None
    expected: list[float] = []
    for batch in batches:
        running = next_running_mean(batch.requires_grad_(), running, momentum)
        _, mean = naive_terms(batch.detach())
        pairs = zip(expected or mean, mean, strict=True)
        expected = [momentum * old + (1 - momentum) * new for old, new in pairs]
    assert running is not None
    assert not running.requires_grad
    assert running.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = random_logits((64, 9)).to(dtype)
    found = information_maximisation(logits, next_running_mean(logits).to(dtype))
    assert found.dtype == torch.float32
    assert torch.equal(mean_entropy(logits), mean_entropy(logits.float()))
    assert entropy(logits.softmax(dim=1)).dtype == torch.float32


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"logits must have shape \[B, K\].*found \(3,\)"):
        mean_entropy(torch.zeros(3))
    with pytest.raises(ValueError, match=r"found \(0, 3\)"):
        information_maximisation(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"running_mean must have shape \(3,\).*found \(4,\)"):
        diversity(torch.zeros(2, 3), torch.ones(4))
    with pytest.raises(ValueError, match=r"running_mean must have shape \(3,\)"):
        next_running_mean(torch.zeros(2, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"class_prior must have shape \(3,\).*found \(4,\)"):
        diversity(torch.zeros(2, 3), class_prior=torch.full((4,), 0.25))
    for wrong in ([1.0, 0.0], [0.5, 0.6], [1.5, -0.5], [math.nan, 0.5]):
        with pytest.raises(ValueError, match="class_prior must be positive and sum to one"):
            information_maximisation(torch.zeros(2, 2), class_prior=torch.tensor(wrong))
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), found 1.0"):
        next_running_mean(torch.zeros(2, 3), momentum=1.0)
    with pytest.raises(ValueError, match=r"guard must not be negative, found -1"):
        entropy(torch.ones(2, 1), guard=-1)
    with pytest.raises(ValueError, match=r"probabilities must have shape \[B, K\]"):
        entropy(torch.ones(2))
