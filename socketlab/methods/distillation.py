"""distillation: the TI pairs alone; supervision transfer (Gupta et al., CVPR 2016)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from socketlab.methods.base import Options, Transfer
from socketlab.objectives import PairReduction, feature_distance
from socketlab.training.batches import centre_window, shuffled_batch, take
from socketlab.training.statistics import held_running_statistics, reestimate_statistics


class PairOptions(Options):
    """How the two halves of a TI pair are compared."""

    pair_weight: float = Field(0.5, ge=0, description="of the distance of paired features")
    pair_reduction: PairReduction = Field("frobenius", description="how the distance is reduced")


class PairTransfer(Transfer):
    """A method with L_TI, the distance of F_s(r) and F_t(m) over TI pairs (r, m)."""

    needs_pairs = True
    options: PairOptions

    def pair_term(self, step: int) -> Tensor:
        """L_TI of a batch of TI pairs; the running statistics stay those of the TR images."""
        rgb, other = self.pair_batch(step)
        with torch.no_grad():
            wanted = self.teacher.features(rgb)
        with held_running_statistics(self.student):
            found = self.student.features(other)
        return feature_distance(wanted, found, self.options.pair_reduction)


class Distillation(PairTransfer):
    """L = L_TI. The BatchNorm statistics are estimated on the target images after every epoch."""

    name = "distillation"
    options_model: ClassVar[type[PairOptions]] = PairOptions

    def term_weights(self) -> dict[str, float]:
        """Weight of L_TI."""
        return {"pairs": self.options.pair_weight}

    def losses(self, step: int) -> dict[str, Tensor]:
        """L_TI of a batch of TI pairs."""
        return {"pairs": self.pair_term(step)}

    def settle(self) -> None:
        """No TR image went through the student, so its statistics are estimated here."""
        size, batch, count = self.target.raw.shape[1], self.batch_size, len(self.target)
        window = centre_window(batch, size, self.crop)
        # Mixed batches: images that lie side by side look alike, and vary too little.
        order = (
            shuffled_batch(count, batch, self.seed, "settle", position)
            for position in range(-(-count // batch))
        )
        batches = (take(self.target, index, window, self.encoding) for index in order)
        with self.precision.autocast():
            reestimate_statistics(self.student, batches)


METHOD = Distillation
