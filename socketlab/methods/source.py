"""source: the RGB classifier that every transfer starts from, trained on labelled TR images."""

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from socketlab.data.modality import to_unit
from socketlab.data.views import Evaluation, SourceImages
from socketlab.methods import validated
from socketlab.models.classifier import Classifier, normalisation_constants
from socketlab.models.names import Normalisation
from socketlab.training.batches import derive, generator, random_window, shuffled_batch, take
from socketlab.training.inference import Scorer, scorer
from socketlab.training.loop import Task, run_task
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step


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


class Source(Task):
    """Cross-entropy with label smoothing on labelled TR RGB images."""

    name = "source"

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
        options, count = self.options, len(source.images)
        held_out, self.rows = kept_out(count, options.validation, self.seed)
        self.batch_size = min(options.batch_size, len(self.rows))
        if self.batch_size < 2:
            raise ValueError(f"Source training needs at least three images, found {count}.")
        self.steps_per_epoch = len(self.rows) // self.batch_size
        self.images = source.images.to(self.precision.device)
        self.labels = source.labels.to(self.precision.device)
        torch.manual_seed(derive(self.seed, "initial weights"))
        self.model = self._build(source)
        self.weights = {"cross_entropy": 1.0}
        self.optimiser = build_sgd(self.model, options)
        if evaluate is None:
            evaluate = scorer(self._held_out(source, held_out), self.crop, self.precision)
        yield from run_task(self, evaluate=evaluate, controls=controls, state=state)

    def _build(self, source: SourceImages) -> Classifier:
        pixels = None
        if self.options.normalisation == "source_statistics":
            pixels = to_unit(source.images.raw, source.images.format)
        mean, deviation = normalisation_constants(self.options.normalisation, pixels)
        model = Classifier(
            self.options.backbone,
            source.classes,
            weights=self.options.weights,
            mean=mean,
            deviation=deviation,
            bottleneck=self.options.bottleneck,
        )
        return model.to(self.precision.device)

    def _held_out(self, source: SourceImages, rows: Tensor) -> Evaluation:
        part = source.rows(rows)
        return Evaluation(part.images, part.labels, part.classes, part.domain)

    def losses(self, step: int) -> dict[str, Tensor]:
        """Cross-entropy of a batch of labelled RGB images."""
        batch = self.batch_size
        chosen = self.rows[shuffled_batch(len(self.rows), batch, self.seed, "source", step)]
        size = self.images.raw.shape[1]
        window = random_window(batch, size, self.crop, self.seed, "source", step)
        logits = self.model(take(self.images, chosen, window)).float()
        labels = self.labels[chosen.to(self.labels.device)]
        smoothing = self.options.label_smoothing
        return {"cross_entropy": cross_entropy(logits, labels, label_smoothing=smoothing)}
