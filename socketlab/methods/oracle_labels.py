"""oracle_labels: supervised on the target's labels; an upper reference, not a method."""

from typing import Any, ClassVar, Self

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from socketlab.data.views import Views
from socketlab.methods.base import Transfer
from socketlab.methods.options import Options


class OracleLabelsOptions(Options):
    """As in the training of the source model."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)


class OracleLabels(Transfer):
    """Cross-entropy to the labels of the adapted-on images, which no method may see.

    Under the transductive protocol these are the images that are scored, so that it says how well
    the network can fit them, not how well it would do on new ones.
    """

    name = "oracle_labels"
    upper_reference = True
    options_model: ClassVar[type[OracleLabelsOptions]] = OracleLabelsOptions
    options: OracleLabelsOptions

    def __init__(self, options: OracleLabelsOptions, *, views: Views, **about: Any) -> None:
        super().__init__(options, **about)
        labels = views.target_labels
        self.ids = labels.images.ids
        self.labels = labels.labels.to(self.precision.device)

    def of_few(self, rows: Tensor) -> Self:
        """With the labels of these rows."""
        few = super().of_few(rows)
        few.ids = tuple(self.ids[row] for row in rows.tolist())
        few.labels = self.labels[rows.to(self.labels.device)]
        return few

    def prepare(self) -> None:
        """Labels and images must belong together."""
        if self.ids != self.target.ids:
            raise ValueError(
                f"{self.name!r} was given the labels of other images than those it adapts on. "
                "Give it the labels of the same view."
            )

    def term_weights(self) -> dict[str, float]:
        """Weight of the one term."""
        return {"cross_entropy": 1.0}

    def losses(self, step: int) -> dict[str, Tensor]:
        """Cross-entropy of a target batch."""
        index, images = self.target_batch(step)
        logits = self.student(images).float()
        labels = self.labels[index.to(self.labels.device)]
        smoothing = self.options.label_smoothing
        return {"cross_entropy": cross_entropy(logits, labels, label_smoothing=smoothing)}


METHOD = OracleLabels
