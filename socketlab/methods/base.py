"""What all transfer methods share: a student that starts as the source model, and its batches."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, TargetImages
from socketlab.methods import check_channels
from socketlab.methods.expecting import Expecting
from socketlab.methods.options import MissingTranslator, Options
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture, joined
from socketlab.models.translator import Translator
from socketlab.training.inference import Assessor, Known, Scorer
from socketlab.training.loop import run_task
from socketlab.training.optimiser import AUTO, build_sgd
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Look, Step


class Transfer(Expecting):
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
    options: Options

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
        if self.options.batch_size == AUTO and self.expected is None:
            self.expect(source_models, target, pairs, state=state)
        sources = self.checked(source_models, target, pairs)
        self.keep_recipe(sources, target=target, pairs=pairs)
        self._assess = assess
        self.set_up(sources, target, pairs)
        yield from run_task(self, evaluate=evaluate, controls=controls, state=state)

    def set_up(
        self, sources: Sequence[Classifier], target: TargetImages, pairs: ImagePairs | None
    ) -> None:
        """Images to the device, networks, and the optimiser: all that comes before the first step.

        Args:
            sources: the source models.
            target: as `fit` is given it.
            pairs: the same.
        """
        device = self.precision.device
        self.target = target.images.to(device)
        if self.needs_pairs and pairs is not None:
            self.pairs = pairs.to(device)
        self.batch_size = self.chosen_batch_size(len(self.target))
        self.steps_per_epoch = len(self.target) // self.batch_size
        source_model = joined(sources)
        self.teacher = self.precision.placed(source_model.frozen())
        self.student = self.precision.placed(source_model.student())
        self.model = self.student
        self.weights = self.term_weights()
        self._outputs = None
        self.prepare()
        self.optimiser = self.build_optimiser()

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
        return self.precision.placed(copied.requires_grad_(False).eval())

    def prepare(self) -> None:
        """Once before training, when student, teacher and images are there."""

    def networks(self) -> list[Classifier]:
        """Student and teacher."""
        return [*self.student.members, *self.teacher.members]

    def build_optimiser(self) -> torch.optim.Optimizer:
        """Over what the student learns; each group has a `name` and its starting `base` rate."""
        return build_sgd(self.student, self.options)

    @abstractmethod
    def term_weights(self) -> dict[str, float]:
        """Weight of each loss term by name."""

    def wants(self, term: str) -> bool:
        """Whether a term is there and has a weight, so that its cost is worth paying."""
        return self.weights.get(term, 0.0) != 0

    def look(self) -> Look:
        """Label-free scores, images in each class, and the weights of several sources."""
        self._outputs = None
        found = self.outputs()
        scores = self._assess(self.student, found) if self._assess else {}
        mixing = self.mixing_weights() if isinstance(self.student, Mixture) else torch.empty(0)
        return Look(scores, found.predicted, tuple(mixing.tolist()))

    def known(self) -> Known | None:
        """What the last look has found the student to say of the target images."""
        if self._outputs is None or self.model is not self.student:
            return None
        return Known(self.target.ids, (self.crop, self.encoding), self._outputs)

    def pseudo_labels(self) -> Tensor | None:
        """Class indices [N] that this epoch learns from; None where the method makes none."""
        return None

    def mixing_weights(self) -> Tensor:
        """alpha [n] of the n source models as a constant; 1 where there is one."""
        if isinstance(self.student, Mixture):
            return self.student.mixing_weights().detach()
        return torch.ones(1, device=self.precision.device)
