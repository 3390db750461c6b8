"""What a person may choose of a translator's training, and of the methods that see through one."""

from typing import Any

from pydantic import Field, field_validator, model_validator

from socketlab.methods.distillation import PairOptions
from socketlab.methods.options import Options
from socketlab.models.discriminator import DiscriminatorPlace
from socketlab.models.names import TranslatorName

UNET_LEARNING_RATE = 2e-4


class TgmbOptions(Options):
    """Which translator, and the weight of each term; all of it inferred but the terms.

    The squared error of pixels is near 0.02, so a weight of 0.1 on L_D or L_IM, which are near 1,
    drowns it (docs/log.md).
    """

    translator: TranslatorName = Field("residual", description="the network that paints")
    epochs: int = Field(20, ge=0, description="passes over the target images")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam; 2e-4 for unet unless given")
    backbone_factor: float = Field(0.0, ge=0, le=0, description="the source model is frozen")
    momentum: float = Field(0.9, ge=0, lt=1, description="the first beta of Adam")
    weight_decay: float = Field(0.0, ge=0)
    reconstruction_weight: float = Field(1.0, ge=0, description="of L_rec, squared error of pixels")
    l1_weight: float = Field(0.0, ge=0, description="of the absolute error of pixels")
    perceptual_weight: float = Field(
        0.0, ge=0, description="of the squared distance of the source model's features"
    )
    adversarial_weight: float = Field(0.001, ge=0, description="of L_D, TI against TR pictures")
    adversary: DiscriminatorPlace = Field("features", description="where L_D looks")
    information_weight: float = Field(0.01, ge=0, description="of L_IM on TR pictures")
    information_start: float = Field(
        0.2, ge=0, le=1, description="share of the training before L_IM begins"
    )
    information_momentum: float = Field(
        0.9, ge=0, lt=1, description="of the running mean of answers in L_IM"
    )
    class_prior: tuple[float, ...] | None = Field(
        None, description="share of each class, where known; else all alike"
    )
    statistics_weight: float = Field(
        0.0, ge=0, description="of the distance of TR pictures' statistics to the source's"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of TI pairs kept out, to watch")

    @field_validator("class_prior")
    @classmethod
    def _shares(cls, prior: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if prior is not None and (min(prior, default=0) <= 0 or abs(sum(prior) - 1) > 1e-3):
            raise ValueError(f"shares must be positive and sum to one, found {list(prior)}")
        return prior

    @model_validator(mode="before")
    @classmethod
    def _rate_of_unet(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("translator") != "unet":
            return given
        return {"learning_rate": UNET_LEARNING_RATE} | given


class TranslatorOptions(PairOptions):
    """What every method has that sees through a translator."""

    translator: str = Field(
        "translated", description="whose: `translated`, a variant of it, or a safetensors file"
    )
