"""Stochastic gradient descent as SHOT and SOCKET use it: the encoder slower than what follows."""

from typing import Annotated, Any, Final, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import nn

from socketlab.models.mixture import AnyClassifier, Mixture

MIXING_FACTOR = 10.0
AUTO: Final = "auto"


def _batch_size(value: Any) -> Any:
    # One message for both kinds, where a union would give one of each.
    if value != AUTO and (not isinstance(value, int) or isinstance(value, bool) or value < 2):
        raise ValueError(f"should be {AUTO!r} or a whole number of at least 2")
    return value


BatchSize = Annotated[int | Literal["auto"], BeforeValidator(_batch_size)]


class SgdOptions(BaseModel):
    """What a person may choose of every training (defaults: SOCKET's released program)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: BatchSize = Field(
        32,
        description="images a step, and as many TI pairs; the papers have 32, and another gives "
        "other results; auto: what fits into memory",
    )
    learning_rate: float = Field(1e-2, gt=0, description="of bottleneck and head, at the start")
    backbone_factor: float = Field(0.1, ge=0, description="the encoder's rate, as a fraction of it")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-3, ge=0)


def parameter_groups(model: AnyClassifier, options: SgdOptions) -> list[dict[str, Any]]:
    """What can be trained, in named groups: backbone, bottleneck, and a mixture's weights.

    Each group carries `base`, the learning rate that the loop's decay starts from. The mixing
    logits are few and their gradients small: they learn at ten times the rate, undecayed.
    """
    parts: dict[str, tuple[list[nn.Module], float]] = {
        "backbone": (
            [member.encoder for member in model.members],
            options.learning_rate * options.backbone_factor,
        ),
        "bottleneck": (
            [part for member in model.members for part in (member.bottleneck, member.head)],
            options.learning_rate,
        ),
    }
    groups: list[dict[str, Any]] = []
    for name, (modules, rate) in parts.items():
        parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        groups.append({"params": parameters, "name": name, "lr": rate, "base": rate})
    if isinstance(model, Mixture):
        rate = MIXING_FACTOR * options.learning_rate
        mixing = {"params": [model.mixing_logits], "name": "mixing", "weight_decay": 0.0}
        groups.append(mixing | {"lr": rate, "base": rate})
    return groups


def build_sgd(model: AnyClassifier, options: SgdOptions) -> torch.optim.SGD:
    """SGD with Nesterov momentum over the `parameter_groups` of a model."""
    groups = parameter_groups(model, options)
    return torch.optim.SGD(
        groups,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
        weight_decay=options.weight_decay,
        fused=fused(groups),
    )


def fused(groups: list[dict[str, Any]]) -> bool | None:
    """Whether torch steps these parameters in one pass over them: on CPU and CUDA; else None.

    It is an optimiser's option, kept with its state: a training goes on as it was begun.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return True if devices <= {"cpu", "cuda"} else None
