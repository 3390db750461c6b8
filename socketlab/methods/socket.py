"""socket: SHOT's terms, TI pairs and the source's normalisation statistics (ECCV 2022)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from socketlab.methods.distillation import PairOptions, PairTransfer
from socketlab.methods.shot import Shot, ShotOptions
from socketlab.models.backbones import batch_norms
from socketlab.objectives import StatisticsForm, statistics_distance
from socketlab.training.statistics import recorded_statistics, running_statistics


class SocketOptions(ShotOptions, PairOptions):
    """Weights of the four terms, and the form of each."""

    statistics_weight: float = Field(0.5, ge=0, description="of the distance of statistics")
    statistics: StatisticsForm = Field("normalised", description="how statistics are compared")
    first_layer_weight: float = Field(
        1.0, gt=0, description="of the first layer's statistics; the released program has 10"
    )


class Socket(Shot, PairTransfer):
    """L = L_im + 0.3 L_pl + lambda_d L_d + lambda_TI L_TI (arXiv 2209.04027).

    L_d compares, in every BatchNorm2d, the statistics of the target batch with the source model's
    running statistics, copied before training.
    """

    name = "socket"
    options_model: ClassVar[type[SocketOptions]] = SocketOptions
    options: SocketOptions

    def prepare(self) -> None:
        """Copy the source model's statistics, which the student's would drift away from.

        Also where their weight is 0, for it may be raised while it trains.
        """
        if self.options.statistics_weight or batch_norms(self.teacher.encoder):
            self.reference = running_statistics(self.teacher.encoder)

    def term_weights(self) -> dict[str, float]:
        """Weights of L_im, L_pl, L_d and L_TI."""
        return super().term_weights() | {
            "statistics": self.options.statistics_weight,
            "pairs": self.options.pair_weight,
        }

    def losses(self, step: int) -> dict[str, Tensor]:
        """The four terms of a target batch and a batch of TI pairs."""
        index, images = self.target_batch(step)
        terms = {}
        if self.wants("statistics"):
            with recorded_statistics(self.student.encoder) as recorded:
                logits = self.student(images)
            terms["statistics"] = statistics_distance(
                recorded,
                self.reference,
                self.options.statistics,
                self.options.first_layer_weight,
            )
        else:
            logits = self.student(images)
        terms |= self.target_terms(index, logits)
        if self.wants("pairs"):
            terms["pairs"] = self.pair_term(step)
        return terms


METHOD = Socket
