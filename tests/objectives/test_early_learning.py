"""Early-learning regularisation against loops over samples in float64."""

import math

import pytest
import torch
from torch import Tensor

from socketlab.objectives import early_learning, next_targets

GUARD = 1e-4


def predictions(rows: int, classes: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(rows + classes + seed)
    return (2 * torch.randn(rows, classes, generator=generator)).softmax(dim=1)


def naive_early_learning(probabilities: Tensor, targets: Tensor) -> float:
    rows = list(zip(probabilities.double().tolist(), targets.double().tolist(), strict=True))
    values = []
    for p, t in rows:
        agreement = sum(a * b for a, b in zip(p, t, strict=True))
        values.append(math.log(1 - agreement + GUARD))
    return sum(values) / len(values)


@pytest.mark.parametrize("shape", [(1, 2), (4, 3), (32, 17)])
def test_regularisation_is_that_of_the_loop(shape: tuple[int, int]) -> None:
    p, targets = predictions(*shape), predictions(*shape, seed=1)
    found = early_learning(p, targets)
    assert found.shape == ()
    assert found.item() == pytest.approx(naive_early_learning(p, targets), rel=1e-5, abs=1e-6)


def test_gradient_reaches_the_predictions_alone() -> None:
    p = predictions(4, 3).double().requires_grad_()
    targets = predictions(4, 3, seed=1).double().requires_grad_()
    torch.autograd.backward(early_learning(p, targets))
    assert p.grad is not None and targets.grad is None
    assert torch.autograd.gradcheck(lambda p: early_learning(p, targets.detach()), (p,))


def test_full_agreement_is_finite() -> None:
    logits = torch.tensor([[60.0, 0.0], [0.0, 60.0]], requires_grad=True)
    p = logits.softmax(dim=1)
    loss = early_learning(p, p)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(math.log(GUARD), rel=1e-4)
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_minimising_it_moves_predictions_towards_their_mean() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    torch.autograd.backward(early_learning(logits.softmax(dim=1), torch.tensor([[0.8, 0.1, 0.1]])))
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_targets_are_those_of_the_loop(momentum: float) -> None:
    rounds = [3 * predictions(5, 4, seed) for seed in range(3)]  # rows need not sum to one
    found = torch.zeros(5, 4)
    expected = [[0.0] * 4 for _ in range(5)]
    for p in rounds:
        found = next_targets(found, p, momentum)
        for i, row in enumerate(p.double().tolist()):
            for k, value in enumerate(row):
                expected[i][k] = momentum * expected[i][k] + (1 - momentum) * value / sum(row)
    for row, wanted in zip(found.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-6)
    assert found.sum(dim=1).tolist() == pytest.approx([1 - momentum**3] * 5, abs=1e-6)


def test_momentum_is_seven_tenths_and_no_gradient_is_kept() -> None:
    p, previous = predictions(4, 3).requires_grad_(), predictions(4, 3, seed=1)
    found = next_targets(previous, p)
    assert torch.equal(found, next_targets(previous, p, 0.7))
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    p, targets = predictions(32, 17).to(dtype), predictions(32, 17, seed=1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, moved = early_learning(p, targets), next_targets(targets, p)
    assert found.dtype == moved.dtype == torch.float32
    assert torch.equal(found, early_learning(p.float(), targets.float()))
    assert torch.equal(moved, next_targets(targets.float(), p.float()))


def test_wrong_inputs_are_named() -> None:
    p = predictions(4, 3)
    with pytest.raises(ValueError, match=r"probabilities and targets .*\(4, 3\) and \(3, 3\)"):
        early_learning(p, p[:3])
    with pytest.raises(ValueError, match=r"previous and probabilities .*\(3, 3\) and \(4, 3\)"):
        next_targets(p[:3], p)
    with pytest.raises(ValueError, match=r"probabilities must have shape \[B, K\].*\(3,\)"):
        early_learning(p[0], p[0])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), found 1"):
        next_targets(p, p, 1.0)
