"""Translators: networks that paint one channel of depth or infrared as RGB.

The network of the TGMB paper (arXiv 2401.05014) is not public: all of these are inferred.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from socketlab.models.names import check_translator

CLOSEST = 0.01  # to 0 and 1: the logit of either end is not finite


class Translator(nn.Module):
    """[B, 1, H, W] in [0, 1] to [B, 3, H, W] in [0, 1]."""

    name: ClassVar[str]


class Replicate(Translator):
    """The channel three times; a control, nothing to train."""

    name = "replicate"

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 3, H, W]."""
        return images.expand(-1, 3, -1, -1)


class Colormap(Translator):
    """clip(1.5 - |4 v - c|, 0, 1), c = 3, 2, 1 for red, green, blue; a control.

    Source: the colour jet of Eitel et al., IROS 2015 (arXiv 1507.06821).
    """

    name = "colormap"

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 3, H, W]."""
        centres = torch.tensor([3.0, 2.0, 1.0], device=images.device).view(1, 3, 1, 1)
        return (1.5 - (4 * images - centres).abs()).clamp(0, 1)


class Pointwise(Translator):
    """1x1 convolution, BatchNorm, ReLU, 3x3 convolution: our reading of a review of the paper."""

    name = "pointwise"

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 3, H, W]."""
        painted: Tensor = self.layers(images).sigmoid()
        return painted


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class Residual(Translator):
    """sigmoid(logit x + g(x)); g's last layer is zero at first, so that it starts as `replicate`."""

    name = "residual"

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(_Block(width, dilation) for dilation in (1, 2, 4)))
        self.last = nn.Conv2d(width + 1, 3, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 3, H, W]."""
        deep = self.blocks(self.stem(images))
        wide = interpolate(deep, size=images.shape[2:], mode="bilinear", align_corners=False)
        added = self.last(torch.cat([wide, images.to(wide.dtype)], dim=1)).float()
        painted: Tensor = (images.float().clamp(CLOSEST, 1 - CLOSEST).logit() + added).sigmoid()
        return painted


class UNet(Translator):
    """A U-Net with a MobileNetV2 encoder, both from segmentation_models_pytorch."""

    name = "unet"
    depth = 4

    def __init__(self) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp

        self.network = smp.Unet(
            "mobilenet_v2",
            encoder_depth=self.depth,
            encoder_weights=None,
            decoder_channels=(96, 48, 24, 16),
            in_channels=1,
            classes=3,
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 3, H, W]."""
        height, width = images.shape[2:]
        step = 2**self.depth
        padded = pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        painted: Tensor = self.network(padded)[:, :, :height, :width].sigmoid()
        return painted


REGISTRY: dict[str, type[Translator]] = {
    kind.name: kind for kind in (Replicate, Colormap, Pointwise, Residual, UNet)
}


def build_translator(name: str) -> Translator:
    """A translator by name.

    Raises:
        UnknownTranslator: with the known names.
    """
    return REGISTRY[check_translator(name)]()
