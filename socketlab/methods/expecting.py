"""How much memory a transfer will need, found out by rehearsing it on a few images."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import ClassVar, Self

from torch import Tensor

from socketlab.data.views import ImagePairs, TargetImages
from socketlab.methods import methods_for_several_sources, methods_without_pairs
from socketlab.methods.options import MissingPairs, Options, SeveralSources
from socketlab.methods.seeing import Seeing
from socketlab.models.classifier import Classifier
from socketlab.training.estimate import Expected, expect_memory, kept_batch_size, moving
from socketlab.training.inference import Assessor
from socketlab.training.rehearsal import REHEARSED, Rehearsal, few_rows
from socketlab.training.state import StateFile


class Expecting(Seeing):
    """A transfer that can be rehearsed before it begins."""

    name: ClassVar[str]
    needs_pairs: ClassVar[bool]
    several_sources: ClassVar[bool]
    options: Options
    _assess: Assessor | None

    @abstractmethod
    def set_up(
        self, sources: Sequence[Classifier], target: TargetImages, pairs: ImagePairs | None
    ) -> None:
        """All that comes before the first step."""

    def checked(
        self,
        source_models: Classifier | Sequence[Classifier],
        target: TargetImages,
        pairs: ImagePairs | None,
    ) -> list[Classifier]:
        """The source models, if with these a training can begin; raises as `fit` does."""
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
        if len(target.images) < 2:
            raise ValueError(
                f"{self.name!r} needs at least two target images, found {len(target.images)}."
            )
        return sources

    def expect(
        self,
        source_models: Classifier | Sequence[Classifier],
        target: TargetImages,
        pairs: ImagePairs | None = None,
        *,
        state: StateFile | None = None,
    ) -> Expected:
        """How much memory `fit` with the same arguments will need; also `self.expected` then.

        With `batch_size: auto` this decides which, unless `state` holds a training that has one.

        Raises:
            NotEnoughMemory: if the batch size is `auto` and nothing fits.
            MissingPairs, SeveralSources, ValueError: as `fit`.
        """
        sources = self.checked(source_models, target, pairs)
        if not self.needs_pairs:
            pairs = None

        def rehearse(batch_size: int) -> Rehearsal:
            images = batch_size * -(-self.least_images() // REHEARSED[0])
            some = few_rows(len(target.images), images)
            shown = replace(target, images=target.images.rows(some))
            partners = pairs
            if pairs is not None:
                each = next(n for n in count(2) if self.largest_batch(images, n) >= batch_size)
                partners = pairs.rows(few_rows(len(pairs), each))
            method = self.of_few(some).small_copy(batch_size)
            method._assess = None

            def look() -> None:
                method.look()

            return Rehearsal(method, lambda: method.set_up(sources, shown, partners), look, images)

        images = len(target.images)
        self.expected = expect_memory(
            rehearse,
            precision=self.precision,
            asked=self.options.batch_size,
            images=images,
            most=self.largest_batch(images, len(pairs) if pairs is not None else 0),
            kept=kept_batch_size(state),
            resident=moving([target.images, pairs], self.precision.device),
            alike=(self.encoding, self.alike(target.images, *sources)),
        )
        return self.expected

    def of_few(self, rows: Tensor) -> Self:
        """A copy of this method for the target images `rows`, of what its constructor was given."""
        return copy.copy(self)

    def least_images(self) -> int:
        """With how many target images it can work."""
        return 2

    def largest_batch(self, images: int, pairs: int) -> int:
        """How many images and pairs at a time there can be, of so many."""
        return images
