"""source_only: C(F_s(x)), nothing adapted; the row beside every other result."""

from typing import ClassVar, Literal

from torch import Tensor

from socketlab.methods.base import Transfer
from socketlab.methods.options import Options


class SourceOnlyOptions(Options):
    """Nothing is trained, so there is nothing to choose."""

    epochs: Literal[0] = 0


class SourceOnly(Transfer):
    """The source model on target images, as it is."""

    name = "source_only"
    several_sources: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = SourceOnlyOptions

    def term_weights(self) -> dict[str, float]:
        """No terms."""
        return {}

    def losses(self, step: int) -> dict[str, Tensor]:
        """No terms."""
        return {}


METHOD = SourceOnly
