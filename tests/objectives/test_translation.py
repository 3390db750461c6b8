"""Domain and distillation terms against sums written out in float64."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from socketlab.objectives import (
    domain_accuracy,
    domain_classification,
    knowledge_distillation,
    reversal_strength,
)

# Of both domains alike many, one sample of one, patches, and a single patch.
DOMAINS = [
    ([True, False], 1),
    ([False, True, False, False, False], 4),
    ([True, True, False, True], 9),
]


def random_logits(*shape: int, scale: float = 3.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def softmax(row: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def naive_domains(
    logits: Tensor, is_target: Sequence[bool], value: Callable[[list[float], int], float]
) -> float:
    """Mean over the two domains of the mean of `value` over samples and patches."""
    means = []
    for domain in (0, 1):
        values = []
        for sample, target in zip(logits.double().tolist(), is_target, strict=True):
            if int(target) == domain:
                values += [
                    value([first, second], domain)
                    for first, second in zip(sample[0], sample[1], strict=True)
                ]
        means.append(sum(values) / len(values))
    return sum(means) / 2


def surprise(row: list[float], domain: int) -> float:
    return -math.log(softmax(row)[domain])


def correct(row: list[float], domain: int) -> float:
    return float((row[1] > row[0]) == (domain == 1))


@pytest.mark.parametrize(("is_target", "patches"), DOMAINS)
def test_domain_terms_are_the_written_out_sums(is_target: list[bool], patches: int) -> None:
    logits = random_logits(len(is_target), 2, patches)
    domains = torch.tensor(is_target)
    expected = naive_domains(logits, is_target, surprise)
    assert domain_classification(logits, domains).item() == pytest.approx(expected, abs=1e-5)
    expected = naive_domains(logits, is_target, correct)
    assert domain_accuracy(logits, domains).item() == pytest.approx(expected, abs=1e-6)
    exact = domain_classification(logits.double(), domains).item()
    assert exact == pytest.approx(naive_domains(logits, is_target, surprise), abs=1e-12)


def test_more_samples_of_one_domain_change_nothing() -> None:
    logits = random_logits(4, 2, 3)
    few = torch.tensor([True, False, False, True])
    order = [0, 1, 2, 3, 1, 2, 1, 2]
    for term in (domain_classification, domain_accuracy):
        assert term(logits[order], few[order]).item() == pytest.approx(
            term(logits, few).item(), abs=1e-6
        )


def test_descending_tells_the_domains_apart() -> None:
    logits = torch.zeros(5, 2, 2, requires_grad=True)
    is_target = torch.tensor([True, False, False, False, False])
    assert domain_classification(logits, is_target).item() == pytest.approx(math.log(2))
    optimiser = torch.optim.SGD([logits], lr=5.0)
    for _ in range(50):
        optimiser.zero_grad()
        torch.autograd.backward(domain_classification(logits, is_target))
        optimiser.step()
    assert domain_classification(logits, is_target).item() < 0.1
    found = domain_accuracy(logits, is_target)
    assert found.item() == 1
    assert not found.requires_grad
    assert found.shape == ()


def test_undecided_and_one_sided_discriminators_are_at_chance() -> None:
    is_target = torch.tensor([True, False, False, False])
    assert domain_accuracy(torch.zeros(4, 2, 3), is_target).item() == 0.5
    for says in (0, 1):
        logits = torch.zeros(4, 2, 3)
        logits[:, says] = 1
        assert domain_accuracy(logits, is_target).item() == 0.5


def test_equal_logits_count_as_source() -> None:
    logits = torch.tensor([[[0.0]], [[0.0]], [[1.0]]]).repeat(1, 2, 1)
    logits[2, 1] = 2
    assert domain_accuracy(logits, torch.tensor([False, False, True])).item() == 1


def test_gradients_are_those_of_finite_differences() -> None:
    is_target = torch.tensor([True, False, False])
    logits = random_logits(3, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: domain_classification(x, is_target), (logits,))
    teacher = random_logits(4, 3, seed=1).double()
    student = random_logits(4, 3, seed=2).double().requires_grad_()
    for weighted in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, weighted=weighted: knowledge_distillation(
                teacher, x, confidence_weighted=weighted
            ),
            (student,),
        )


def test_certain_discriminators_have_finite_losses_and_gradients() -> None:
    logits = torch.tensor([[[500.0], [-500.0]], [[500.0], [-500.0]]], requires_grad=True)
    loss = domain_classification(logits, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(500)
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert logits.grad[:, :, 0].tolist() == [[0.5, -0.5], [0, 0]]


@pytest.mark.parametrize("progress", [0.0, 0.03, 0.2, 0.5, 1.0])
def test_reversal_strength_is_a_hyperbolic_tangent(progress: float) -> None:
    # 2 / (1 + exp(-2 x)) - 1 = tanh x
    assert reversal_strength(progress) == pytest.approx(math.tanh(5 * progress), abs=1e-12)


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_progress_outside_of_training_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match=r"progress must lie in \[0, 1\], found"):
        reversal_strength(progress)


@pytest.mark.parametrize("shape", [(1, 2), (6, 3), (32, 17)])
@pytest.mark.parametrize("weighted", [False, True])
def test_distillation_is_the_written_out_sum(shape: tuple[int, int], weighted: bool) -> None:
    teacher, student = random_logits(*shape, seed=1), random_logits(*shape, seed=2)
    total = 0.0
    for row, answer in zip(teacher.double().tolist(), student.double().tolist(), strict=True):
        t, s = softmax(row), softmax(answer)
        entropy = -sum(p * math.log(p) for p in t)
        weight = 1 - entropy / math.log(shape[1]) if weighted else 1
        total += weight * sum(p * math.log(p / q) for p, q in zip(t, s, strict=True))
    found = knowledge_distillation(teacher, student, confidence_weighted=weighted)
    assert found.item() == pytest.approx(total / shape[0], rel=1e-5)


def test_the_teacher_is_a_constant_and_the_slope_is_the_difference_of_answers() -> None:
    teacher = random_logits(5, 4, seed=1).double().requires_grad_()
    student = random_logits(5, 4, seed=2).double().requires_grad_()
    torch.autograd.backward(knowledge_distillation(teacher, student))
    assert teacher.grad is None
    assert student.grad is not None
    expected = (student.softmax(dim=1) - teacher.softmax(dim=1)) / 5
    torch.testing.assert_close(student.grad, expected.detach())


def test_weighting_ignores_a_teacher_that_knows_nothing_and_believes_a_certain_one() -> None:
    student = random_logits(1, 4)
    unsure, certain = torch.zeros(1, 4), 50 * torch.eye(4)[:1]
    assert knowledge_distillation(unsure, student).item() > 0.1
    assert knowledge_distillation(unsure, student, confidence_weighted=True).item() == 0
    assert knowledge_distillation(certain, student, confidence_weighted=True).item() == (
        pytest.approx(knowledge_distillation(certain, student).item(), rel=1e-6)
    )
    # Divided by the batch, not by the weights: the unsure sample halves the sum of both.
    both = knowledge_distillation(
        torch.cat([unsure, certain]), student.repeat(2, 1), confidence_weighted=True
    )
    alone = knowledge_distillation(certain, student)
    assert both.item() == pytest.approx(alone.item() / 2, rel=1e-6)


def test_very_different_answers_have_finite_losses_and_gradients() -> None:
    teacher = 500 * torch.eye(3)
    student = (500 * torch.eye(3).roll(1, dims=1)).requires_grad_()
    for weighted in (False, True):
        loss = knowledge_distillation(teacher, student, confidence_weighted=weighted)
        assert loss.item() == pytest.approx(500)
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, is_target = random_logits(64, 2, 9).to(dtype), torch.arange(64) % 3 == 0
    for term in (domain_classification, domain_accuracy):
        assert torch.equal(term(logits, is_target), term(logits.float(), is_target))
    teacher, student = (
        random_logits(64, 9, seed=1).to(dtype),
        random_logits(64, 9, seed=2).to(dtype),
    )
    found = knowledge_distillation(teacher, student, confidence_weighted=True)
    full = knowledge_distillation(teacher.float(), student.float(), confidence_weighted=True)
    assert found.dtype == torch.float32
    assert torch.equal(found, full)


@pytest.mark.parametrize("term", [domain_classification, domain_accuracy])
def test_wrong_domains_are_named(term: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, both = torch.zeros(2, 2, 3), torch.tensor([True, False])
    for wrong in (torch.zeros(2, 2), torch.zeros(2, 3, 3), torch.zeros(2, 2, 0)):
        with pytest.raises(ValueError, match=r"logits must have shape \[B, 2, P\].*found \(2,"):
            term(wrong, both)
    with pytest.raises(ValueError, match=r"bool of shape \(2,\).*found torch.bool of shape \(1,\)"):
        term(logits, both[:1])
    with pytest.raises(ValueError, match=r"is_target must be bool.*found torch.int64"):
        term(logits, both.long())
    with pytest.raises(ValueError, match="holds 2 samples of the target domain and 0 of the other"):
        term(logits, torch.tensor([True, True]))
    with pytest.raises(ValueError, match="holds 0 samples of the target domain and 2 of the other"):
        term(logits, torch.tensor([False, False]))


def test_wrong_answers_to_distil_are_named() -> None:
    with pytest.raises(ValueError, match=r"the same shape, found \(2, 3\) and \(3, 3\)"):
        knowledge_distillation(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"teacher_logits must have shape \[B, K\].*found \(3,\)"):
        knowledge_distillation(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="confidence_weighted needs at least two classes"):
        knowledge_distillation(torch.zeros(2, 1), torch.zeros(2, 1), confidence_weighted=True)
