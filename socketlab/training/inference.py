"""What a classifier says of images, without training it: features, logits, scores."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from socketlab.data.modality import Encoding
from socketlab.data.views import Evaluation, Images
from socketlab.models.mixture import AnyClassifier
from socketlab.models.modes import evaluating
from socketlab.training.batches import centre_window, in_order, take
from socketlab.training.precision import Precision


@dataclass(frozen=True)
class Outputs:
    """Features [N, 256] and logits [N, K] of N images, float32, on the device."""

    features: Tensor
    logits: Tensor

    def to(self, device: torch.device | str) -> "Outputs":
        """The same on another device."""
        return Outputs(self.features.to(device), self.logits.to(device))

    @property
    def probabilities(self) -> Tensor:
        """softmax of the logits, [N, K]."""
        return self.logits.softmax(1)

    @property
    def predicted(self) -> tuple[int, ...]:
        """How many images fall on each class."""
        return tuple(self.logits.argmax(1).bincount(minlength=self.logits.shape[1]).tolist())


@dataclass(frozen=True)
class Score:
    """How a classifier does on labelled images that it was not shown the labels of.

    Attributes:
        accuracy: share of right answers; NaN where there is no labelled image.
        balanced_accuracy: mean over the classes present of the share of right answers; or NaN.
        confusion: counts [K, K], rows the truth, columns the answer.
        answers: predicted class per image [N].
        confidence: largest probability per image [N].
    """

    accuracy: float
    balanced_accuracy: float
    confusion: Tensor
    answers: Tensor
    confidence: Tensor

    @property
    def n(self) -> int:
        """Number of images scored."""
        return len(self.answers)

    @property
    def accuracies(self) -> dict[str, float]:
        """Both accuracies by name; empty where there is no labelled image."""
        if math.isnan(self.accuracy):
            return {}
        return {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}


@dataclass(frozen=True)
class Known:
    """What a model has just said of images, so that nobody need ask it again.

    Attributes:
        ids: of the images, in the order of the outputs.
        shown: crop and encoding with which it saw them.
        outputs: features and logits of them.
    """

    ids: tuple[str, ...]
    shown: tuple[int, Encoding]
    outputs: Outputs


class Scorer(Protocol):
    """The loop's scoring hook: it alone holds the labels of the target."""

    def __call__(self, model: AnyClassifier, known: Known | None = None) -> Score:
        """How `model` does; what is `known` of the images to be scored is not asked again."""


Assessor = Callable[[AnyClassifier, Outputs], dict[str, float]]
"""Label-free scores of a model, given what it says of all target images."""


def looked_at_once(device: torch.device) -> int:
    """How many images `predict` gives a model at once: on a CPU few, which stay in its caches."""
    return 64 if device.type == "cpu" else 256


def predict(
    model: AnyClassifier,
    images: Images,
    crop: int,
    precision: Precision,
    *,
    encoding: Encoding = "replicate",
    batch_size: int | None = None,
) -> Outputs:
    """Features and logits of every image, centre crop, in the order of the images.

    By default as many images at once as `looked_at_once` says.
    """
    batch_size = batch_size or looked_at_once(precision.device)
    size = images.raw.shape[1]
    features, logits = [], []
    with evaluating(model), precision.autocast():
        for index in in_order(images, batch_size):
            batch = take(images, index, centre_window(len(index), size, crop), encoding)
            found, answers = model.outputs(batch)
            features.append(found.float())
            logits.append(answers.float())
    return Outputs(torch.cat(features), torch.cat(logits))


def score(logits: Tensor, labels: Tensor) -> Score:
    """Accuracy, balanced accuracy and confusion matrix of logits [N, K] against labels [N].

    Of no images, N = 0, the accuracies are NaN.
    """
    classes = logits.shape[1]
    confidence, answers = logits.softmax(1).max(1)
    labels = labels.to(answers.device)
    confusion = torch.bincount(labels * classes + answers, minlength=classes**2)
    confusion = confusion.view(classes, classes).cpu()
    right, present = confusion.diagonal(), confusion.sum(1) > 0
    recall = right[present] / confusion.sum(1)[present]
    return Score(
        accuracy=float(right.sum() / confusion.sum()),
        balanced_accuracy=float(recall.mean()),
        confusion=confusion,
        answers=answers.cpu(),
        confidence=confidence.cpu(),
    )


def scorer(
    evaluation: Evaluation, crop: int, precision: Precision, encoding: Encoding = "replicate"
) -> Scorer:
    """The scoring hook of `evaluation`. Images that are adapted on too are looked at once."""
    images, everything = evaluation.images, torch.arange(len(evaluation.images))

    @lru_cache(maxsize=2)  # all of them at the start, and those that are not adapted on
    def on_device(rows: tuple[int, ...]) -> Images:
        chosen = images if len(rows) == len(images) else images.rows(torch.tensor(rows))
        return chosen.to(precision.device)

    def run(model: AnyClassifier, known: Known | None = None) -> Score:
        if not len(images):  # nobody has labelled any: not every network takes none
            return score(torch.zeros(0, len(evaluation.classes)), evaluation.labels)
        row_of: dict[str, int] = {}
        if known is not None and known.shown == (crop, encoding):
            row_of = {name: row for row, name in enumerate(known.ids)}
        there = torch.tensor([row_of.get(name, -1) for name in images.ids])
        fresh = everything[there < 0]
        logits = torch.empty(len(images), len(evaluation.classes), device=precision.device)
        if known is not None and len(fresh) < len(images):
            old = everything[there >= 0].to(precision.device)
            logits[old] = known.outputs.logits[there[there >= 0].to(precision.device)]
        if len(fresh):
            rest = on_device(tuple(fresh.tolist()))
            found = predict(model, rest, crop, precision, encoding=encoding)
            logits[fresh.to(precision.device)] = found.logits
        return score(logits, evaluation.labels)

    return run
