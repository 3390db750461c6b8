"""tent: entropy minimisation by normalisation layers alone (Wang et al., ICLR 2021)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from socketlab.methods.base import Transfer
from socketlab.methods.options import Options
from socketlab.models.classifier import Classifier
from socketlab.objectives import mean_entropy
from socketlab.training.optimiser import parameter_groups
from socketlab.training.statistics import every_batch_norm, normalisation_layers


class TentOptions(Options):
    """The authors' optimiser: Adam at one rate, its first beta being the momentum."""

    learning_rate: float = Field(1e-3, gt=0, description="of every scale and shift, at the start")
    backbone_factor: float = Field(1.0, ge=0, description="the encoder's rate, as a fraction of it")
    weight_decay: float = Field(0.0, ge=0)


class Tent(Transfer):
    """L = mean_i H(p_i) over the scales and shifts of the normalisation layers, by Adam.

    Those are the BatchNorms of encoder and bottleneck; where an encoder has none, its LayerNorms
    and GroupNorms (arXiv 2006.10726, section 3.2, has BatchNorm). Batches are normalised with their
    own statistics, and the running ones, which the model is scored with, follow them.
    """

    name = "tent"
    several_sources: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = TentOptions

    def prepare(self) -> None:
        """Only scales and shifts move."""
        self.student.requires_grad_(False)
        for member in self.student.members:
            for layer in self._layers(member):
                for parameter in layer.parameters(recurse=False):
                    parameter.requires_grad_(True)

    def _layers(self, member: Classifier) -> list[nn.Module]:
        encoder = member.encoder
        found = [*every_batch_norm(encoder)] or normalisation_layers(encoder)
        if not any(True for layer in found for _ in layer.parameters(recurse=False)):
            raise ValueError(
                "'tent' trains the scales and shifts of normalisation layers, and the encoder "
                f"{member.backbone!r} has none. Choose another backbone, or shot_im, which trains "
                "all weights."
            )
        return [*found, *every_batch_norm(member.bottleneck)]

    def build_optimiser(self) -> torch.optim.Optimizer:
        """Adam with beta_2 = 0.999, in the groups that all methods have."""
        options = self.options
        return torch.optim.Adam(
            parameter_groups(self.student, options),
            lr=options.learning_rate,
            betas=(options.momentum, 0.999),
            weight_decay=options.weight_decay,
        )

    def term_weights(self) -> dict[str, float]:
        """The entropy alone."""
        return {"entropy": 1.0}

    def losses(self, step: int) -> dict[str, Tensor]:
        """Mean entropy of a target batch."""
        _, images = self.target_batch(step)
        return {"entropy": mean_entropy(self.student(images))}


METHOD = Tent
