import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.models.classifier import Classifier
from socketlab.training.steps import Controls

Begin = Callable[..., Any]
METHODS = ("aad", "nrc")


def centre_crops(views: Views) -> Tensor:
    raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).float()
    return ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]


def said_of(model: Classifier, images: Tensor) -> tuple[Any, Any]:
    """Unit features and probabilities, in float64."""
    with torch.no_grad():
        found, logits = model.outputs(images)
    features = found.double().numpy()
    exponentials = np.exp(logits.double().numpy())
    return (
        features / np.linalg.norm(features, axis=1, keepdims=True),
        exponentials / exponentials.sum(1, keepdims=True),
    )


def nearest_by_hand(query: Any, bank: Any, k: int, own: int) -> list[int]:
    others = [j for j in range(len(bank)) if j != own]
    return sorted(others, key=lambda j: -float(query @ bank[j]))[:k]


def test_the_loss_of_a_step_by_its_definition(views: Views, begin: Begin) -> None:
    """The batch's own rows are in the bank before neighbours are looked for."""
    training = begin("aad", views, neighbours=3, beta=2.0)
    training.until("epoch")
    training.until("step")
    method = training.method
    student = copy.deepcopy(method.student)
    features, scores = (method.memory[n].double().numpy() for n in ("features", "probabilities"))
    features, scores = features.copy(), scores.copy()
    index, images = method.target_batch(4)
    unit, p = said_of(student, images)
    rows = index.tolist()
    features[rows], scores[rows] = unit, p
    expected = 0.0
    for i, own in enumerate(rows):
        near = nearest_by_hand(unit[i], features, 3, own)
        expected -= sum(p[i] @ scores[j] for j in near) / 4
        others = sum(p[i] @ p[m] for m in range(4) if m != i)
        expected += (1 + 10 * 4 / 6) ** -2.0 * others / 4
    found = training.until("step").terms
    assert set(found) == {"attracting_dispersing", "total"}
    assert float(found["attracting_dispersing"]) == pytest.approx(expected, rel=1e-4)
    assert float(found["total"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("statistics_first", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_bank_starts_with_what_the_source_model_says(
    name: str, statistics_first: bool, views: Views, begin: Begin, source_model: Classifier
) -> None:
    """By its own statistics, or by those of the target images where these come first."""
    training = begin(name, views, statistics_first=statistics_first, batch_size=13)
    training.until("start")
    if statistics_first:
        norms = [m for m in source_model.modules() if hasattr(m, "running_mean")]
        for norm in norms:
            norm.momentum = 1.0  # nothing of the source's statistics stays
            norm.train()
        source_model(centre_crops(views))
    expected = said_of(source_model.eval(), centre_crops(views))
    for kept, wanted in zip(("features", "probabilities"), expected, strict=True):
        np.testing.assert_allclose(training.method.memory[kept].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_replaces_the_rows_of_its_batch_and_no_other(
    name: str, views: Views, begin: Begin
) -> None:
    training = begin(name, views, learning_rate=0.05)
    training.until("start")
    method = training.method
    for step in range(3):
        before = {kept: bank.clone() for kept, bank in method.memory.items()}
        student = copy.deepcopy(method.student).train()
        index, images = method.target_batch(step)
        training.until("step")
        expected = said_of(student, images)
        rest = [row for row in range(13) if row not in index.tolist()]
        assert set(method.memory) == {"features", "probabilities"}
        for kept, wanted in zip(("features", "probabilities"), expected, strict=True):
            bank = method.memory[kept]
            assert not bank.requires_grad
            assert torch.equal(bank[rest], before[kept][rest])
            assert not torch.equal(bank[index], before[kept][index])
            np.testing.assert_allclose(bank[index].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_too_few_target_images(name: str, views: Views, begin: Begin) -> None:
    images = views.target.images
    few = replace(views.target, images=replace(images, raw=images.raw[:5], ids=images.ids[:5]))
    small = views.replaced(target=few)
    expected = (
        f"'{name}' with 5 neighbours of each image needs at least 6 target images, found 5. "
        "Choose at most 4 neighbours"
    )
    with pytest.raises(ValueError, match=expected):
        begin(name, small).until("start")
    options = {"neighbours": 4} | ({"expanded_neighbours": 4} if name == "nrc" else {})
    begin(name, small, **options).finish()


def test_beta_decides_how_dispersion_fades(views: Views, begin: Begin) -> None:
    """At the start its weight is 1 whatever beta; later the larger beta disperses less."""
    found = []
    for beta in (0.0, 5.0):
        training = begin("aad", views, beta=beta)
        found.append([float(training.until("step").terms["total"]) for _ in range(2)])
    assert found[0][0] == found[1][0]
    assert found[0][1] > found[1][1] + 0.1


@pytest.mark.parametrize("name", METHODS)
def test_all_weights_lowered_to_zero_while_it_trains(name: str, views: Views, begin: Begin) -> None:
    controls = Controls()
    training = begin(name, views, controls=controls)
    terms = training.until("step").terms
    before = {n: value.detach().clone() for n, value in training.method.model.named_parameters()}
    controls.weights = dict.fromkeys(terms.keys() - {"total"}, 0.0)
    assert set(training.until("step").terms) == {"total"}
    for n, value in training.method.model.named_parameters():
        assert torch.equal(value, before[n]), n
    training.finish()
