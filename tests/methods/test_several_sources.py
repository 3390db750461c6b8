"""Several source models at once: one is as before, two are mixed, a useless one loses weight."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods import REGISTRY, method_class, methods_for_several_sources
from socketlab.methods.options import SeveralSources
from socketlab.methods.shot import mixed_labels
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.objectives import PseudoLabels, pseudo_labels
from socketlab.training.state import StateFile

Begin = Callable[..., Any]
CLASSES = ("bed", "desk", "sofa")


@pytest.fixture
def second() -> Classifier:
    """A source model of another width, trained on something else."""
    torch.manual_seed(8)
    model = Classifier("resnet_small", CLASSES, bottleneck=5, mean=(0.3, 0.3, 0.3)).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(16, 3, 14, 14))
    return model.eval()


def same(first: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return first.keys() == other.keys() and all(torch.equal(first[k], other[k]) for k in first)


def values(training: Any) -> list[dict[str, float]]:
    steps = [step for step in training.taken if step.kind == "step"]
    return [{name: float(term) for name, term in step.terms.items()} for step in steps]


@pytest.mark.parametrize("name", REGISTRY)
def test_one_source_in_a_list_is_that_source(
    name: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    listed, alone = begin(name, views, model=[source_model]), begin(name, views)
    assert same(listed.finish().weights, alone.finish().weights)
    assert values(listed) == values(alone)
    assert listed.taken[-1].look.mixing == ()


@pytest.mark.parametrize("name", REGISTRY)
def test_only_some_methods_take_two(
    name: str, views: Views, begin: Begin, source_model: Classifier, second: Classifier
) -> None:
    training = begin(name, views, model=[source_model, second])
    if method_class(name).several_sources:
        training.finish()
        assert len(training.taken[-1].look.mixing) == 2
    else:
        with pytest.raises(SeveralSources, match=f"'{name}' moves one source model, found 2") as e:
            training.finish()
        assert all(able in str(e.value) for able in methods_for_several_sources())
    assert {"socket", "source_only"} <= set(methods_for_several_sources())


def test_the_terms_of_two_by_hand(
    views: Views, begin: Begin, source_model: Classifier, second: Classifier
) -> None:
    """Mixed logits; per-source distances times weights that no gradient reaches."""
    training = begin("socket", views, model=[source_model, second], pair_reduction="mean_squared")
    training.until("step", 4)
    method = training.method
    with torch.no_grad():
        method.student.mixing_logits.copy_(torch.tensor([0.4, -0.3]))
    student = copy.deepcopy(method.student).train()
    images = method.target_batch(4)[1]
    rgb, depth = method.pair_batch(4)
    alpha = torch.tensor([0.4, -0.3]).double().softmax(0)
    with torch.no_grad():
        logits = [copy.deepcopy(member)(images).double() for member in student.members]
        found = [member.features(depth).double() for member in copy.deepcopy(student).members]
        wanted = [member.features(rgb).double() for member in method.teacher.members]
    p = (alpha[0] * logits[0] + alpha[1] * logits[1]).softmax(1)
    mean = p.mean(0)
    entropies = -(p * (p + 1e-5).log()).sum(1).mean() + (mean * (mean + 1e-5).log()).sum()
    distances = [(f - w).square().mean() for f, w in zip(found, wanted, strict=True)]
    terms = training.until("step").terms
    assert float(terms["information_maximisation"]) == pytest.approx(float(entropies), rel=1e-4)
    pairs = alpha[0] * distances[0] + alpha[1] * distances[1]
    assert float(terms["pairs"]) == pytest.approx(float(pairs), rel=1e-4)


def test_no_distance_reaches_the_mixing_weights(
    views: Views, begin: Begin, source_model: Classifier, second: Classifier
) -> None:
    """Else the mixture could shrink a loss by turning away from the source that has it."""
    off = {"information_weight": 0, "pseudo_label_weight": 0}
    training = begin("socket", views, model=[source_model, second], **off).finish()
    assert training.taken[-1].look.mixing == (0.5, 0.5)
    assert not same(training.weights, begin("socket", views, **off).finish().weights)


def test_a_source_that_says_nothing_loses_weight(
    views: Views, begin: Begin, source_model: Classifier, second: Classifier
) -> None:
    with torch.no_grad():
        second.head.bias.zero_()
        second.head.parametrizations.weight.original0.zero_()  # its logits are all zero
    for order in ([source_model, second], [second, source_model]):
        training = begin("socket", views, model=order, epochs=4, learning_rate=0.04).finish()
        said = training.taken[-1].look.mixing[order.index(source_model)]
        assert said > 0.55
        assert sum(training.taken[-1].look.mixing) == pytest.approx(1)


def test_a_killed_training_of_two_goes_on(
    views: Views, begin: Begin, source_model: Classifier, second: Classifier, tmp_path: Path
) -> None:
    about = {"model": [source_model, second], "epochs": 3, "statistics_gate": True}
    whole = begin("socket", views, **about).finish()
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    killed = begin("socket", views, **about, state=state)
    killed.until("epoch", 2)
    killed.until("step")
    killed.kill()
    resumed = begin("socket", views, **about, state=state).finish()
    assert same(resumed.weights, whole.weights)
    assert values(resumed) == values(whole)[-3:]
    assert torch.equal(resumed.method.memory["gate"], whole.method.memory["gate"])
    assert isinstance(resumed.method.model, Mixture)


def test_labels_are_mixed_as_probabilities() -> None:
    """Sample 0: both agree. Sample 1: the heavier source decides, unless it hardly minds."""
    first = torch.tensor([[0.9, 0.1, -torch.inf], [0.50, 0.49, -torch.inf]])
    other = torch.tensor([[0.8, 0.2, 0.1], [-0.9, 0.9, 0.0]])

    class Known(PseudoLabels):
        def similarity_of(self, rows: slice) -> Tensor:
            return self.features[rows]

    found = [Known(s.argmax(1), s, s.new_zeros(3, 4), s.isinf().all(0)) for s in (first, other)]
    assert mixed_labels(found, torch.tensor([0.7, 0.3])).tolist() == [0, 1]
    assert mixed_labels(found, torch.tensor([1.0, 0.0])).tolist() == [0, 0]
    assert mixed_labels(found[:1], torch.ones(1)).tolist() == [0, 0]


def test_each_source_labels_by_its_own_features(
    views: Views, begin: Begin, source_model: Classifier, second: Classifier
) -> None:
    training = begin("socket", views, model=[source_model, second])
    training.until("step")
    method = training.method
    each = [method.outputs_of(member) for member in method.teacher.members]
    found = [pseudo_labels(o.features, o.probabilities, 2) for o in each]
    assert torch.equal(method.labels, mixed_labels(found, torch.tensor([0.5, 0.5])))
