"""Which layers carry the gap: normalisation statistics by layer, and what replacing each does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan

import pandas as pd
import torch
from torch import Tensor, nn

from socketlab.data.modality import Encoding
from socketlab.data.views import Images
from socketlab.gap.layers import inner_network, one_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.training.batches import centre_window, generator, take
from socketlab.training.inference import Score, Scorer
from socketlab.training.precision import Precision
from socketlab.training.statistics import (
    every_batch_norm,
    input_statistics,
    normalisation_layers,
    reestimate_statistics,
)

BATCH = 256
_LAYER = ("layer", "position", "channels")
_DISTANCES = ("mean_gap", "variance_gap", "mean_distance", "variance_distance")
GAP_COLUMNS = (*_LAYER, "moment", *_DISTANCES, "note")
REPLACED_COLUMNS = (*_LAYER, "images", "scored", "accuracy", "balanced_accuracy", "note")

Moments = tuple[Tensor, Tensor]
"""Mean [C] and variance [C] of the input of a layer."""


def statistics_gap(
    source_model: AnyClassifier,
    model: AnyClassifier | None,
    rgb: Images,
    target: Images,
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
) -> pd.DataFrame:
    """How far the inputs of every normalisation layer are from those that the source model knows.

    mean_distance = ||mu - mu^s||,  variance_distance = ||var - var^s||  over the C channels
    mean_gap = mean_distance / ||sqrt(var^s)||,  variance_gap = variance_distance / ||var^s||

    The gaps have no unit, so that layers of any width and scale compare: 0 is the source's own, 1
    a shift as large as the spread on RGB. Norms are divided and not channels, since in trained
    networks some channels never fire, and their variance of nearly 0 would make all of the sum.

    mu and var [C] are those of all images and positions (centre crop, eval mode), mu^s and var^s
    the source model's running statistics. A layer that keeps none (LayerNorm, GroupNorm) is
    compared with its own on `rgb`: "source" is 0 there, and the note says so.

    Args:
        source_model: F_s, trained on RGB. Moved to the device, else left as it was.
        model: the target model, of the same architecture; None leaves out "after".
        rgb, target: RGB images, and those of the other modality, at best of the same scenes.

    Returns:
        A row per layer and moment: `layer` (its name in the encoder, or `bottleneck.1`),
        `position` (from 1, in the order of the modules), `channels`, `moment` ("source": source
        model on RGB, "before": source model on target images, "after": target model on them), the
        four numbers (NaN where statistics are not finite, as in a model that has diverged), and
        `note`. Without any such layer there are no rows, and `attrs["reason"]` says why.

    Raises:
        ValueError: for a mixture, or models that differ in their layers.

    Source: SOCKET (ECCV 2022), L_d, for the distances; the division is ours.
    """
    source = one_classifier(source_model)
    found = {
        "source": _measured(source, rgb, crop, precision, "replicate"),
        "before": _measured(source, target, crop, precision, encoding),
    }
    if model is not None:
        adapted = _measured(one_classifier(model), target, crop, precision, encoding)
        _check_layers(found["source"], adapted)
        found["after"] = adapted
    running = _running(source)
    rows = []
    for moment, statistics in found.items():
        for position, (name, moments) in enumerate(statistics.items(), start=1):
            numbers, note = _gap(moments, running.get(name, found["source"][name]))
            if moment == "source" and name not in running:
                note = note or "the reference itself"
            rows.append((name, position, len(moments[0]), moment, *numbers, note))
    return _frame(rows, GAP_COLUMNS, source, "normalisation layer")


def replaced_statistics(
    model: AnyClassifier,
    images: Images,
    score: Scorer,
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
    *,
    most_images: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of the source model when only ONE layer's running statistics are the target's.

    The target's are measured at every BatchNorm (that of the bottleneck too) in one pass of the
    untouched model, "none"; then each layer in turn gets its own, is scored, and gets back what it
    had. In "all", every layer's are estimated anew, on what those before it then give, as in adabn.

    Args:
        model: the source model. Moved to the device, else left as it was, bit by bit.
        images: target images; labels are `score`'s alone.
        score: see `training.inference.scorer`; called once per layer and twice more.
        most_images: statistics are measured on so many images, drawn with `seed`; None: on all.

    Returns:
        A row per layer, between "none" and "all": `layer`, `position` and `channels` as in
        `statistics_gap` (0 for "none"), `images` measured and `scored` on, `accuracy` and
        `balanced_accuracy` (in [0, 1]; NaN where statistics or answers are not finite), `note`. A
        model without running statistics gives no rows, and `attrs["reason"]` says why.

    Raises:
        ValueError: for a mixture, or fewer than two images.

    Source: "all" is adaptive batch normalisation, Li et al. 2016 (arXiv 1603.04779).
    """
    classifier = one_classifier(model).to(precision.device)
    if not _running(classifier):
        return _frame([], REPLACED_COLUMNS, classifier, "BatchNorm that keeps statistics")
    count = len(images) if most_images is None else min(most_images, len(images))
    if count < 2:
        raise ValueError(
            f"Statistics of {count} of {len(images)} images have no variance. Give two images or "
            "more, and most_images: 2 or more."
        )
    order = torch.randperm(len(images), generator=generator(seed, "replaced statistics"))[:count]
    images, layers = images.to(precision.device), _layers(classifier)
    with precision.autocast():
        measured = input_statistics(classifier, layers, _batches(images, order, crop, encoding))
    rows: list[tuple[object, ...]] = [("none", 0, 0, 0, *_scored(score(classifier)))]
    kept = [(place, *item) for place, item in enumerate(measured.items(), 1) if _keeps(item[0])]
    for position, layer, moments in kept:
        outcome = (0, nan, nan, "the statistics to put in are not finite")
        if _finite(moments):
            with _restored([layer]):
                layer.get_buffer("running_mean").copy_(moments[0])
                layer.get_buffer("running_var").copy_(moments[1])
                outcome = _scored(score(classifier))
        rows.append((layers[layer], position, len(moments[0]), count, *outcome))
    with _restored(layers):
        with precision.autocast():
            reestimate_statistics(classifier, _batches(images, order, crop, encoding))
        outcome = _scored(score(classifier))
    rows.append(("all", len(measured) + 1, sum(len(m) for *_, (m, _) in kept), count, *outcome))
    return _frame(rows, REPLACED_COLUMNS, classifier, "")


def _layers(classifier: Classifier) -> dict[nn.Module, str]:
    """Normalisation layers of encoder and bottleneck by name; an encoder's is the name in it."""
    chosen = {*normalisation_layers(classifier.encoder), *every_batch_norm(classifier)}
    named = {module: name for name, module in inner_network(classifier).named_modules()}
    named |= {module: f"bottleneck.{k}" for k, module in classifier.bottleneck.named_modules()}
    return {module: name for module, name in named.items() if module in chosen}


def _keeps(layer: nn.Module) -> bool:
    return getattr(layer, "running_mean", None) is not None


def _running(classifier: Classifier) -> dict[str, Moments]:
    return {
        name: (layer.get_buffer("running_mean").cpu(), layer.get_buffer("running_var").cpu())
        for layer, name in _layers(classifier).items()
        if _keeps(layer)
    }


def _batches(images: Images, order: Tensor, crop: int, encoding: Encoding) -> Iterator[Tensor]:
    # Of nearly one size: in train mode a last batch of a single image has no variance.
    for index in torch.tensor_split(order, max(1, -(-len(order) // BATCH))):
        window = centre_window(len(index), images.raw.shape[1], crop)
        yield take(images, index, window, encoding)


def _measured(
    classifier: Classifier, images: Images, crop: int, precision: Precision, encoding: Encoding
) -> dict[str, Moments]:
    layers = _layers(classifier.to(precision.device))
    batches = _batches(images.to(precision.device), torch.arange(len(images)), crop, encoding)
    with precision.autocast():
        found = input_statistics(classifier, layers, batches)
    return {
        layers[layer]: (mean.cpu(), variance.cpu()) for layer, (mean, variance) in found.items()
    }


def _check_layers(source: Mapping[str, Moments], other: Mapping[str, Moments]) -> None:
    first, second = ({name: len(m) for name, (m, _) in found.items()} for found in (source, other))
    for name in [name for name in [*first, *second] if first.get(name) != second.get(name)]:
        raise ValueError(
            f"Layer {name!r} has {first.get(name, 'no')} channels in the source model and "
            f"{second.get(name, 'no')} in the target model. Compare models of one backbone."
        )


def _gap(found: Moments, reference: Moments) -> tuple[tuple[float, float, float, float], str]:
    """The numbers in the order of their columns, and what is wrong with them."""
    if not _finite(reference):
        return (nan, nan, nan, nan), "the source model's statistics are not finite"
    if not _finite(found):
        return (nan, nan, nan, nan), "the statistics are not finite: the model has diverged"
    (mean, variance), (mean_s, variance_s) = ([p.double() for p in m] for m in (found, reference))
    distances = float((mean - mean_s).norm()), float((variance - variance_s).norm())
    spread = float(variance_s.sum().sqrt()), float(variance_s.norm())
    if not min(spread) > 0:
        return (nan, nan, *distances), "the source model's variance is zero"
    return (distances[0] / spread[0], distances[1] / spread[1], *distances), ""


def _finite(moments: Moments) -> bool:
    return all(bool(part.isfinite().all()) for part in moments)


def _scored(score: Score) -> tuple[int, float, float, str]:
    if not score.confidence.isfinite().all():
        return score.n, nan, nan, "the answers are not finite"
    return score.n, score.accuracy, score.balanced_accuracy, ""


@contextmanager
def _restored(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Buffers of `layers` are afterwards what they were before."""
    before = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _frame(
    rows: Sequence[tuple[object, ...]], columns: Sequence[str], model: Classifier, lacks: str
) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    frame.attrs = {} if rows else {"reason": f"The {model.backbone!r} classifier has no {lacks}."}
    return frame
