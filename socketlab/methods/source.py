"""source: the RGB classifier that every transfer starts from, trained on labelled TR images."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from socketlab.data.modality import to_unit
from socketlab.data.views import Evaluation, Images, SourceImages
from socketlab.methods import validated
from socketlab.models.classifier import Classifier, normalisation_constants
from socketlab.models.names import Normalisation
from socketlab.training.batches import (
    derive,
    generator,
    random_window,
    shuffled_batch,
    take,
    to_device,
)
from socketlab.training.estimate import (
    Chooses,
    Expected,
    expect_memory,
    kept_batch_size,
    moving,
)
from socketlab.training.inference import Scorer, predict, scorer
from socketlab.training.loop import run_task
from socketlab.training.optimiser import AUTO, SgdOptions, build_sgd
from socketlab.training.photometric import random_light, relight
from socketlab.training.precision import Precision
from socketlab.training.rehearsal import Rehearsal, few_rows
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step

IMAGES_FOR_STATISTICS = 4096
"""Evenly chosen from twice as many or more: their mean is settled, and not all may fit."""


class SourceOptions(SgdOptions):
    """How the source model is made.

    Defaults with pretrained weights: SOCKET's released program. A network that starts from nothing
    (weights: none) gets learning_rate 0.05 and backbone_factor 1 unless told otherwise.
    """

    backbone: str = "resnet_small"
    weights: str = Field("none", description="none, imagenet, or a safetensors file")
    normalisation: Normalisation = "imagenet"
    bottleneck: int = Field(256, ge=2, description="width of the feature space")
    epochs: int = Field(20, ge=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    colour_jitter: float = Field(
        0.0, ge=0, le=1, description="how far brightness, contrast and saturation are changed"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share kept out, to watch")

    @model_validator(mode="before")
    @classmethod
    def _rates_from_nothing(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("weights", "none") != "none":
            return given
        return {"learning_rate": 0.05, "backbone_factor": 1.0} | given


def check_source_options(options: dict[str, Any]) -> SourceOptions:
    """The options of the source model's training.

    Raises:
        UnknownOption: naming the option, the value found and the known ones.
    """
    return validated(SourceOptions, "The source model", options)


def kept_out(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of `count` images that are kept out of source training, and those that are trained on.

    A fixed random split; at least one row is kept out.
    """
    order = torch.randperm(count, generator=generator(seed, "validation"))
    held_out = max(1, round(count * share))
    return order[:held_out], order[held_out:]


class Source(Chooses):
    """Cross-entropy with label smoothing on labelled TR RGB images."""

    name = "source"
    options: SourceOptions

    def __init__(
        self, options: SourceOptions, *, crop: int, seed: int, precision: Precision
    ) -> None:
        self.options = options
        self.crop = crop
        self.seed = seed
        self.precision = precision
        self.epochs = options.epochs

    def fit(
        self,
        source: SourceImages,
        *,
        evaluate: Scorer | None = None,
        controls: Controls | None = None,
        state: StateFile | None = None,
    ) -> Iterator[Step]:
        """Train `self.model` on 1 - `validation` of `source`, in a fixed random split.

        Args:
            source: labelled RGB images.
            evaluate: what the curve shows; by default accuracy on the part kept out.

        Yields:
            `Step` records, see `run_task`.
        """
        if self.options.batch_size == AUTO and self.expected is None:
            self.expect(source, state=state)
        self.keep_recipe([], source=source)
        held_out = self.set_up(source)
        if evaluate is None:
            evaluate = scorer(self._held_out(source, held_out), self.crop, self.precision)
        yield from run_task(self, evaluate=evaluate, controls=controls, state=state)

    def set_up(self, source: SourceImages) -> Tensor:
        """Images to the device, the network and its optimiser; the rows that are kept out.

        Raises:
            ValueError: for fewer than three images.
        """
        held_out, self.rows = self._parts(len(source.images))
        self.batch_size = self.chosen_batch_size(len(self.rows))
        self.steps_per_epoch = len(self.rows) // self.batch_size
        self.images = source.images.to(self.precision.device)
        self.labels = source.labels.to(self.precision.device)
        torch.manual_seed(derive(self.seed, "initial weights"))
        self.model = self._build(source)
        self.weights = {"cross_entropy": 1.0}
        self.optimiser = build_sgd(self.model, self.options)
        return held_out

    def image_sets(self) -> list[Images]:
        """The labelled images."""
        return [self.images]

    def expect(self, source: SourceImages, *, state: StateFile | None = None) -> Expected:
        """How much memory `fit` with the same arguments will need; also `self.expected` then.

        With `batch_size: auto` this decides which, unless `state` holds a training that has one.

        Raises:
            NotEnoughMemory: if the batch size is `auto` and nothing fits.
            ValueError: for fewer than three images.
        """
        most = len(self._parts(len(source.images))[1])

        def rehearse(batch_size: int) -> Rehearsal:
            images = next(n for n in count(3) if len(self._parts(n)[1]) >= batch_size)
            shown = source.rows(few_rows(len(source.images), images))
            looked = shown.images.rows(few_rows(images, batch_size)).to(self.precision.device)
            small = self.small_copy(batch_size)

            def look() -> None:
                predict(small.model, looked, small.crop, small.precision)

            return Rehearsal(small, lambda: small.set_up(shown), look, batch_size)

        self.expected = expect_memory(
            rehearse,
            precision=self.precision,
            asked=self.options.batch_size,
            images=most,
            kept=kept_batch_size(state),
            resident=moving([source.images], self.precision.device),
            alike=(source.classes, self.alike(source.images)),
        )
        return self.expected

    def _parts(self, images: int) -> tuple[Tensor, Tensor]:
        held_out, rows = kept_out(images, self.options.validation, self.seed)
        if len(rows) < 2:
            raise ValueError(f"Source training needs at least three images, found {images}.")
        return held_out, rows

    def _build(self, source: SourceImages) -> Classifier:
        pixels = None
        if self.options.normalisation == "source_statistics":
            every = max(1, len(source.images) // IMAGES_FOR_STATISTICS)
            pixels = to_unit(source.images.raw[::every], source.images.format)
        mean, deviation = normalisation_constants(self.options.normalisation, pixels)
        model = Classifier(
            self.options.backbone,
            source.classes,
            weights=self.options.weights,
            mean=mean,
            deviation=deviation,
            bottleneck=self.options.bottleneck,
        )
        return self.precision.placed(model)

    def _held_out(self, source: SourceImages, rows: Tensor) -> Evaluation:
        part = source.rows(rows)
        return Evaluation(part.images, part.labels, part.classes, part.domain)

    def batch_rows(self, step: int) -> Tensor:
        """Indices [B] of a step's images, of those that are trained on."""
        batch = self.batch_size
        return self.rows[shuffled_batch(len(self.rows), batch, self.seed, "source", step)]

    def losses(self, step: int) -> dict[str, Tensor]:
        """Cross-entropy of a batch of labelled RGB images."""
        batch = self.batch_size
        chosen = self.batch_rows(step)
        self.read_ahead(self.images, self.batch_rows, step)
        size = self.images.raw.shape[1]
        window = random_window(batch, size, self.crop, self.seed, "source", step)
        own, window = self.part(torch.arange(batch), window)
        images = take(self.images, chosen[own], window)
        if strength := self.options.colour_jitter:
            light = random_light(batch, strength, self.seed, "source", step)
            images = relight(images, light.rows(own))
        logits = self.model(images).float()
        labels = self.labels[to_device(chosen, self.labels.device)]
        smoothing = self.options.label_smoothing
        return {"cross_entropy": cross_entropy(logits, labels, label_smoothing=smoothing)}
