"""Discriminators: which of two domains, and the reversed gradient that makes them look alike.

Domain-adversarial training (Ganin and Lempitsky, ICML 2015). None has a BatchNorm: a batch holds
both domains, so its statistics would carry from one sample to another which domains are in it, and
what is told of a sample would depend on its neighbours.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

DiscriminatorPlace = Literal["features", "early", "patches"]

HIDDEN = 500
SLOPE = 0.2


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """The identity whose gradient is turned round, so that descent behind it is ascent before it.

    R(x) = x, dR/dx = -strength I

    Args:
        x: of any shape.
        strength: what the gradient is multiplied by, from 0 (nothing passes).

    Returns:
        As `x`.

    Raises:
        ValueError: if ``strength`` is negative.

    Source: Ganin and Lempitsky, ICML 2015 (arXiv 1409.7495).
    """
    if strength < 0:
        raise ValueError(f"strength must not be negative, found {strength}")
    result: Tensor = _ReversedGradient.apply(x, strength)
    return result


class FeatureDiscriminator(nn.Sequential):
    """Features [B, channels] to logits [B, 2, 1]: channels-500-500-2 with ReLU.

    Source: the network of SOCKET's released program, 256-500-500-2 (ECCV 2022).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Linear(channels, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, 2),
            nn.Unflatten(1, (2, 1)),
        )


class MapDiscriminator(nn.Module):
    """A feature map [B, channels, h, w] of any size to logits [B, 2, 1] (inferred).

    Two strided convolutions with leaky ReLU, the mean over the map, one linear layer.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 2),
            nn.Unflatten(1, (2, 1)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Logits [B, 2, 1] of maps [B, channels, h, w].

        Raises:
            ValueError: for what is no map, e.g. the tokens [B, T, C] of a transformer.
        """
        if maps.ndim != 4:
            raise ValueError(
                "The discriminator at 'early' takes feature maps [B, C, h, w], found "
                f"{tuple(maps.shape)}. Give it the output of a convolution (of a transformer, the "
                "one that cuts the patches), or choose 'features'."
            )
        logits: Tensor = self.layers(maps)
        return logits


class PatchDiscriminator(nn.Sequential):
    """Pictures [B, channels, H, W] from 16 pixels to logits [B, 2, P], P = (H // 8) (W // 8).

    Three 4x4 convolutions of stride 2, leaky ReLU between them; each patch is 22 pixels wide.

    Source: after PatchGAN (Isola et al., CVPR 2017, arXiv 1611.07004), without its BatchNorm.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(2 * width, 2, 4, stride=2, padding=1),
            nn.Flatten(2),
        )


PLACES: dict[str, type[nn.Module]] = {
    "features": FeatureDiscriminator,
    "early": MapDiscriminator,
    "patches": PatchDiscriminator,
}


def build_discriminator(place: DiscriminatorPlace, channels: int) -> nn.Module:
    """A discriminator for a place, with logits [B, 2, P] of the two domains at P patches.

    Args:
        place: `features` [B, channels] and `early` [B, channels, h, w] have P = 1, `patches` of
            pictures [B, channels, H, W] more.
        channels: of what it will look at.

    Raises:
        ValueError: for another place.
    """
    if place not in PLACES:
        known = ", ".join(get_args(DiscriminatorPlace))
        raise ValueError(f"Unknown place {place!r} for a discriminator. Choose one of: {known}.")
    return PLACES[place](channels)
