"""shot_im: information maximisation on the target images alone (SHOT-IM, ICML 2020)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from socketlab.methods.base import Transfer
from socketlab.methods.options import Options
from socketlab.objectives import information_maximisation


class ShotImOptions(Options):
    """Weight of the one term."""

    information_weight: float = Field(1.0, ge=0, description="of information maximisation")


class ShotIm(Transfer):
    """L = L_im: each answer sure, all answers together diverse."""

    name = "shot_im"
    options_model: ClassVar[type[Options]] = ShotImOptions
    options: ShotImOptions

    def term_weights(self) -> dict[str, float]:
        """Weight of L_im."""
        return {"information_maximisation": self.options.information_weight}

    def losses(self, step: int) -> dict[str, Tensor]:
        """L_im of a target batch."""
        _, images = self.target_batch(step)
        return {"information_maximisation": information_maximisation(self.student(images))}


METHOD = ShotIm
