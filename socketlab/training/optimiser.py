"""Stochastic gradient descent as SHOT and SOCKET use it: the encoder slower than what follows."""

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from socketlab.models.classifier import Classifier


class SgdOptions(BaseModel):
    """What a person may choose of every training (defaults: SOCKET's released program)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(32, ge=2, description="images a step, and as many TI pairs")
    learning_rate: float = Field(1e-2, gt=0, description="of bottleneck and head, at the start")
    backbone_factor: float = Field(0.1, ge=0, description="the encoder's rate, as a fraction of it")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-3, ge=0)


def build_sgd(model: Classifier, options: SgdOptions) -> torch.optim.SGD:
    """SGD with Nesterov momentum over what can be trained, in two named groups.

    Each group carries `base`, the learning rate that the loop's decay starts from.
    """
    parts: dict[str, tuple[list[nn.Module], float]] = {
        "backbone": ([model.encoder], options.learning_rate * options.backbone_factor),
        "bottleneck": ([model.bottleneck, model.head], options.learning_rate),
    }
    groups: list[dict[str, Any]] = []
    for name, (modules, rate) in parts.items():
        parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        groups.append({"params": parameters, "name": name, "lr": rate, "base": rate})
    return torch.optim.SGD(
        groups,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
        weight_decay=options.weight_decay,
    )
