"""What all transfer methods share: a student that starts as the source model, and its batches."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, TargetImages
from socketlab.methods import (
    check_channels,
    methods_for_several_sources,
    methods_without_pairs,
)
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, Mixture, joined
from socketlab.models.translator import Translator
from socketlab.training.batches import (
    Window,
    centre_window,
    random_window,
    shuffled_batch,
    take,
    take_pairs,
)
from socketlab.training.inference import Assessor, Outputs, Scorer, predict
from socketlab.training.loop import Task, run_task
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.statistics import reestimate_statistics
from socketlab.training.steps import Controls, Look, Step


class MissingPairs(ValueError):  # noqa: N818 - reads as the thing found
    """A method that learns from TI pairs was given none."""


class SeveralSources(ValueError):  # noqa: N818 - reads as the thing found
    """A method that moves one source model was given several."""


class MissingTranslator(ValueError):  # noqa: N818 - reads as the thing found
    """A method that sees through a translator was given none."""


class Options(SgdOptions):
    """What a person may choose for every transfer method."""

    epochs: int = Field(15, ge=0, description="passes over the target images")


class FirstLook(Options):
    """What a method does that begins with its own answers on all target images."""

    statistics_first: bool = Field(
        False, description="look with the target's BatchNorm statistics, not the source's"
    )


class Transfer(Task):
    """A method that adapts the source model to a new modality without its labels.

    A subclass names its loss terms in `losses` and their weights in `term_weights`; `student` is
    trained, `teacher` is the source model, frozen in eval mode.

    Class attributes:
        name: as registered.
        needs_pairs: whether it learns from TI pairs.
        several_sources: whether it can move several source models at once.
        needs_translator: whether it sees target images through a translator, which has been trained
            before; if so, it has an option `translator` that says whose.
        trains_translator: whether what it trains is a translator.
        inferred: what of it is our reading of a paper that is not public; kept in the model's card.
        upper_reference: whether it sees what a method must not see (an oracle); if so, its
            constructor takes `views`.
        options_model: the pydantic model of what can be chosen.
    """

    name: ClassVar[str]
    needs_pairs: ClassVar[bool] = False
    several_sources: ClassVar[bool] = False
    needs_translator: ClassVar[bool] = False
    trains_translator: ClassVar[bool] = False
    inferred: ClassVar[str] = ""
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
        translator: Translator | None = None,
    ) -> None:
        check_channels(type(self), encoding)
        self.options = options
        self._given_translator = translator
        self.crop = crop
        self.seed = seed
        self.precision = precision
        self.encoding: Encoding = encoding
        self.epochs = options.epochs

    def fit(
        self,
        source_models: Classifier | Sequence[Classifier],
        target: TargetImages,
        pairs: ImagePairs | None = None,
        *,
        evaluate: Scorer | None = None,
        assess: Assessor | None = None,
        controls: Controls | None = None,
        state: StateFile | None = None,
    ) -> Iterator[Step]:
        """Adapt a copy of the source model to `target`; `self.model` is the target model.

        Args:
            source_models: the classifier trained on RGB, or several; they are not changed.
            target: unlabelled TR images of the new modality.
            pairs: TI pairs, needed where `needs_pairs`.
            evaluate: scores the model at the start and after every epoch; nothing of it is
                used in training.
            assess: label-free scores, at the same times; nothing of them is used either.

        Yields:
            `Step` records, see `run_task`.

        Raises:
            MissingPairs: if the method needs TI pairs and there are none.
            SeveralSources: if there are several source models and it can move only one.
        """
        device = self.precision.device
        sources = [source_models] if isinstance(source_models, Classifier) else [*source_models]
        if len(sources) > 1 and not self.several_sources:
            raise SeveralSources(
                f"{self.name!r} moves one source model, found {len(sources)}. Methods for "
                f"several: {', '.join(methods_for_several_sources())}."
            )
        if self.needs_pairs and (pairs is None or len(pairs.pair_ids) == 0):
            raise MissingPairs(
                f"{self.name!r} learns from TI pairs, and the protocol selects none for "
                f"{target.domain}. Methods that work without: "
                f"{', '.join(methods_without_pairs())}."
            )
        self.target = target.images.to(device)
        if self.needs_pairs and pairs is not None:
            self.pairs = pairs.to(device)
        self.batch_size = min(self.options.batch_size, len(self.target))
        if self.batch_size < 2:
            raise ValueError(
                f"{self.name!r} needs at least two target images, found {len(self.target)}."
            )
        self.steps_per_epoch = len(self.target) // self.batch_size
        source_model = joined(sources)
        self.teacher = source_model.frozen().to(device)
        self.student = source_model.student().to(device)
        self.model = self.student
        self.weights = self.term_weights()
        self._assess = assess
        self._outputs: Outputs | None = None
        self.prepare()
        self.optimiser = self.build_optimiser()
        yield from run_task(self, evaluate=evaluate, controls=controls, state=state)

    def given_translator(self) -> Translator:
        """A frozen copy of the translator that was given, in eval mode, on the device.

        Raises:
            MissingTranslator: if none was.
        """
        if self._given_translator is None:
            raise MissingTranslator(
                f"{self.name!r} sees target images through a translator and was given none. Train "
                "one first (04_train_translator, method 'translated') and give it as `translator`."
            )
        copied = copy.deepcopy(self._given_translator)
        return copied.requires_grad_(False).eval().to(self.precision.device)

    def prepare(self) -> None:
        """Once before training, when student, teacher and images are there."""

    def build_optimiser(self) -> torch.optim.Optimizer:
        """Over what the student learns; each group has a `name` and its starting `base` rate."""
        return build_sgd(self.student, self.options)

    @abstractmethod
    def term_weights(self) -> dict[str, float]:
        """Weight of each loss term by name."""

    def wants(self, term: str) -> bool:
        """Whether a term is there and has a weight, so that its cost is worth paying."""
        return self.weights.get(term, 0.0) != 0

    def target_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Indices [B] and augmented target images [B, C, crop, crop] of a step."""
        index = shuffled_batch(len(self.target), self.batch_size, self.seed, "target", step)
        window = self.window("target", step, self.batch_size)
        return index, take(self.target, index, window, self.encoding)

    def pair_rows(self, step: int) -> Tensor:
        """Indices [B] of as many pairs, swept without replacement."""
        return shuffled_batch(len(self.pairs), self.batch_size, self.seed, "pairs", step)

    def pair_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """RGB and target-modality images of a step's pairs, with the same crop and flip."""
        index = self.pair_rows(step)
        window = self.window("pairs", step, len(index))
        return take_pairs(self.pairs, index, window, self.encoding)

    def window(self, stream: str, step: int, count: int) -> Window:
        """The crops and flips of a step."""
        size = self.target.raw.shape[1]
        return random_window(count, size, self.crop, self.seed, stream, step)

    def outputs(self) -> Outputs:
        """Features and logits of all target images, eval mode, of the model as it is now."""
        if self._outputs is None:
            self._outputs = self.outputs_of(self.student)
        return self._outputs

    def outputs_of(self, model: AnyClassifier) -> Outputs:
        """Features and logits of all target images, eval mode, centre crop."""
        return predict(model, self.target, self.crop, self.precision, encoding=self.encoding)

    def with_target_statistics(self) -> AnyClassifier:
        """A copy of the student whose BatchNorm statistics are those of all target images."""
        adapted = copy.deepcopy(self.student)
        self.estimate_statistics(adapted)
        return adapted

    def estimate_statistics(self, model: AnyClassifier | None = None) -> None:
        """BatchNorm statistics of the student anew: the plain average over all target images."""
        size, batch, count = self.target.raw.shape[1], self.batch_size, len(self.target)
        window = centre_window(batch, size, self.crop)
        # Mixed batches: images that lie side by side look alike, and vary too little.
        order = (
            shuffled_batch(count, batch, self.seed, "settle", position)
            for position in range(-(-count // batch))
        )
        batches = (take(self.target, index, window, self.encoding) for index in order)
        with self.precision.autocast():
            reestimate_statistics(model or self.student, batches)

    def look(self) -> Look:
        """Label-free scores, images in each class, and the weights of several sources."""
        self._outputs = None
        found = self.outputs()
        scores = self._assess(self.student, found) if self._assess else {}
        mixing = self.mixing_weights() if isinstance(self.student, Mixture) else torch.empty(0)
        return Look(scores, found.predicted, tuple(mixing.tolist()))

    def pseudo_labels(self) -> Tensor | None:
        """Class indices [N] that this epoch learns from; None where the method makes none."""
        return None

    def mixing_weights(self) -> Tensor:
        """alpha [n] of the n source models as a constant; 1 where there is one."""
        if isinstance(self.student, Mixture):
            return self.student.mixing_weights().detach()
        return torch.ones(1, device=self.precision.device)
