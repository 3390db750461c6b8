"""Brightness, contrast and saturation of a batch of RGB images, changed by chance on the device."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from socketlab.training.batches import derive, generator, to_device

LUMINANCE = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, as torchvision has them."""


@dataclass(frozen=True)
class Light:
    """Other light for each of B images.

    Attributes:
        factors: of brightness, contrast and saturation [3, B]; 1 leaves an image as it is.
        order: in which these three are changed, as places in `factors`.
    """

    factors: Tensor
    order: tuple[int, ...]

    def rows(self, index: Tensor) -> "Light":
        """Of the images at `index` [n] alone."""
        return Light(self.factors[:, index], self.order)


def random_light(count: int, strength: float, seed: int, stream: str, position: int) -> Light:
    """Factors in [1 - strength, 1 + strength] for `count` images, and one order for all of them.

    Both are functions of (seed, stream, position).

    Raises:
        ValueError: for a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], found {strength}. Choose one within.")
    random = torch.rand(3, count, generator=generator(seed, stream, "light", position))
    orders = list(permutations(range(3)))
    order = orders[derive(seed, stream, "order of light", position) % len(orders)]
    return Light(1 + strength * (2 * random - 1), order)


def relight(images: Tensor, light: Light) -> Tensor:
    """Images in other light, as torchvision's ColorJitter(brightness, contrast, saturation).

    Each change blends an image x with another one, f x + (1 - f) y, clipped to [0, 1]: y is black
    for brightness, the mean of the grey image for contrast, and the grey image for saturation. It
    is for RGB alone: depth is a distance, and has no light.

    Args:
        images: [B, 3, H, W] in [0, 1]; they are not changed.
        light: of as many images.

    Returns:
        [B, 3, H, W] in [0, 1], on the images' device.

    Raises:
        ValueError: for images that have not three channels, or light of another number of images.
    """
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(
            f"relight needs RGB images, [B, 3, H, W], found {list(images.shape)}. Give it the RGB "
            "half alone."
        )
    if light.factors.shape != (3, len(images)):
        raise ValueError(
            f"{len(images)} images need factors of shape [3, {len(images)}], found "
            f"{list(light.factors.shape)}."
        )
    factors = to_device(light.factors, images.device).to(images.dtype).view(3, -1, 1, 1, 1)
    others: tuple[Callable[[Tensor], Tensor], ...] = (_black, _mean_grey, _grey)
    for change in light.order:
        factor = factors[change]
        images = (images * factor).addcmul_(others[change](images), 1 - factor).clamp_(0, 1)
    return images


def _black(images: Tensor) -> Tensor:
    return images.new_zeros(())


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]


def _mean_grey(images: Tensor) -> Tensor:
    return _grey(images).mean((1, 2, 3), keepdim=True)
