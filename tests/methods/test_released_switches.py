"""SOCKET's switches from ours to the released program's behaviour: each does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.models.classifier import FIXED_NORMALISATIONS, Classifier
from socketlab.training.batches import random_window, take
from socketlab.training.state import StateFile

Begin = Callable[..., Any]
STILL = 1e-300  # a learning rate that moves no float32 weight


def running(training: Any) -> dict[str, Tensor]:
    found = training.weights
    return {name: value for name, value in found.items() if "running" in name}


def test_cached_crops_are_one_crop_of_each_pair_for_good(
    views: Views, begin: Begin, source_model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin("distillation", views, pair_crops="cached", learning_rate=STILL)
    training.until("start")
    method = training.method
    assert views.pairs is not None
    _, features = method._crops_and_features(0)
    window = random_window(5, 16, 14, method.seed, "cached", 0)
    rgb = take(views.pairs.source, torch.arange(5), window)
    with torch.no_grad():
        wanted = source_model.features(rgb)
    assert torch.allclose(features[0], wanted, atol=1e-5)
    other = take(views.pairs.target, method.pair_rows(0), method.window("pairs", 0, 4))
    found = method.student.train().features(other).detach()
    distance = (found - wanted[method.pair_rows(0)]).norm()

    def refuse(_: Tensor) -> Tensor:
        raise AssertionError("the RGB half went through the network again")

    monkeypatch.setattr(method.teacher, "features", refuse)
    assert float(training.until("step").terms["pairs"]) == pytest.approx(float(distance), rel=1e-4)
    training.finish()


def test_redrawn_pairs_come_from_all_pairs_at_each_step(views: Views, begin: Begin) -> None:
    training = begin("distillation", views, pair_order="redrawn")
    training.until("start")
    drawn = [training.method.pair_rows(step).tolist() for step in range(40)]
    assert all(len(set(rows)) == 4 for rows in drawn)
    assert len({tuple(rows) for rows in drawn}) > 20
    sweep = begin("distillation", views)
    sweep.until("start")
    five = [row for step in range(5) for row in sweep.method.pair_rows(step).tolist()]
    assert sorted(five) == sorted([0, 1, 2, 3, 4] * 4)
    redrawn = [row for rows in drawn[:5] for row in rows]
    assert sorted(redrawn) != sorted(five)


def test_moving_statistics_follow_the_pairs(views: Views, begin: Begin) -> None:
    about = {"learning_rate": STILL, "weight_decay": 0}
    held, moving = (
        begin("socket", views, pair_statistics=choice, **about).finish()
        for choice in ("held", "moving")
    )
    without = begin("shot", views, **about).finish()
    for name, value in running(without).items():
        torch.testing.assert_close(running(held)[name], value)
    assert not all(torch.equal(running(held)[k], v) for k, v in running(moving).items())


def test_the_gate_starts_at_sigmoid_one_and_shuts(views: Views, begin: Begin) -> None:
    plain, gated = (
        begin("socket", views, statistics_gate=gate, learning_rate=0.05) for gate in (False, True)
    )
    first, other = plain.until("step").terms, gated.until("step").terms
    share = float(torch.tensor(1.0).sigmoid())
    assert float(other["statistics"]) == pytest.approx(share * float(first["statistics"]), rel=1e-5)
    gated.finish()
    assert float(gated.method.memory["gate"].detach()) < 1.0
    assert "gate" in gated.taken[-1].learning_rates


def test_the_gate_is_kept_with_the_state(views: Views, begin: Begin, tmp_path: Path) -> None:
    about = {"statistics_gate": True, "epochs": 3, "learning_rate": 0.05}
    whole = begin("socket", views, **about).finish()
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    killed = begin("socket", views, **about, state=state)
    killed.until("epoch")
    killed.until("step")
    killed.kill()
    resumed = begin("socket", views, **about, state=state).finish()
    assert torch.equal(resumed.method.memory["gate"], whole.method.memory["gate"])
    assert all(torch.equal(resumed.weights[k], v) for k, v in whole.weights.items())


def test_other_constants_for_both_networks(views: Views, begin: Begin) -> None:
    training = begin("socket", views, normalisation="socket_code")
    training.until("start")
    mean, deviation = FIXED_NORMALISATIONS["socket_code"]
    for network in (training.method.student, training.method.teacher):
        assert network.mean.flatten().tolist() == pytest.approx(mean)
        assert network.deviation.flatten().tolist() == pytest.approx(deviation)
    usual = begin("socket", views)
    usual.until("start")
    assert usual.method.student.mean.flatten().tolist() != pytest.approx(mean)
