"""What holds for every method: each registered one is tested here by being registered."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.views import Evaluation, Forbidden, ImagePairs, TargetImages, Views
from socketlab.methods import REGISTRY, method_class, methods_without_pairs
from socketlab.methods.options import MissingPairs
from socketlab.models.classifier import Classifier
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls

Begin = Callable[..., Any]
every_method = pytest.mark.parametrize("name", REGISTRY)
with_pairs = pytest.mark.parametrize(
    "name", [name for name in REGISTRY if method_class(name).needs_pairs]
)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def without_translator(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Encoder, bottleneck and head."""
    return {key: value for key, value in weights.items() if not key.startswith("translator.")}


def relabelled(evaluation: Evaluation) -> Evaluation:
    """Every label is another one."""
    return replace(evaluation, labels=(evaluation.labels + 1) % len(evaluation.classes))


@every_method
def test_no_target_label_reaches_the_weights(name: str, views: Views, begin: Begin) -> None:
    first = begin(name, views).finish()
    others = views.replaced(
        evaluation=relabelled(views.evaluation),
        target_labels=relabelled(views.target_labels),
    )
    second = begin(name, others).finish()
    scores = [
        [step.evaluation.confusion for step in training.taken if step.evaluation is not None]
        for training in (first, second)
    ]
    assert not torch.equal(scores[0][0], scores[1][0])  # the other labels were scored with
    assert same(first.weights, second.weights) is (name != "oracle_labels")


def unseen() -> Any:
    raise AssertionError("a part was opened that a method may not see")


@every_method
def test_only_an_upper_reference_opens_what_a_method_may_not_see(
    name: str, views: Views, begin: Begin
) -> None:
    hidden = ("source", "source_evaluation", "target_labels", "target_pairs", "evaluation_pairs")
    sealed = views.replaced(**dict.fromkeys(hidden, unseen))
    if method_class(name).upper_reference:
        with pytest.raises(AssertionError, match="may not see"):
            begin(name, sealed)
    else:
        assert same(begin(name, sealed).finish().weights, begin(name, views).finish().weights)


@pytest.mark.parametrize("part", ["target", "pairs"])
def test_a_view_says_that_it_has_no_labels(part: str, views: Views) -> None:
    for asked in ("labels", "classes", "class_names", "evaluation"):
        with pytest.raises(Forbidden, match=f"has no '{asked}': a method sees images"):
            getattr(getattr(views, part), asked)


def test_the_partners_of_the_target_reach_the_upper_reference(views: Views, begin: Begin) -> None:
    assert views.target_pairs is not None
    source = views.target_pairs.source
    turned = replace(views.target_pairs, source=replace(source, raw=source.raw.flip(0)))
    first, second = (
        begin("oracle_pairs", seen).finish()
        for seen in (views, views.replaced(target_pairs=turned))
    )
    assert not same(first.weights, second.weights)
    with pytest.raises(ValueError, match=r"'oracle_pairs' .* kv2/depth has none"):
        begin("oracle_pairs", views.replaced(target_pairs=None))


@every_method
def test_scoring_does_not_reach_the_weights(name: str, views: Views, begin: Begin) -> None:
    """Neither do the images that are scored on."""
    first = begin(name, views).finish()
    fewer = Evaluation(views.source.images, views.source.labels, views.source.classes, "kv1/rgb")
    second = begin(name, views.replaced(evaluation=fewer)).finish()
    assert same(first.weights, second.weights)


def test_what_a_method_is_given_has_no_labels() -> None:
    for view in (TargetImages, ImagePairs):
        assert not [f.name for f in fields(view) if "label" in f.name or "class" in f.name]


@every_method
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    name: str, views: Views, begin: Begin, tmp_path: Path
) -> None:
    """Nine steps of 4 over 13 target images and 5 pairs: both streams cross into new sweeps."""
    whole = begin(name, views, epochs=3).finish()
    if whole.taken[-1].steps == 0:
        assert [s.kind for s in whole.taken] == ["start", "epoch"][: 1 + whole.method.epochs]
        return
    for epochs_before in (1, 2):
        state = StateFile(tmp_path / f"after-{epochs_before}.pt", "fingerprint")
        killed = begin(name, views, epochs=3, state=state)
        killed.until("epoch", epochs_before)
        killed.until("step")
        killed.kill()
        torch.manual_seed(99)
        resumed = begin(name, views, epochs=3, state=state).finish()
        check_resumed(resumed, whole, epochs_before)


def check_resumed(resumed: Any, whole: Any, epochs_before: int) -> None:
    """The same steps, values and weights from there on."""
    rest = [s for s in whole.taken if s.step > 3 * epochs_before or s.epoch > epochs_before]
    assert [(s.kind, s.epoch, s.step) for s in resumed.taken] == [
        (s.kind, s.epoch, s.step) for s in rest
    ]
    for found, wanted in zip(resumed.taken, rest, strict=True):
        assert {k: float(v) for k, v in found.terms.items()} == {
            k: float(v) for k, v in wanted.terms.items()
        }
        assert found.look == wanted.look
        if wanted.evaluation is not None:
            assert torch.equal(found.evaluation.confidence, wanted.evaluation.confidence)
    assert same(resumed.weights, whole.weights)


@every_method
def test_the_seed_decides(name: str, views: Views, begin: Begin) -> None:
    first = begin(name, views).finish()
    torch.manual_seed(1234)
    again, other = begin(name, views).finish(), begin(name, views, seed=4).finish()
    assert same(first.weights, again.weights)
    trains = first.method.epochs > 0
    assert same(first.weights, other.weights) is not trains


@every_method
def test_the_head_stays_and_the_source_model_is_not_changed(
    name: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    source_model.train()
    source_model.encoder.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in source_model.parameters()]
    before = {key: value.clone() for key, value in source_model.state_dict().items()}
    training = begin(name, views).finish()
    assert same(dict(source_model.state_dict()), before)
    assert source_model.training
    assert [parameter.requires_grad for parameter in source_model.parameters()] == flags
    assert all(parameter.grad is None for parameter in source_model.parameters())

    adapted = training.weights
    head = [key for key in adapted if key.startswith("head.")]
    assert len(head) == 3
    assert all(torch.equal(adapted[key], before[key]) for key in head)
    adapts, some = training.method.epochs > 0, name in ("adabn", "tent")
    learns = adapts and not some  # those two move parts of normalisation layers alone
    if name == "translated":  # the source model stays as it is; what it looks through learns
        assert same(without_translator(adapted), before) and len(adapted) > len(before)
        return
    assert torch.equal(*(w["encoder.stages.1.running_mean"] for w in (adapted, before))) != adapts
    for part in ("encoder.stages.0.weight", "bottleneck.0.weight"):
        assert torch.equal(adapted[part], before[part]) is not learns, part
    assert training.method.model is not source_model


@every_method
def test_the_target_model_starts_as_the_source_model(
    name: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    before = {key: value.clone() for key, value in source_model.state_dict().items()}
    training = begin(name, views)
    start = training.until("start")
    assert same(without_translator(training.weights), before)
    assert set(start.look.scores) >= {"entropy", "information_maximisation"}


@every_method
def test_label_free_scores_are_those_of_the_model_as_it_is(
    name: str, views: Views, begin: Begin
) -> None:
    """By their definition, on the centre crops of the target images."""
    training = begin(name, views).finish()
    last = training.taken[-1]
    raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).float()
    images = ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]
    model = training.method.model.eval()
    with torch.no_grad():
        p = model(images).double().softmax(1)
    guard = 1e-5
    entropy = -(p * (p + guard).log()).sum(1).mean()
    mean = p.mean(0)
    diversity = -(mean * (mean + guard).log()).sum()
    assert last.look.scores["entropy"] == pytest.approx(float(entropy), rel=1e-4, abs=1e-5)
    found = last.look.scores["information_maximisation"]
    assert found == pytest.approx(float(entropy - diversity), rel=1e-4, abs=1e-5)


@with_pairs
@pytest.mark.parametrize("empty", [True, False])
def test_a_method_that_needs_pairs_names_those_that_do_not(
    name: str, empty: bool, views: Views, begin: Begin
) -> None:
    pairs = first_pairs(views, 0) if empty else None
    with pytest.raises(MissingPairs) as caught:
        begin(name, views.replaced(pairs=pairs)).finish()
    message = str(caught.value)
    assert repr(name) in message and "kv2/depth" in message
    assert all(other in message for other in methods_without_pairs())


@pytest.mark.parametrize("name", methods_without_pairs())
def test_a_method_that_needs_none_does_not_look_at_them(
    name: str, views: Views, begin: Begin
) -> None:
    first = begin(name, views).finish()
    second = begin(name, views.replaced(pairs=None)).finish()
    assert same(first.weights, second.weights)


def first_pairs(views: Views, count: int) -> ImagePairs:
    assert views.pairs is not None
    halves = [
        type(half)(half.raw[:count], half.format, half.ids[:count])
        for half in (views.pairs.source, views.pairs.target)
    ]
    return ImagePairs(halves[0], halves[1], views.pairs.pair_ids[:count])


# A translator is trained on whole batches of pairs, of which some are kept out: test_tgmb.py.
with_any_pairs = pytest.mark.parametrize(
    "name",
    [name for name in REGISTRY if method_class(name).needs_pairs and name != "translated"],
)


@with_any_pairs
def test_fewer_pairs_than_a_batch_are_enough(name: str, views: Views, begin: Begin) -> None:
    training = begin(name, views.replaced(pairs=first_pairs(views, 3))).finish()
    assert training.taken[-1].kind == "epoch"
    assert all(bool(value.isfinite().all()) for value in training.weights.values())
    assert not same(training.weights, begin(name, views).finish().weights)


@with_any_pairs
def test_pairs_are_swept_without_replacement(name: str, views: Views, begin: Begin) -> None:
    """Both halves come from one row, and five batches of 4 hold each of the 5 pairs four times."""
    training = begin(name, views)
    training.until("start")
    method = training.method
    rows = torch.arange(5, dtype=torch.int32)
    rgb = (rows * 50).to(torch.uint8).view(5, 1, 1, 1).expand(5, 16, 16, 3).contiguous()
    depth = (rows * 10000 + 1000).to(torch.uint16).view(5, 1, 1).expand(5, 16, 16).contiguous()
    old = method.pairs
    method.pairs = replace(
        old, source=replace(old.source, raw=rgb), target=replace(old.target, raw=depth)
    )
    drawn = []
    for step in range(5):
        first, second = method.pair_batch(step)
        found = (first[:, 0, 0, 0] * 255 / 50).round().long()
        other = ((second[:, 0, 0, 0] * 59500 - 500) / 10000).round().long()
        assert torch.equal(found, other)
        drawn += found.tolist()
    assert sorted(drawn) == sorted([0, 1, 2, 3, 4] * 4)
    assert sorted(drawn[:5]) == [0, 1, 2, 3, 4]


@every_method
def test_a_batch_larger_than_the_target_set(name: str, views: Views, begin: Begin) -> None:
    if name == "translated":
        with pytest.raises(ValueError, match="learns from 13 TI pairs at a time; of 5, 1 are kept"):
            begin(name, views, batch_size=64, epochs=1).finish()
        return
    training = begin(name, views, batch_size=64, epochs=1).finish()
    assert training.method.batch_size == 13
    assert training.taken[-1].steps == training.method.epochs * training.method.steps_per_epoch
    assert training.method.steps_per_epoch <= 1


@every_method
def test_one_target_image_is_too_few(name: str, views: Views, begin: Begin) -> None:
    images = views.target.images
    one = replace(images, raw=images.raw[:1], ids=images.ids[:1])
    with pytest.raises(ValueError, match=f"'{name}' needs at least two target images, found 1"):
        begin(name, views.replaced(target=replace(views.target, images=one))).finish()


@every_method
def test_a_stopped_training_keeps_what_it_learnt(name: str, views: Views, begin: Begin) -> None:
    if begin(name, views).finish().taken[-1].steps == 0:
        return
    controls = Controls()
    training = begin(name, views, controls=controls)
    training.until("step", 4)
    controls.stop()
    training.finish()
    last = training.taken[-1]
    assert (last.kind, last.epoch, last.step) == ("stopped", 1, 4)
    assert last.evaluation is not None and last.look.scores
