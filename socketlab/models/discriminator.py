"""Discriminators of domains, and the reversed gradient that trains what is before them against them.

None has a BatchNorm: its batch holds both domains, and statistics would mix them.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

DiscriminatorPlace = Literal["features", "early", "patches"]


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        return -context.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """x forwards, -strength times the gradient backwards (Ganin and Lempitsky, ICML 2015)."""
    reversed_: Tensor = _Reversed.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


def build_discriminator(place: DiscriminatorPlace, channels: int) -> nn.Module:
    """A discriminator with logits [B, 2, P]."""
    if place == "features":
        return nn.Sequential(
            nn.Linear(channels, 500),
            nn.ReLU(),
            nn.Linear(500, 500),
            nn.ReLU(),
            nn.Linear(500, 2),
            nn.Unflatten(1, (2, 1)),
        )
    if place == "early":
        return nn.Sequential(
            nn.Conv2d(channels, 64, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 64, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 2),
            nn.Unflatten(1, (2, 1)),
        )
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 2, 4, 2, 1),
        nn.Flatten(2),
    )
