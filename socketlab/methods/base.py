"""What all transfer methods share: a student that starts as the source model, and its batches."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, TargetImages
from socketlab.methods import methods_without_pairs
from socketlab.models.classifier import Classifier
from socketlab.objectives import information_maximisation, mean_entropy
from socketlab.training.batches import Window, random_window, shuffled_batch, take, take_pairs
from socketlab.training.inference import Outputs, Scorer, predict
from socketlab.training.loop import Controls, Step, Task, run_task
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile


class MissingPairs(ValueError):  # noqa: N818 - reads as the thing found
    """A method that learns from TI pairs was given none."""


class Options(SgdOptions):
    """What a person may choose for every transfer method."""

    epochs: int = Field(15, ge=0, description="passes over the target images")


class Transfer(Task):
    """A method that adapts the source model to a new modality without its labels.

    A subclass names its loss terms in `losses` and their weights in `term_weights`; `student` is
    trained, `teacher` is the source model, frozen in eval mode.

    Class attributes:
        name: as registered.
        needs_pairs: whether it learns from TI pairs.
        upper_reference: whether it sees what a method must not see (an oracle).
        options_model: the pydantic model of what can be chosen.
    """

    name: ClassVar[str]
    needs_pairs: ClassVar[bool] = False
    upper_reference: ClassVar[bool] = False
    options_model: ClassVar[type[Options]] = Options

    def __init__(
        self,
        options: Options,
        *,
        crop: int,
        seed: int,
        precision: Precision,
        encoding: Encoding = "replicate",
    ) -> None:
        self.options = options
        self.crop = crop
        self.seed = seed
        self.precision = precision
        self.encoding: Encoding = encoding
        self.epochs = options.epochs

    def fit(
        self,
        source_model: Classifier,
        target: TargetImages,
        pairs: ImagePairs | None = None,
        *,
        evaluate: Scorer | None = None,
        controls: Controls | None = None,
        state: StateFile | None = None,
    ) -> Iterator[Step]:
        """Adapt a copy of `source_model` to `target`; `self.model` is the target model.

        Args:
            source_model: the classifier trained on RGB; it is not changed.
            target: unlabelled TR images of the new modality.
            pairs: TI pairs, needed where `needs_pairs`.
            evaluate: scores the model at the start and after every epoch; nothing of it is
                used in training.

        Yields:
            `Step` records, see `run_task`.

        Raises:
            MissingPairs: if the method needs TI pairs and there are none.
        """
        device = self.precision.device
        if self.needs_pairs and (pairs is None or len(pairs.pair_ids) == 0):
            raise MissingPairs(
                f"{self.name!r} learns from TI pairs, and the protocol selects none for "
                f"{target.domain}. Methods that work without: "
                f"{', '.join(methods_without_pairs())}."
            )
        self.target = target.images.to(device)
        if self.needs_pairs and pairs is not None:
            self.pairs = ImagePairs(
                pairs.source.to(device), pairs.target.to(device), pairs.pair_ids
            )
        self.batch_size = min(self.options.batch_size, len(self.target))
        if self.batch_size < 2:
            raise ValueError(
                f"{self.name!r} needs at least two target images, found {len(self.target)}."
            )
        self.steps_per_epoch = len(self.target) // self.batch_size
        self.teacher = source_model.frozen().to(device)
        self.student = source_model.student().to(device)
        self.model = self.student
        self.weights = self.term_weights()
        self.optimiser = build_sgd(self.student, self.options)
        self._outputs: Outputs | None = None
        self.prepare()
        yield from run_task(self, evaluate=evaluate, controls=controls, state=state)

    def prepare(self) -> None:
        """Once before training, when student, teacher and images are there."""

    @abstractmethod
    def term_weights(self) -> dict[str, float]:
        """Weight of each loss term by name."""

    def wants(self, term: str) -> bool:
        """Whether a term has a weight, so that its cost is worth paying."""
        return self.weights[term] != 0

    def target_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Indices [B] and augmented target images [B, C, crop, crop] of a step."""
        index = shuffled_batch(len(self.target), self.batch_size, self.seed, "target", step)
        return index, take(self.target, index, self._window("target", step), self.encoding)

    def pair_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """RGB and target-modality images of as many TI pairs, with the same crop and flip."""
        count = len(self.pairs.pair_ids)
        index = shuffled_batch(count, self.batch_size, self.seed, "pairs", step)
        return take_pairs(self.pairs, index, self._window("pairs", step), self.encoding)

    def _window(self, stream: str, step: int) -> Window:
        size = self.target.raw.shape[1]
        return random_window(self.batch_size, size, self.crop, self.seed, stream, step)

    def outputs(self) -> Outputs:
        """Features and logits of all target images, eval mode, of the model as it is now."""
        if self._outputs is None:
            self._outputs = predict(
                self.student, self.target, self.crop, self.precision, encoding=self.encoding
            )
        return self._outputs

    def label_free_scores(self) -> dict[str, float]:
        """Mean entropy and information maximisation on the target images."""
        self._outputs = None
        logits = self.outputs().logits
        return {
            "entropy": float(mean_entropy(logits)),
            "information_maximisation": float(information_maximisation(logits)),
        }
