import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.views import Views
from socketlab.methods import distillation, shot, socket
from socketlab.models.classifier import Classifier
from socketlab.training.steps import Controls

Begin = Callable[..., Any]
NOTHING = {
    "information_weight": 0,
    "pseudo_label_weight": 0,
    "statistics_weight": 0,
    "pair_weight": 0,
}
STILL = 1e-300  # a learning rate that moves no float32 weight


def only(option: str, value: float = 0.5) -> dict[str, float]:
    return NOTHING | {option: value}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def parameters(training: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in training.method.model.named_parameters()}


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_without_statistics_and_pairs_it_is_shot(views: Views, begin: Begin) -> None:
    first = begin("socket", views, statistics_weight=0, pair_weight=0).finish()
    second = begin("shot", views).finish()
    assert same(first.weights, second.weights)
    assert not same(first.weights, begin("socket", views).finish().weights)


def test_with_information_maximisation_alone_it_is_shot_im(views: Views, begin: Begin) -> None:
    first = begin("socket", views, **only("information_weight", 0.5)).finish()
    second = begin("shot_im", views, information_weight=0.5).finish()
    assert same(first.weights, second.weights)


def test_with_pairs_alone_it_learns_as_distillation_does(views: Views, begin: Begin) -> None:
    """The parameters are the same; the statistics come from TR batches instead of a last pass."""
    first = begin("socket", views, **only("pair_weight")).finish()
    second = begin("distillation", views, pair_weight=0.5).finish()
    assert same(parameters(first), parameters(second))
    values = [
        [float(step.terms["pairs"]) for step in training.taken if step.kind == "step"]
        for training in (first, second)
    ]
    assert values[0] == values[1] and len(values[0]) == 6
    assert not same(first.weights, second.weights)


@pytest.mark.parametrize(
    ("option", "term"),
    [
        ("information_weight", "information_maximisation"),
        ("pseudo_label_weight", "pseudo_labels"),
        ("statistics_weight", "statistics"),
        ("pair_weight", "pairs"),
    ],
)
def test_one_weight_is_one_term(option: str, term: str, views: Views, begin: Begin) -> None:
    """Its value is the one that the whole has, and nothing else is computed."""
    alone = begin("socket", views, **only(option)).until("step")
    whole = begin("socket", views).until("step")
    assert set(alone.terms) == {term, "total"}
    assert float(alone.terms[term]) == float(whole.terms[term])
    assert float(alone.terms["total"]) == pytest.approx(0.5 * float(whole.terms[term]))
    terms = whole.terms
    total = (
        terms["information_maximisation"]
        + 0.3 * terms["pseudo_labels"]
        + 0.5 * terms["statistics"]
        + 0.5 * terms["pairs"]
    )
    assert float(terms["total"]) == pytest.approx(float(total), rel=1e-6)


def test_a_term_of_weight_zero_is_not_computed(
    views: Views, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed")

    places = {
        "information_weight": (shot, "information_maximisation"),
        "pseudo_label_weight": (shot, "cross_entropy"),
        "statistics_weight": (socket, "statistics_distance"),
        "pair_weight": (distillation, "feature_distance"),
    }
    for option, (module, function) in places.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, function, refuse)
            begin("socket", views, epochs=1, **{option: 0}).finish()
            with pytest.raises(AssertionError, match="computed"):
                begin("socket", views, epochs=1).finish()


def test_pairs_do_not_move_the_running_statistics(views: Views, begin: Begin) -> None:
    """With weights that stand still, the statistics are those that the TR batches alone give."""
    first = begin("socket", views, learning_rate=STILL, weight_decay=0).finish()
    second = begin("shot_im", views, learning_rate=STILL, weight_decay=0).finish()
    start = begin("shot", views)
    start.until("start")
    assert same(parameters(first), parameters(start))
    for name, tensor in second.weights.items():  # a layer that records itself rounds otherwise
        torch.testing.assert_close(first.weights[name], tensor)
    assert not same(first.weights, start.weights)


def test_statistics_are_compared_with_those_of_the_source_model(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    """At every step, by hand: the student's batch against what the source model had at first."""
    source = [
        (layer.running_mean.clone(), layer.running_var.clone())  # type: ignore[union-attr]
        for layer in norms(source_model.encoder)
    ]
    training = begin("socket", views, learning_rate=0.05)
    training.until("start")
    for step in range(6):
        student = copy.deepcopy(training.method.student).train()
        _, images = training.method.target_batch(step)
        inputs: list[Tensor] = []
        for layer in norms(student.encoder):
            layer.register_forward_pre_hook(
                lambda _, args, inputs=inputs: inputs.append(args[0].detach())
            )
        drifted = [
            (layer.running_mean.clone(), layer.running_var.clone())  # type: ignore[union-attr]
            for layer in norms(student.encoder)
        ]
        student.features(images)
        values = []
        for reference in (source, drifted):
            total = 0.0
            for x, (mean, variance) in zip(inputs, reference, strict=True):
                channels = x.transpose(0, 1).flatten(1).double()
                guard = 1e-5 + 1e-3 * variance.median()
                deviation = (variance + guard).sqrt()
                shift = (channels.mean(1) - mean) / deviation
                stretch = (channels.var(1, correction=0) + guard).sqrt() / deviation - 1
                total += float(shift.square().mean().sqrt() + stretch.square().mean().sqrt())
            values.append(total / len(inputs))
        found = float(training.until("step").terms["statistics"])
        assert found == pytest.approx(values[0], rel=1e-3)
        if step > 2:
            assert found != pytest.approx(values[1], rel=1e-2)


@pytest.mark.parametrize("form", ["normalised", "released_sum", "gaussian_kl"])
def test_the_statistics_come_nearer(form: str, views: Views, begin: Begin) -> None:
    """Steps along its gradient, on one batch, lower it: the gradient reaches the encoder."""
    options = only("statistics_weight", 0.01 if form == "released_sum" else 1.0)
    plain = {"momentum": 0, "weight_decay": 0, "backbone_factor": 1.0, "learning_rate": 0.01}
    training = begin("socket", views, statistics=form, epochs=8, **options, **plain)
    training.until("start")
    losses = training.method.losses
    training.method.losses = lambda step: losses(0)
    training.finish()
    values = [float(s.terms["statistics"]) for s in training.taken if s.kind == "epoch"]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.97 * values[0]


def test_the_first_layer_s_weight(views: Views, begin: Begin) -> None:
    options = only("statistics_weight") | {"statistics": "released_sum"}
    values = [
        float(begin("socket", views, first_layer_weight=w, **options).until("step").terms[name])
        for w, name in ((1, "statistics"), (2, "statistics"), (10, "statistics"))
    ]
    assert values[1] > values[0]
    assert values[2] - values[0] == pytest.approx(9 * (values[1] - values[0]), rel=1e-3)


def test_the_pair_term_by_hand(views: Views, begin: Begin, source_model: Classifier) -> None:
    """The teacher is the source model in eval mode, the student uses the batch's statistics."""
    training = begin("socket", views, learning_rate=0.05)
    training.until("step", 2)
    student = copy.deepcopy(training.method.student)
    rgb, depth = training.method.pair_batch(2)
    with torch.no_grad():
        wanted = source_model.eval().features(rgb)
        found = student.train().features(depth)
    expected = float(((wanted - found) ** 2).sum() ** 0.5)
    assert float(training.until("step").terms["pairs"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("option", ["statistics", "pairs", "pseudo_labels"])
def test_a_weight_raised_from_zero_while_it_trains(option: str, views: Views, begin: Begin) -> None:
    controls = Controls()
    training = begin("socket", views, controls=controls, **NOTHING)
    assert set(training.until("step").terms) == {"total"}
    controls.weights = {option: 0.5}
    assert set(training.until("step").terms) == {option, "total"}
    training.finish()


def test_an_encoder_without_batch_norm(views: Views, begin: Begin) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 256, 14)

        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = self.layer(images).flatten(1)
            return features

    model = Classifier("resnet_small", ("bed", "desk", "sofa"), bottleneck=8)
    model.encoder = Plain()
    with pytest.raises(ValueError, match=r"no BatchNorm2d.*statistics_weight: 0"):
        begin("socket", views, model=model).finish()
    last = begin("socket", views, model=model, statistics_weight=0).finish().taken[-1]
    assert "statistics" not in last.terms and "pairs" in last.terms


def test_other_pairs_give_other_weights(views: Views, begin: Begin) -> None:
    assert views.pairs is not None
    pairs = replace(
        views.pairs, target=replace(views.pairs.target, raw=views.target.images.raw[:5])
    )
    first, second = begin("socket", views), begin("socket", views.replaced(pairs=pairs))
    assert not same(first.finish().weights, second.finish().weights)
