"""socket: SHOT's terms, TI pairs and the source's normalisation statistics (ECCV 2022)."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from socketlab.methods.distillation import PairOptions, PairTransfer
from socketlab.methods.shot import Shot, ShotOptions
from socketlab.models.batch_norm import compute_once
from socketlab.models.classifier import FIXED_NORMALISATIONS
from socketlab.models.mixture import Mixture
from socketlab.objectives import StatisticsForm, statistics_distance
from socketlab.training.batches import centre_window, take
from socketlab.training.statistics import (
    normalisation_layers,
    recorded_statistics,
    reference_statistics,
)

PAIRS_FOR_STATISTICS = 512
GATE_START = 1.0


class SocketOptions(ShotOptions, PairOptions):
    """Weights of the four terms, and the form of each."""

    statistics_weight: float = Field(0.5, ge=0, description="of the distance of statistics")
    statistics: StatisticsForm = Field("normalised", description="how statistics are compared")
    first_layer_weight: float = Field(
        1.0, gt=0, description="of the first layer's statistics; the released program has 10"
    )
    statistics_gate: bool = Field(
        False, description="as released: the term is multiplied by a trained number in (0, 1)"
    )
    normalisation: Literal["source", "socket_code"] = Field(
        "source", description="constants for all images; the released program has its own"
    )
    one_pass: bool = Field(
        False, description="TR and TI images go through the network as one batch; see docs/fast.md"
    )

    @model_validator(mode="after")
    def _one_pass_moves_statistics(self) -> Self:
        if self.one_pass and self.pair_statistics == "held":
            raise ValueError(
                "one_pass: true normalises TR and TI images together, so TI pairs move the running "
                "statistics. Set pair_statistics: moving, or one_pass: false"
            )
        return self


class Socket(Shot, PairTransfer):
    """L = L_im + 0.3 L_pl + lambda_d L_d + lambda_TI L_TI (arXiv 2209.04027).

    L_d compares, in every BatchNorm2d, the statistics of the target batch with the source model's
    running statistics, copied before training. A backbone without BatchNorm2d has its LayerNorms'
    (or GroupNorms') inputs compared, the source side estimated on RGB halves of TI pairs.

    With several sources, one target network per source is trained. The target terms are those of
    the mixed logits, L_d and L_TI the sums of each source's own, times its mixing weight as a
    constant: a weight could otherwise shrink a loss by turning away from it.
    """

    name = "socket"
    several_sources: ClassVar[bool] = True
    options_model: ClassVar[type[SocketOptions]] = SocketOptions
    options: SocketOptions

    def prepare(self) -> None:
        """Copy the source models' statistics, which the students' would drift away from.

        Also where their weight is 0, for it may be raised while it trains.
        """
        if self.options.normalisation != "source":
            self._renormalise()
        super().prepare()
        compute_once(self.student)
        if self.options.statistics_weight or all(
            normalisation_layers(teacher.encoder) for teacher in self.teacher.members
        ):
            with self.precision.autocast():
                self.references = [
                    reference_statistics(teacher, self._pair_images())
                    for teacher in self.teacher.members
                ]
        if self.options.statistics_gate:
            gate = torch.tensor(GATE_START, device=self.precision.device)
            self.memory["gate"] = torch.nn.Parameter(gate)

    def build_optimiser(self) -> torch.optim.Optimizer:
        """As for every method, and the gate where there is one."""
        optimiser = super().build_optimiser()
        if self.options.statistics_gate:
            rate = self.options.learning_rate
            gate = {"params": [self.memory["gate"]], "name": "gate", "lr": rate, "base": rate}
            optimiser.add_param_group(gate)
        return optimiser

    def term_weights(self) -> dict[str, float]:
        """Weights of L_im, L_pl, L_d and L_TI."""
        return super().term_weights() | {
            "statistics": self.options.statistics_weight,
            "pairs": self.options.pair_weight,
        }

    def losses(self, step: int) -> dict[str, Tensor]:
        """The four terms of a target batch and a batch of TI pairs."""
        index, images = self.target_batch(step)
        wanted: list[Tensor] = []
        if self.options.one_pass and self.wants("pairs"):
            wanted, other = self.wanted_and_other(step)
            images = torch.cat([images, other])
        terms, found = self._target_pass(images)
        mixture, rows = self.student, len(index)
        logits = [self.divided(each, rows)[0] for _, each in found]
        mixed = mixture.mix(logits) if isinstance(mixture, Mixture) else logits[0]
        terms |= self.target_terms(index, mixed)
        if wanted:
            features = [self.divided(each, rows)[1] for each, _ in found]
            terms["pairs"] = self.pair_distance(wanted, features)
        elif self.wants("pairs"):
            terms["pairs"] = self.pair_term(step)
        return terms

    def _target_pass(self, images: Tensor) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        """L_d, where it has a weight, and each member's features and logits of a batch."""
        if not self.wants("statistics"):
            return {}, [student.outputs(images) for student in self.student.members]
        found, distances = [], []
        for student, reference in zip(self.student.members, self.references, strict=True):
            with recorded_statistics(student.encoder) as recorded:
                found.append(student.outputs(images))
            form, first = self.options.statistics, self.options.first_layer_weight
            distances.append(statistics_distance(recorded, reference, form, first))
        distance = (self.mixing_weights() * torch.stack(distances)).sum()
        gated = self.options.statistics_gate
        return {
            "statistics": distance * self.memory["gate"].sigmoid() if gated else distance
        }, found

    def _pair_images(self) -> list[Tensor]:
        """Batches of RGB halves of TI pairs, centre crop: what stands in for source images."""
        images, count = self.pairs.source, min(len(self.pairs), PAIRS_FOR_STATISTICS)
        size = images.raw.shape[1]
        return [
            take(images, index, centre_window(len(index), size, self.crop))
            for index in torch.split(torch.arange(count), self.batch_size)
        ]

    def _renormalise(self) -> None:
        mean, deviation = FIXED_NORMALISATIONS[self.options.normalisation]
        for model in (*self.teacher.members, *self.student.members):
            model.mean.copy_(torch.tensor(mean).view_as(model.mean))
            model.deviation.copy_(torch.tensor(deviation).view_as(model.deviation))


METHOD = Socket
