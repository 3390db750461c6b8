"""adabn: adaptive batch normalisation (Li et al. 2016, arXiv 1603.04779); nothing is trained."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from socketlab.methods.base import Transfer
from socketlab.methods.options import Options
from socketlab.training.statistics import every_batch_norm


class AdaBnOptions(Options):
    """How much of the target's statistics is taken."""

    epochs: Literal[1] = 1
    alpha: float = Field(1.0, ge=0, le=1, description="share of the target's statistics")


class AdaBn(Transfer):
    """mu = alpha mu_t + (1 - alpha) mu_s in every BatchNorm, and the variances likewise.

    mu_t is estimated on the target images, mu_s is the source model's running mean. alpha = 1 is
    Li et al.; the mixture is that of Schneider et al., NeurIPS 2020 (arXiv 2006.16971), eq. 2.
    Where the encoder has no BatchNorm, only the bottleneck's statistics are adapted.
    """

    name = "adabn"
    several_sources: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = AdaBnOptions
    options: AdaBnOptions

    def prepare(self) -> None:
        """One epoch of no steps, and no parameter that moves."""
        self.student.requires_grad_(False)
        self.steps_per_epoch = 0

    def term_weights(self) -> dict[str, float]:
        """No terms."""
        return {}

    def losses(self, step: int) -> dict[str, Tensor]:
        """No terms."""
        return {}

    def settle(self) -> None:
        """Estimate the statistics on the target images, and mix the source's in."""
        self.estimate_statistics()
        share = 1 - self.options.alpha
        layers = zip(every_batch_norm(self.student), every_batch_norm(self.teacher), strict=True)
        for layer, source in layers:
            layer.get_buffer("running_mean").lerp_(source.get_buffer("running_mean"), share)
            layer.get_buffer("running_var").lerp_(source.get_buffer("running_var"), share)


METHOD = AdaBn
