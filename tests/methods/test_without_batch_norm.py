"""Backbones that have no BatchNorm2d: every method runs, or says which term does not apply."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from socketlab.data.views import Views
from socketlab.methods import REGISTRY
from socketlab.models.classifier import Classifier

Begin = Callable[..., Any]
CLASSES = ("bed", "desk", "sofa")


def classifier(backbone: str) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(backbone, CLASSES, bottleneck=8).eval()
    assert not [m for m in model.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    return model


def large(views: Views) -> Views:
    """The same images, twice as high and wide: the patches of a ViT are of 16 pixels."""

    def grown(images: Any) -> Any:
        raw = images.raw.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return type(images)(raw, images.format, images.ids)

    target, evaluation = views.target, views.evaluation
    pairs, partners = (
        type(both)(grown(both.source), grown(both.target), both.pair_ids)
        for both in (views.pairs, views.target_pairs)
        if both is not None
    )
    return views.replaced(
        target=type(target)(grown(target.images), target.domain),
        pairs=pairs,
        target_pairs=partners,
        evaluation=type(evaluation)(
            grown(evaluation.images), evaluation.labels, evaluation.classes, evaluation.domain
        ),
    )


@pytest.mark.parametrize("name", REGISTRY)
def test_every_method_adapts_a_vision_transformer(name: str, views: Views, begin: Begin) -> None:
    model = classifier("vit_tiny_patch16_224")
    training = begin(name, large(views), model=model, epochs=1, crop=32).finish()
    before = model.state_dict()
    found = training.weights
    assert all(bool(value.isfinite().all()) for value in found.values())
    moved = [key for key in found if key not in before or not torch.equal(found[key], before[key])]
    assert bool(moved) is (name != "source_only")
    assert not [key for key in moved if key.startswith("head.")]


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "convnext_atto"])
def test_the_statistics_term_compares_what_layer_normalisations_see(
    backbone: str, views: Views, begin: Begin
) -> None:
    off = {"information_weight": 0, "pseudo_label_weight": 0, "pair_weight": 0}
    about = {"model": classifier(backbone), "epochs": 4, "crop": 32, "learning_rate": 0.05}
    training = begin("socket", large(views), **about, **off, backbone_factor=1).finish()
    values = [float(s.terms["statistics"]) for s in training.taken if s.kind == "epoch"]
    assert 0 < values[-1] < values[0]


def test_a_network_without_any_normalisation_says_what_does_not_apply(
    views: Views, begin: Begin
) -> None:
    model = classifier("vit_tiny_patch16_224")
    model.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 14 * 14, 192))
    with pytest.raises(ValueError, match=r"no normalisation statistics\. Set statistics_weight: 0"):
        begin("socket", views, model=model).finish()
    training = begin("socket", views, model=model, statistics_weight=0).finish()
    assert "statistics" not in training.taken[1].terms
