import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods import shot
from socketlab.objectives import joint_confidence, pseudo_labels
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls

Begin = Callable[..., Any]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_shot_without_pseudo_labels_is_shot_im(views: Views, begin: Begin) -> None:
    first = begin("shot", views, pseudo_label_weight=0).finish()
    second = begin("shot_im", views).finish()
    assert same(first.weights, second.weights)
    assert set(first.taken[-1].terms) == {"information_maximisation", "total"}
    assert not same(first.weights, begin("shot", views).finish().weights)


def test_a_term_of_weight_zero_is_not_computed(
    views: Views, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(shot, "information_maximisation", refuse)
    training = begin("shot", views, information_weight=0).finish()
    assert set(training.taken[-1].terms) == {"pseudo_labels", "total"}
    monkeypatch.undo()
    monkeypatch.setattr(shot, "cross_entropy", refuse)
    begin("shot", views, pseudo_label_weight=0).finish()
    with pytest.raises(AssertionError, match="computed"):
        begin("shot", views).finish()


def test_the_terms_of_a_step_by_their_definition(views: Views, begin: Begin) -> None:
    training = begin("shot", views)
    training.until("epoch")
    training.until("step")  # the labels are those of the second epoch
    method = training.method
    student = copy.deepcopy(method.student)
    index, images = method.target_batch(4)
    logits = student(images).detach().double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean = p.mean(0)
    information = -(p * np.log(p + 1e-5)).sum(1).mean() + (mean * np.log(mean + 1e-5)).sum()
    labels = method.labels[index].numpy()
    cross_entropy = -np.log(p[np.arange(4), labels]).mean()
    found = training.until("step").terms
    assert float(found["information_maximisation"]) == pytest.approx(information, rel=1e-4)
    assert float(found["pseudo_labels"]) == pytest.approx(cross_entropy, rel=1e-4)
    total = information + 0.3 * cross_entropy
    assert float(found["total"]) == pytest.approx(total, rel=1e-4)


def pseudo_labels_by_hand(features: Tensor, probabilities: Tensor, rounds: int) -> list[int]:
    """The released recipe, in numpy: a constant 1 appended, rows of length 1, nearest by cosine."""
    f = np.concatenate([features.double().numpy(), np.ones((len(features), 1))], axis=1)
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    p = probabilities.double().numpy()
    for _ in range(rounds):
        centres = {k: (p[:, k : k + 1] * f).sum(0) for k in range(p.shape[1]) if p[:, k].sum() > 0}
        cosines = np.stack(
            [
                f @ centres[k] / np.linalg.norm(centres[k])
                if k in centres
                else np.full(len(f), -np.inf)
                for k in range(p.shape[1])
            ],
            axis=1,
        )
        labels = cosines.argmax(1)
        p = np.eye(p.shape[1])[labels]
    return [int(label) for label in labels]


@pytest.mark.parametrize("rounds", [1, 2])
def test_pseudo_labels_are_refreshed_every_epoch_over_all_target_images(
    rounds: int, views: Views, begin: Begin
) -> None:
    training = begin("shot", views, epochs=3, centroid_rounds=rounds, learning_rate=0.05)
    seen: list[Tensor] = []
    features: list[Tensor] = []
    for _ in range(3):
        student = copy.deepcopy(training.method.student) if seen else None
        training.until("step")
        if student is not None:
            raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).float()
            images = ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]
            with torch.no_grad():
                found = student.eval().features(images)
                probabilities = student.head(found).softmax(1)
            features.append(found)
            expected = pseudo_labels_by_hand(found, probabilities, rounds)
            assert training.method.labels.tolist() == expected
        seen.append(training.method.labels.clone())
        labels = training.method.labels
        training.until("step", 2)
        assert training.method.labels is labels  # the same ones within an epoch
        training.until("epoch")
    assert len(seen[0]) == 13
    assert not torch.equal(features[0], features[1])


def test_a_weight_raised_from_zero_while_it_trains(views: Views, begin: Begin) -> None:
    controls = Controls()
    training = begin("shot", views, controls=controls, pseudo_label_weight=0)
    training.until("step")
    controls.weights = {"pseudo_labels": 0.3}
    assert "pseudo_labels" in training.until("step").terms
    training.finish()


def test_all_weights_lowered_to_zero_while_it_trains(views: Views, begin: Begin) -> None:
    controls = Controls()
    training = begin("shot", views, controls=controls)
    training.until("step")
    before = dict(training.method.model.named_parameters())
    before = {name: value.detach().clone() for name, value in before.items()}
    controls.weights = {"information_maximisation": 0.0, "pseudo_labels": 0.0}
    assert set(training.until("step").terms) == {"total"}
    for name, value in training.method.model.named_parameters():
        assert torch.equal(value, before[name]), name
    training.finish()


def naive_row(p: list[float], bank: list[float]) -> tuple[list[float], float]:
    """The running mean of one sample after a step, and its term log(1 - p . pbar)."""
    kept = [0.7 * b + 0.3 * q for b, q in zip(bank, p, strict=True)]
    return kept, math.log(1 - sum(k * q for k, q in zip(kept, p, strict=True)) + 1e-4)


def test_early_learning_by_hand(views: Views, begin: Begin) -> None:
    """Two steps: zero at first, then 0.7 of what was there and 0.3 of the prediction."""
    training = begin("shot", views, elr=True, learning_rate=0.05)
    training.until("start")
    method = training.method
    bank = [[0.0] * 3 for _ in range(13)]
    assert method.weights["early_learning"] == 3
    for step in range(5):  # 20 of 13 images: some are seen twice
        student = copy.deepcopy(method.student).train()
        index, images = method.target_batch(step)
        with torch.no_grad():
            p = student(images).double().softmax(1).tolist()
        terms = []
        for row, prediction in zip(index.tolist(), p, strict=True):
            bank[row], term = naive_row(prediction, bank[row])
            terms.append(term)
        found = training.until("step").terms
        assert float(found["early_learning"]) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    kept = method.memory["early"].double()
    assert torch.allclose(kept, torch.tensor(bank).double(), atol=1e-5)


def test_confidence_weights_the_pseudo_labels(views: Views, begin: Begin) -> None:
    training = begin("shot", views, weighting="jmds", information_weight=0)
    training.until("start")
    method = training.method
    outputs = method.outputs()
    student = copy.deepcopy(method.student).train()
    index, images = method.target_batch(0)
    with torch.no_grad():
        logs = student(images).double().log_softmax(1)
    found = training.until("step").terms["pseudo_labels"]
    weights = joint_confidence(outputs.features, outputs.probabilities, method.labels)
    losses = [
        -float(weights[row]) * float(logs[i, method.labels[row]])
        for i, row in enumerate(index.tolist())
    ]
    assert float(found) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert float(weights.max()) > float(weights.min())


@pytest.mark.parametrize("name", ["shot", "socket"])
@pytest.mark.parametrize("switch", [{"elr": True}, {"weighting": "jmds"}])
def test_a_switch_goes_on_after_a_kill(
    name: str, switch: dict[str, object], views: Views, begin: Begin, tmp_path: Path
) -> None:
    whole = begin(name, views, **switch).finish()
    assert not torch.equal(
        whole.weights["bottleneck.0.weight"],
        begin(name, views).finish().weights["bottleneck.0.weight"],
    )
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    killed = begin(name, views, state=state, **switch)
    killed.until("epoch")
    killed.until("step")
    killed.kill()
    resumed = begin(name, views, state=state, **switch).finish()
    assert all(torch.equal(resumed.weights[key], value) for key, value in whole.weights.items())


def test_statistics_first_are_those_of_the_target(views: Views, begin: Begin) -> None:
    """The first pseudo-labels are what adabn's features and answers give."""
    adapted = begin("adabn", views).finish().method
    training = begin("shot", views, statistics_first=True)
    training.until("step")
    usual = begin("shot", views)
    usual.until("step")
    outputs = adapted.outputs()
    wanted = pseudo_labels(outputs.features, outputs.probabilities, 2)
    assert torch.equal(training.method.labels, wanted.labels)
    assert not torch.equal(usual.method.labels, wanted.labels)
