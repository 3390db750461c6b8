"""Pseudo-labels against loops over samples and classes in float64."""

import math

import pytest
import torch
from torch import Tensor

from socketlab.objectives import centroids, pseudo_labels

Rows = list[list[float]]


def naive_centroid(features: Rows, weights: list[float]) -> list[float]:
    total = sum(weights)
    return [
        sum(w * row[d] for w, row in zip(weights, features, strict=True)) / total
        for d in range(len(features[0]))
    ]


def cosine(first: list[float], second: list[float]) -> float:
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / (math.hypot(*first) * math.hypot(*second))


def naive_pseudo_labels(features: Rows, weights: Rows, rounds: int) -> tuple[list[int], Rows]:
    longer = [[*row, 1.0] for row in features]
    directions = [[value / math.hypot(*row) for value in row] for row in longer]
    labels: list[int] = []
    similarity: Rows = []
    for _ in range(rounds):
        similarity = [[-math.inf] * len(weights[0]) for _ in directions]
        for k in range(len(weights[0])):
            column = [row[k] for row in weights]
            if sum(column) == 0:
                continue
            centre = naive_centroid(directions, column)
            for i, direction in enumerate(directions):
                similarity[i][k] = cosine(direction, centre)
        labels = [max(range(len(row)), key=row.__getitem__) for row in similarity]
        weights = [[float(k == label) for k in range(len(weights[0]))] for label in labels]
    return labels, similarity


def random_samples(samples: int, dimensions: int, classes: int) -> tuple[Tensor, Tensor]:
    """Clustered features and predictions that are right in most, not in all cases."""
    generator = torch.Generator().manual_seed(samples + dimensions + classes)
    truth = torch.randint(classes, (samples,), generator=generator)
    centres = 2 * torch.randn(classes, dimensions, generator=generator)
    features = centres[truth] + torch.randn(samples, dimensions, generator=generator)
    logits = 1.5 * torch.eye(classes)[truth]
    logits = logits + torch.randn(samples, classes, generator=generator)
    return features, logits.softmax(dim=1)


@pytest.mark.parametrize("shape", [(1, 2, 2), (9, 4, 3), (60, 8, 5), (40, 3, 17)])
def test_centroids_are_weighted_means(shape: tuple[int, int, int]) -> None:
    features, weights = random_samples(*shape)
    found = centroids(features, weights)
    assert found.shape == (shape[2], shape[1])
    for k, row in enumerate(found.tolist()):
        expected = naive_centroid(features.tolist(), weights[:, k].tolist())
        assert row == pytest.approx(expected, abs=1e-5)


def test_centroid_of_a_class_without_weight_is_zero() -> None:
    weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = centroids(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), weights)
    assert found.tolist() == [[2.0, 3.0], [0.0, 0.0]]


def test_gradient_of_centroids() -> None:
    features, weights = (t.double().requires_grad_() for t in random_samples(6, 3, 2))
    assert torch.autograd.gradcheck(centroids, (features, weights))


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("shape", [(4, 2, 2), (9, 4, 3), (60, 8, 5), (40, 3, 17)])
def test_pseudo_labels_are_those_of_the_loop(shape: tuple[int, int, int], rounds: int) -> None:
    features, probabilities = random_samples(*shape)
    found = pseudo_labels(features, probabilities, rounds)
    labels, similarity = naive_pseudo_labels(
        features.double().tolist(), probabilities.double().tolist(), rounds
    )
    assert found.labels.dtype == torch.int64
    assert found.labels.tolist() == labels
    for row, expected in zip(found.similarity.tolist(), similarity, strict=True):
        assert row == pytest.approx(expected, abs=1e-5)


def test_a_second_round_changes_labels() -> None:
    """Otherwise the test above would not tell one round from two."""
    features, probabilities = random_samples(40, 3, 17)
    first = pseudo_labels(features, probabilities, rounds=1).labels
    assert not torch.equal(first, pseudo_labels(features, probabilities, rounds=2).labels)


def test_unassigned_classes_are_left_out_of_later_rounds() -> None:
    features, probabilities = random_samples(40, 3, 17)
    first = pseudo_labels(features, probabilities, rounds=1)
    second = pseudo_labels(features, probabilities, rounds=2)
    empty = [k for k in range(17) if k not in first.labels.tolist()]
    assert empty
    assert torch.isfinite(first.similarity).all()
    assert (second.similarity[:, empty] == -math.inf).all()
    assert not set(second.labels.tolist()) & set(empty)
    assert (second.similarity.softmax(dim=1)[:, empty] == 0).all()


def test_a_class_without_probability_is_left_out_at_once() -> None:
    """Its centroid of zeros would beat a class whose features point the other way."""
    features = torch.tensor([[-9.0, 0.5], [9.0, -0.5], [-9.0, 0.0]])
    probabilities = torch.tensor([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    found = pseudo_labels(features, probabilities, rounds=1)
    assert found.labels.tolist() == [1, 0, 1]
    assert (found.similarity[:, 2] == -math.inf).all()


def test_features_repair_wrong_predictions() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.arange(300) % 3
    features = 6 * torch.eye(3)[truth] + torch.randn(300, 3, generator=generator)
    logits = torch.eye(3)[truth] + torch.randn(300, 3, generator=generator)
    predicted = (logits.argmax(dim=1) == truth).float().mean()
    found = pseudo_labels(features, logits.softmax(dim=1))
    assert predicted < 0.8
    assert (found.labels == truth).float().mean() > 0.98


def test_no_gradient_is_kept() -> None:
    features, probabilities = random_samples(9, 4, 3)
    found = pseudo_labels(features.requires_grad_(), probabilities.requires_grad_())
    assert not found.similarity.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    features, probabilities = (t.to(dtype) for t in random_samples(60, 8, 5))
    found = pseudo_labels(features, probabilities)
    expected = pseudo_labels(features.float(), probabilities.float())
    assert found.similarity.dtype == torch.float32
    assert torch.equal(found.similarity, expected.similarity)


def test_autocast_changes_nothing() -> None:
    features, probabilities = random_samples(60, 8, 5)
    expected = pseudo_labels(features, probabilities)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pseudo_labels(features, probabilities)
    assert torch.equal(found.similarity, expected.similarity)


def test_rounding_above_one_is_allowed() -> None:
    features, probabilities = random_samples(9, 4, 3)
    probabilities[0] = torch.tensor([1 + 2e-7, 0.0, 0.0])
    assert pseudo_labels(features, probabilities).labels.shape == (9,)


def test_wrong_inputs_are_named() -> None:
    features, probabilities = random_samples(9, 4, 3)
    with pytest.raises(ValueError, match=r"one row per sample each, found \(9, 4\) and \(8, 3\)"):
        pseudo_labels(features, probabilities[:8])
    with pytest.raises(ValueError, match=r"features must have shape \[N, D\].*\(9, 4, 1\)"):
        centroids(features.unsqueeze(2), probabilities)
    with pytest.raises(ValueError, match=r"probabilities must have shape \[N, K\].*\(9,\)"):
        pseudo_labels(features, probabilities[:, 0])
    with pytest.raises(ValueError, match=r"rounds must be at least 1, found 0"):
        pseudo_labels(features, probabilities, rounds=0)
    with pytest.raises(ValueError, match=r"features hold values that are not finite"):
        pseudo_labels(features / 0, probabilities)
    for wrong in (
        probabilities.log(),
        5 * probabilities,
        0 * probabilities,
        probabilities * math.nan,
    ):
        with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\].*softmax"):
            pseudo_labels(features, wrong)
