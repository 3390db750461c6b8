"""Confidence of pseudo-labels against a mixture fitted sample by sample in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.objectives import joint_confidence

GUARD = 1e-6


def naive_log_joint(f: Any, weights: Any) -> list[float]:
    """log pi N(f_i | mu, Sigma) of every sample, term by term."""
    dimensions = f.shape[1]
    total = sum(weights)
    if total == 0:
        return [-math.inf] * len(f)
    mean = sum(w * row for w, row in zip(weights, f, strict=True)) / total
    covariance = GUARD * np.eye(dimensions)
    for w, row in zip(weights, f, strict=True):
        covariance += w / total * np.outer(row - mean, row - mean)
    inverse, log_determinant = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
    found = []
    for row in f:
        distance = (row - mean) @ inverse @ (row - mean)
        density = -0.5 * (dimensions * math.log(2 * math.pi) + log_determinant + distance)
        found.append(math.log(total / len(f)) + density)
    return found


def naive_confidence(features: Tensor, probabilities: Tensor, labels: Tensor) -> list[float]:
    f = np.concatenate([features.double().numpy(), np.ones((len(features), 1))], axis=1)
    f = np.stack([row / np.linalg.norm(row) for row in f])
    p = probabilities.double().numpy()
    joint = [naive_log_joint(f, p[:, k]) for k in range(p.shape[1])]
    gaps = []
    for i, label in enumerate(labels.tolist()):
        others = [joint[k][i] for k in range(p.shape[1]) if k != label]
        gaps.append(max(joint[label][i] - max(others), 0.0))
    return [
        gap / max(gaps) * p[i, label]
        for i, (gap, label) in enumerate(zip(gaps, labels.tolist(), strict=True))
    ]


def random_samples(samples: int, dimensions: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clustered features, predictions and labels that are right in most, not in all cases."""
    generator = torch.Generator().manual_seed(samples + dimensions + classes)
    truth = torch.randint(classes, (samples,), generator=generator)
    centres = 2 * torch.randn(classes, dimensions, generator=generator)
    features = centres[truth] + torch.randn(samples, dimensions, generator=generator)
    logits = 2 * torch.eye(classes)[truth] + torch.randn(samples, classes, generator=generator)
    p = logits.softmax(dim=1)
    return features, p, p.argmax(dim=1)


@pytest.mark.parametrize("shape", [(12, 2, 2), (60, 8, 5), (10, 20, 3), (40, 3, 17)])
def test_confidence_is_that_of_the_loop(shape: tuple[int, int, int]) -> None:
    """Also with fewer samples than dimensions, where each covariance is singular but for its guard.

    Labels are the model's, so that some of them go against the mixture.
    """
    features, p, labels = random_samples(*shape)
    found = joint_confidence(features, p, labels)
    expected = naive_confidence(features, p, labels)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert 0 <= min(found) <= max(found) <= 1 and max(found) > 0.1


def test_labels_against_the_mixture_have_no_weight() -> None:
    features, p, labels = random_samples(60, 8, 5)
    right = joint_confidence(features, p, labels)
    sample = int(right.argmax())
    other = labels.clone()
    other[sample] = (labels[sample] + 1) % 5
    assert right[sample] > 0.5
    assert joint_confidence(features, p, other)[sample] == 0


def test_wrong_labels_weigh_less_than_right_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.arange(300) % 3
    features = 6 * torch.eye(3)[truth] + torch.randn(300, 3, generator=generator)
    logits = torch.eye(3)[truth] + torch.randn(300, 3, generator=generator)
    p = logits.softmax(dim=1)
    labels = p.argmax(dim=1)
    found, wrong = joint_confidence(features, p, labels), labels != truth
    assert wrong.sum() > 30
    assert found[wrong].mean() < 0.2 * found[~wrong].mean()


def test_a_class_without_probability_is_left_out() -> None:
    features, p, labels = random_samples(60, 8, 5)
    longer = torch.cat([p, torch.zeros(60, 1)], dim=1)
    expected = joint_confidence(features, p, labels)
    assert torch.equal(joint_confidence(features, longer, labels), expected)
    labels = labels.clone()
    labels[0] = 5  # a label that no sample has any probability of
    assert joint_confidence(features, longer, labels)[0] == 0


def test_one_class_alone_has_the_models_confidence() -> None:
    features, _, _ = random_samples(12, 2, 2)
    p = torch.rand(12, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 0.0])
    found = joint_confidence(features, p, torch.zeros(12, dtype=torch.int64))
    assert torch.equal(found, p[:, 0])


def test_no_positive_gap_is_no_confidence() -> None:
    features = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    found = joint_confidence(features, torch.eye(2), torch.tensor([1, 0]))
    assert found.tolist() == [0.0, 0.0]


def test_autocast_and_half_precision_change_nothing() -> None:
    features, p, labels = random_samples(60, 8, 5)
    features, p = features.bfloat16(), p.bfloat16()
    expected = joint_confidence(features.float(), p.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = joint_confidence(features, p, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert joint_confidence(features.double(), p, labels).dtype == torch.float64


def test_wrong_inputs_are_named() -> None:
    features, p, labels = random_samples(12, 2, 2)
    expected = r"one row per sample each, found \(12, 2\), \(11, 2\) and \(12,\)"
    with pytest.raises(ValueError, match=expected):
        joint_confidence(features, p[:11], labels)
    with pytest.raises(ValueError, match=r"found \(12, 2\), \(12, 2\) and \(11,\)"):
        joint_confidence(features, p, labels[:11])
    with pytest.raises(ValueError, match=r"features hold values that are not finite"):
        joint_confidence(features / 0, p, labels)
    for wrong in (p.log(), 0 * p, p * math.nan):
        with pytest.raises(ValueError, match=r"probabilities must not be negative.*softmax"):
            joint_confidence(features, wrong, labels)
    with pytest.raises(ValueError, match=r"labels must lie between 0 and 1, found .* from 0 to 2"):
        joint_confidence(features, p, torch.tensor([0, 2] * 6))
