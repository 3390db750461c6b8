"""What an own source model must be so that it can be adapted; each failure with its way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier
from socketlab.models.modes import evaluating
from socketlab.models.own_model_spec import OwnModel, OwnModelError
from socketlab.models.own_program import ScriptProgram

TOLERANCE = 1e-4
"""How far a logit of the wrapped network may be from the original's, as a share of the largest."""
_REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)
"""What a network raises for images that it does not take."""


@dataclass(frozen=True)
class Reach:
    """What methods can reach in a classifier, which decides what works.

    Attributes:
        normalisation: how many normalisation layers they can look at.
        statistics: how many BatchNorms there are, whose statistics they can estimate anew.
        sealed: whether it is a program whose layers nobody can reach.
    """

    normalisation: int
    statistics: int
    sealed: bool

    def __str__(self) -> str:
        """E.g. "20 normalisation layers, 20 of them BatchNorm"."""
        if self.sealed:
            return "a program whose normalisation statistics stay those of its training"
        return f"{self.normalisation} normalisation layers, {self.statistics} of them BatchNorm"


def reach_of(model: Classifier) -> Reach:
    """What methods can reach in `model`."""
    layers = [m for m in model.encoder.modules() if not isinstance(m, torch.jit.ScriptModule)]
    statistics = [m for m in layers if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kinds = nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm
    seen = [m for m in layers if isinstance(m, kinds)]
    return Reach(len(seen), len(statistics), isinstance(model.encoder, ScriptProgram))


def scores_of(whole: nn.Module, images: Tensor, own: OwnModel) -> Tensor:
    """Scores [2, K] that the whole network gives of images [2, 3, crop, crop].

    Raises:
        OwnModelError: if it does not take images of this size or number, or gives no scores.
    """
    try:
        with evaluating(whole):
            given: Any = whole(images)
    except _REFUSALS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:160]
        crop, made = images.shape[-1], own.crop_pixels
        proper = torch.zeros(2, 3, made, made)
        if crop != made and passed(whole, proper) is not None:
            raise OwnModelError(
                f"{own.network!r} takes only images of {made} x {made} pixels and was to see "
                f"{crop} x {crop} ({reason}). Set crop: {made}, and size: {own.size}."
            ) from error
        if passed(whole, proper[:1]) is not None:
            raise OwnModelError(
                f"{own.network!r} takes one image at a time ({reason}). Export it for batches of "
                "any number: torch.export.export(model, (example,), dynamic_shapes="
                '({0: torch.export.Dim("batch")},)), with two images in the example.'
            ) from error
        raise OwnModelError(
            f"{own.network!r} does not take images [2, 3, {crop}, {crop}] ({reason}). Say in "
            "`size` and `crop` what it was made for, and export it for batches of any number."
        ) from error
    if not isinstance(given, Tensor) or given.ndim != 2 or not given.is_floating_point():
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise OwnModelError(
            f"{own.network!r} gives {shape} of two images, and not class scores [2, K]. Wrap it so "
            "that it gives one tensor of scores, and export that."
        )
    return given.float()


def passed(network: nn.Module, images: Tensor) -> Any:
    """What a network gives of images in eval mode; None where it does not take them."""
    try:
        with evaluating(network):
            return network(images)
    except _REFUSALS:
        return None


def check_scores(own: OwnModel, scores: Tensor, beside_another: Tensor) -> None:
    """Whether scores [2, K] of two images are those of a classifier at rest.

    Args:
        own: what its file says.
        scores: of two images.
        beside_another: of two images of which only the first is the same.

    Raises:
        OwnModelError: for another number of outputs, scores that depend on other images, or
            probabilities.
    """
    if scores.shape[1] != len(own.classes):
        raise OwnModelError(
            f"{own.network!r} gives {scores.shape[1]} scores and `classes` lists "
            f"{len(own.classes)}. List the name of every output, in their order."
        )
    if not torch.allclose(scores[0], beside_another[0], rtol=1e-3, atol=1e-4):
        raise OwnModelError(
            f"{own.network!r} gives an image other scores when another image is beside it. It was "
            "saved in train mode: call model.eval() before it is traced or exported."
        )
    one = torch.ones(2)
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), one, atol=1e-3):
        raise OwnModelError(
            f"{own.network!r} gives probabilities (each row sums to 1): after its last linear "
            "layer comes a softmax. Save it without, so that it gives the scores before."
        )
    if torch.allclose(scores.exp().sum(1), one, atol=1e-3):
        raise OwnModelError(
            f"{own.network!r} gives logarithms of probabilities: after its last linear layer comes "
            "a log-softmax. Save it without, so that it gives the scores before."
        )


def check_cut(
    own: OwnModel,
    layer: str,
    features: Any,
    weight: Tensor,
    bias: Tensor | None,
    scores: Tensor,
) -> None:
    """Whether head(features) are the scores [2, K] that the whole network gave.

    Raises:
        OwnModelError: if `layer` is not the last one, or something follows it.
    """
    width = weight.shape[1]
    fits = isinstance(features, Tensor) and tuple(features.shape) == (2, width)
    if fits and len(weight) == scores.shape[1]:
        logits = nn.functional.linear(features.float(), weight.float(), bias)
        if float((logits - scores).abs().max()) <= TOLERANCE * float(scores.abs().max() + 1):
            return
    raise OwnModelError(
        f"The scores of {own.network!r} are not those of its layer {layer!r} alone: it is not the "
        "last linear layer, or something follows it (a sigmoid, a temperature, a second head). Set "
        "feature_layer to the last one, or save the network without what follows."
    )
