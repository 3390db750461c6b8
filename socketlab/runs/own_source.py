"""An own source model in a run: nothing is trained, it is scored and kept like one that was."""

from collections.abc import Iterator

from socketlab.data.views import Images
from socketlab.methods.source import Source
from socketlab.models.classifier import Classifier
from socketlab.models.own_model_spec import OwnModel
from socketlab.training.inference import Scorer
from socketlab.training.precision import Precision
from socketlab.training.steps import Step


class OwnSource(Source):
    """Stands where the training of a source model would; its options are what its file says.

    Args:
        model: the own model, wrapped.
        own: what its file says of it.
    """

    options: OwnModel  # type: ignore[assignment]
    epochs = 0
    steps_per_epoch = 0

    def __init__(
        self, model: Classifier, own: OwnModel, *, crop: int, seed: int, precision: Precision
    ) -> None:
        self.options, self.crop, self.seed, self.precision = own, crop, seed, precision
        self.model = model.frozen().to(precision.device)

    def image_sets(self) -> list[Images]:
        """None: it was trained elsewhere."""
        return []

    def looked_at(self, evaluate: Scorer) -> Iterator[Step]:
        """One step, the start: how the model does as it is."""
        yield Step("start", 0, 0, 0, 0, {}, evaluation=evaluate(self.model))
