"""Each term of TGKT by its definition, and the translator that it learns from and leaves alone."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods import build_method
from socketlab.methods.options import MissingTranslator
from socketlab.models.classifier import Classifier
from socketlab.models.translator import Translator, build_translator
from socketlab.objectives import pseudo_labels
from socketlab.training.inference import predict
from socketlab.training.precision import Precision

Begin = Callable[..., Any]
PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")
NOTHING = {"translation_weight": 0, "pair_weight": 0, "pseudo_label_weight": 0}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def softmax(logits: Tensor) -> list[list[float]]:
    rows = [[math.exp(x) for x in row] for row in logits.detach().double().tolist()]
    return [[x / sum(row) for x in row] for row in rows]


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_taught_by_hand(
    weighted: bool, views: Views, begin: Begin, source_model: Classifier
) -> None:
    """The source model sees the translation, the student the raw image, both the same crop."""
    options = {"learning_rate": 0.05, "confidence_weighting": weighted}
    training = begin("tgkt", views, **options)
    training.until("step", 4)
    method = training.method
    _, images = method.target_batch(4)
    with torch.no_grad():
        taught = softmax(source_model(method.given_translator()(images)))
        answers = softmax(copy.deepcopy(method.student).train()(images.repeat(1, 3, 1, 1)))
    total = 0.0
    for t, s in zip(taught, answers, strict=True):
        divergence = sum(a * math.log(a / b) for a, b in zip(t, s, strict=True))
        sure = 1 + sum(a * math.log(a) for a in t) / math.log(3)
        total += divergence * (sure if weighted else 1)
    found = float(training.until("step").terms["translation"])
    assert found == pytest.approx(total / len(taught), rel=1e-3, abs=1e-6)


def test_the_pair_term_by_hand(views: Views, begin: Begin, source_model: Classifier) -> None:
    """Mean squared, of true RGB and raw partners; what is not its own translation."""
    training = begin("tgkt", views, learning_rate=0.05)
    training.until("step", 2)
    student = copy.deepcopy(training.method.student).train()
    rgb, other = training.method.pair_batch(2)
    with torch.no_grad():
        wanted = source_model.features(rgb).double().flatten().tolist()
        found = student.features(other.repeat(1, 3, 1, 1)).double().flatten().tolist()
    expected = sum((a - b) ** 2 for a, b in zip(wanted, found, strict=True)) / len(wanted)
    assert float(training.until("step").terms["pairs"]) == pytest.approx(expected, rel=1e-4)


def test_the_pseudo_labels_are_the_target_model_s_own(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    """At first those of the source model on raw images, not those of what it sees translated."""
    training = begin("tgkt", views)
    training.until("start")
    method = training.method
    labels = []
    for translator in ("replicate", None):
        model = copy.deepcopy(source_model)
        given = method.given_translator() if translator is None else build_translator(translator)
        model.translate_with(given)
        outputs = predict(model, views.target.images, 14, PRECISION)
        labels.append(pseudo_labels(outputs.features, outputs.probabilities, 2).labels)
    assert not torch.equal(*labels)
    student = copy.deepcopy(method.student).train()
    index, images = method.target_batch(0)
    with torch.no_grad():
        answers = softmax(student(images))
    found = float(training.until("step").terms["pseudo_labels"])
    assert torch.equal(method.labels, labels[0])
    rows = zip(answers, labels[0][index].tolist(), strict=True)
    expected = -sum(math.log(row[label]) for row, label in rows) / len(answers)
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_weights_of_the_terms(views: Views, begin: Begin) -> None:
    """L_KL + .5 L_f + .3 L_self, without information maximisation unless it is asked for."""
    terms = begin("tgkt", views).until("step").terms
    assert set(terms) == {"translation", "pairs", "pseudo_labels", "total"}
    total = terms["translation"] + 0.5 * terms["pairs"] + 0.3 * terms["pseudo_labels"]
    assert float(terms["total"]) == pytest.approx(float(total), rel=1e-6)
    more = begin("tgkt", views, information_weight=0.5, elr=True).until("step").terms
    assert set(more) == {*terms, "information_maximisation", "early_learning"}


@pytest.mark.parametrize(
    ("option", "term"),
    [
        ("translation_weight", "translation"),
        ("pair_weight", "pairs"),
        ("pseudo_label_weight", "pseudo_labels"),
        ("information_weight", "information_maximisation"),
    ],
)
def test_one_weight_is_one_term(option: str, term: str, views: Views, begin: Begin) -> None:
    training = begin("tgkt", views, **NOTHING | {option: 0.5})
    training.until("start")
    passes = []
    training.method.teacher.register_forward_hook(lambda *_: passes.append("teacher"))
    terms = training.until("step").terms
    assert set(terms) == {term, "total"}
    assert float(terms["total"]) == pytest.approx(0.5 * float(terms[term]))
    assert passes == ["teacher"] * (term == "translation")


def test_without_translation_and_pairs_it_is_shot(views: Views, begin: Begin) -> None:
    options = {"translation_weight": 0, "pair_weight": 0, "information_weight": 1}
    first, second = begin("tgkt", views, **options), begin("shot", views)
    assert same(first.finish().weights, second.finish().weights)


def test_with_what_is_taught_alone_the_answers_come_nearer(views: Views, begin: Begin) -> None:
    """Steps along its gradient, on one batch."""
    plain = {"momentum": 0, "weight_decay": 0, "backbone_factor": 1.0, "learning_rate": 0.1}
    training = begin("tgkt", views, epochs=4, **NOTHING | {"translation_weight": 1.0} | plain)
    training.until("start")
    losses = training.method.losses
    training.method.losses = lambda step: losses(0)
    training.finish()
    values = [float(step.terms["translation"]) for step in training.taken if step.kind == "epoch"]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.8 * values[0]


def painter() -> Translator:
    """In train mode, as nobody should give it, with running statistics of its own."""
    torch.manual_seed(11)
    translator = build_translator("pointwise").train()
    translator(torch.rand(8, 1, 14, 14))
    return translator


def begun(
    views: Views, source: Classifier, translator: Translator | None
) -> tuple[Any, Iterator[Any]]:
    options = {"epochs": 1, "batch_size": 4}
    about: dict[str, Any] = {"crop": 14, "seed": 3, "precision": PRECISION}
    method = build_method("tgkt", options, views, translator=translator, **about)
    return method, method.fit(source, views.target, views.pairs)


def test_the_translator_is_used_in_eval_mode_and_not_changed(
    views: Views, source_model: Classifier
) -> None:
    given = painter()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    method, steps = begun(views, source_model, given)
    modes = []
    for step in steps:
        if step.kind == "start":
            translator = method.teacher.translator
            assert translator is not given
            assert not any(parameter.requires_grad for parameter in translator.parameters())
            translator.register_forward_hook(
                lambda network, *_: modes.append([part.training for part in network.modules()])
            )
    assert len(modes) == 3 and not any(any(mode) for mode in modes)
    assert same(dict(given.state_dict()), before)
    assert same(dict(translator.state_dict()), before)
    assert given.training and all(parameter.requires_grad for parameter in given.parameters())
    assert all(parameter.grad is None for parameter in given.parameters())
    assert not list(source_model.translator.parameters())


def test_the_target_model_does_not_need_the_translator(views: Views, begin: Begin) -> None:
    training = begin("tgkt", views)
    training.until("start")
    training.method.teacher.members[0].translator.register_forward_hook(lambda *_: seen.append(1))
    seen: list[int] = []
    training.until("epoch")
    taught = len(seen)
    assert taught == 3  # once a step, in no score and no pseudo-label
    model = training.method.model
    assert model.translator.name == "replicate"
    assert not [name for name in model.state_dict() if name.startswith("translator.")]
    grey = torch.rand(4, 1, 14, 14)
    with torch.no_grad():
        assert torch.equal(model.eval()(grey), model(grey.repeat(1, 3, 1, 1)))
    assert len(seen) == taught


def test_another_translator_teaches_something_else(views: Views, source_model: Classifier) -> None:
    found = []
    for translator in (painter(), build_translator("colormap")):
        method, steps = begun(views, source_model, translator)
        list(steps)
        found.append(dict(method.model.state_dict()))
    assert not same(*found)


@pytest.mark.parametrize("name", ["tgkt", "socket_translated"])
def test_without_a_translator_the_way_to_one_is_named(
    name: str, views: Views, source_model: Classifier
) -> None:
    about: dict[str, Any] = {"crop": 14, "seed": 3, "precision": PRECISION}
    method = build_method(name, {"batch_size": 4}, views, **about)
    with pytest.raises(MissingTranslator) as caught:
        list(method.fit(source_model, views.target, views.pairs))
    for word in (repr(name), "was given none", "04_train_translator", "'translated'"):
        assert word in str(caught.value)
