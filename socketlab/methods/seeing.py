"""What a transfer sees: batches of target images and of TI pairs, and its own answers."""

import copy

from torch import Tensor

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, Images
from socketlab.models.mixture import AnyClassifier
from socketlab.training.batches import (
    Window,
    centre_window,
    random_window,
    shuffled_batch,
    take,
    take_pairs,
)
from socketlab.training.estimate import Chooses
from socketlab.training.inference import Outputs, predict
from socketlab.training.statistics import reestimate_statistics


class Seeing(Chooses):
    """Batches as functions of (seed, step), and the student's answers on all target images.

    Attributes:
        target: the images that are adapted on, on the device or streamed to it.
        pairs: TI pairs, where the method learns from some.
        student: the model that is trained.
    """

    target: Images
    pairs: ImagePairs
    student: AnyClassifier
    crop: int
    encoding: Encoding
    _outputs: Outputs | None

    def image_sets(self) -> list[Images]:
        """The target images, and both halves of the pairs where there are some."""
        pairs = getattr(self, "pairs", None)
        return [self.target, *([] if pairs is None else [pairs.source, pairs.target])]

    def target_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Indices [B] and augmented target images [B, C, crop, crop] of a step.

        Of several devices, the indices are all, the images this one's; see `training/team.py`.
        """
        index = self.target_rows(step)
        window = self.window("target", step, self.batch_size)
        self.read_ahead(self.target, self.target_rows, step)
        return index, take(self.target, *self.part(index, window), self.encoding)

    def target_rows(self, step: int) -> Tensor:
        """Indices [B] of a step's target images, swept without replacement."""
        return shuffled_batch(len(self.target), self.batch_size, self.seed, "target", step)

    def pair_rows(self, step: int) -> Tensor:
        """Indices [B] of as many pairs, swept without replacement."""
        return shuffled_batch(len(self.pairs), self.batch_size, self.seed, "pairs", step)

    def pair_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """RGB and target-modality images of a step's pairs, with the same crop and flip."""
        index = self.pair_rows(step)
        window = self.window("pairs", step, len(index))
        for half in (self.pairs.source, self.pairs.target):
            self.read_ahead(half, self.pair_rows, step)
        return take_pairs(self.pairs, *self.part(index, window), self.encoding)

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
