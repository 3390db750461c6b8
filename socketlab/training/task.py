"""One training, as the loop runs it: networks, an optimiser, and the loss terms of a step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from socketlab.data.views import Images
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.training.batches import Window, read_ahead
from socketlab.training.compiling import Compiling
from socketlab.training.inference import Known
from socketlab.training.precision import Precision
from socketlab.training.steps import Look, Step

if TYPE_CHECKING:
    from socketlab.training.followers import Orders
    from socketlab.training.recipe import Recipe
    from socketlab.training.team import Team


class Task(ABC):
    """One training: networks, an optimiser, and the loss terms of a step.

    Attributes:
        model: the classifier that is trained and scored.
        optimiser: over its parameters; each group has a `name` and its starting `base` rate.
        weights: weight of each loss term by name; a term of weight 0 is not computed.
        team: the processes that compute each step together, where there are several devices.
        recipe: how another process makes the same training, kept by `fit` for several devices.
        orders: what this process is told to do, where it follows another one.
    """

    model: AnyClassifier
    optimiser: torch.optim.Optimizer
    weights: dict[str, float]
    epochs: int
    steps_per_epoch: int
    batch_size: int
    seed: int
    precision: Precision
    fit: Callable[..., Iterator[Step]]
    team: "Team | None" = None
    recipe: "Recipe | None" = None
    orders: "Orders | None" = None

    def keep_recipe(self, models: Sequence[Classifier], **images: Any) -> None:
        """To be called by `fit` before anything else, with what it was given.

        Other processes make the same training of it, where there are several devices.
        """
        if self.precision.devices > 1 and self.orders is None:
            from socketlab.training.recipe import Recipe

            self.recipe = Recipe.of(self, models, images)

    def part(self, index: Tensor, window: Window) -> tuple[Tensor, Window]:
        """Which images of a batch this process runs through the networks: of one device, all."""
        own = self._own(index)
        return index[own], window.rows(own)

    def read_ahead(self, images: Images, order: Callable[[int], Tensor], step: int) -> None:
        """Begin to read this process's images of `step` and of the next ones, where they stream."""

        def own(later: int) -> Tensor:
            index = order(later)
            return index[self._own(index)]

        read_ahead(images, own, step)

    def _own(self, index: Tensor) -> slice:
        """Which of a batch's places are this process's."""
        if self.team is None or not self.team.at_work:
            return slice(None)
        return self.team.part(len(index))

    def divided(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """The `rows` of the first, and those of the second, of two batches run as one."""
        if self.team is not None and self.team.at_work:
            return self.team.divided(x, rows)
        return x[:rows], x[rows:]

    def apart(self) -> AbstractContextManager[None]:
        """Within it, networks answer what they are asked, and not what all processes ask."""
        return nullcontext() if self.team is None else self.team.apart()

    def tallies(self) -> list[Tensor]:
        """What a step adds to of its part of a batch, so that its mean over all parts counts."""
        return []

    def image_sets(self) -> list[Images]:
        """What it has set up to learn from."""
        return []

    def networks(self) -> list[Classifier]:
        """The classifiers that a step runs."""
        return self.model.members

    @cached_property
    def compiling(self) -> Compiling:
        """Those, compiled where the precision says so, and how that went."""
        return Compiling(self.networks(), self.precision, lambda: self.memory.values())

    @cached_property
    def memory(self) -> dict[str, Tensor]:
        """What else the next step depends on, e.g. a bank of features; kept with the state.

        A method puts its tensors here in `prepare`, and afterwards changes them in place.
        """
        return {}

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - nothing to do for most methods
        """Before the steps of an epoch, e.g. refresh pseudo-labels."""

    @abstractmethod
    def losses(self, step: int) -> dict[str, Tensor]:
        """The loss terms of global step `step`, unweighted, by name."""

    def settle(self) -> None:  # noqa: B027 - as above
        """After the steps of an epoch, before the model is scored."""

    def progress(self, step: int) -> float:
        """q, the fraction of the training that is done, in [0, 1]."""
        return step / (self.epochs * self.steps_per_epoch)

    def look(self) -> Look:
        """What can be said of the model without labels."""
        return Look()

    def known(self) -> Known | None:
        """What the last look has found the model to say of its images."""
        return None
