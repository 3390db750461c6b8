"""Translators: networks that paint one channel of depth or infrared as the RGB of a source model.

All of them are inferred: the paper of TGMB (arXiv 2401.05014; IEEE TIP 34, 2025) has a translator,
but its network is not public to us. A new one is a class here, its line in `REGISTRY` and its name
in `names.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from socketlab.data.colormap import jet
from socketlab.models.names import check_translator

MARGIN = 0.01
"""How near to 0 and 1 a pixel may come before its logit is taken, which is infinite at both."""


class Translator(nn.Module, ABC):
    """Images [B, 1, H, W] in [0, 1] to pictures [B, 3, H, W] in [0, 1], of any H and W from 8.

    What has parameters gives float32 under autocast too: bfloat16 has 256 steps from .5 to 2.
    """

    name: ClassVar[str]

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] of images [B, 1, H, W].

        Raises:
            ValueError: for images of another shape.
        """
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(
                f"Translator {self.name!r} takes images [B, 1, H, W], found "
                f"{tuple(images.shape)}. Give it one channel; RGB and the encodings "
                "colormap and hha need no translator."
            )
        return self.paint(images)

    @abstractmethod
    def paint(self, images: Tensor) -> Tensor:
        """As `forward`, of images whose shape has been looked at."""


class Replicate(Translator):
    """The same channel three times: a control, with nothing to train."""

    name = "replicate"

    def paint(self, images: Tensor) -> Tensor:
        """T(x) = (x, x, x), a view."""
        return images.expand(-1, 3, -1, -1)


class Colormap(Translator):
    """The colour jet of depth recognition, from blue (0) to red (1): a control, nothing to train.

    The encoding `colormap` has the same colours, but black where a sensor read nothing.

    Source: Eitel et al., IROS 2015 (arXiv 1507.06821).
    """

    name = "colormap"

    def paint(self, images: Tensor) -> Tensor:
        """T(x) = `jet`(x), which the encoding of that name also is."""
        return jet(images)


class Pointwise(Translator):
    """1x1 convolution, BatchNorm, ReLU, 3x3 convolution; 1,923 parameters.

    Source: our reading of a public review's "an FC layer, a BN layer, a Conv layer" (inferred).

    Args:
        width: channels between the two convolutions (inferred).
    """

    name = "pointwise"

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def paint(self, images: Tensor) -> Tensor:
        """T(x) = sigmoid(layers(x))."""
        return _at_least_float32(self.layers(images)).sigmoid()


class DilatedBlock(nn.Module):
    """relu(x + BatchNorm(3x3 convolution(x))), [B, width, h, w] to the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        result: Tensor = torch.relu(x + self.layers(x))
        return result


class Residual(Translator):
    """Replication and what a small network g adds to it; starts as replication (inferred).

    T(x) = sigmoid(logit(clip(x, .01, .99)) + g(x)), g's last layer zero at the start.

    g works at half the resolution; with dilations 1, 3 and 9, each as wide as what the one before
    has seen, a pixel depends on all of about 60 x 60 without a hole.

    Args:
        width: channels of g.
        dilations: one block for each.
    """

    name = "residual"

    def __init__(self, width: int = 32, dilations: Sequence[int] = (1, 3, 9)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(DilatedBlock(width, dilation) for dilation in dilations))
        self.last = nn.Conv2d(width + 1, 3, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def paint(self, images: Tensor) -> Tensor:
        """T(x), see the class."""
        height, width = images.shape[2:]
        even = _extended(images, 2)
        coarse = self.blocks(self.stem(even))
        fine = interpolate(coarse, size=even.shape[2:], mode="bilinear", align_corners=False)
        added = self.last(torch.cat([fine, even], dim=1))[:, :, :height, :width]
        start = _at_least_float32(images).clamp(MARGIN, 1 - MARGIN).logit()
        return (start + _at_least_float32(added)).sigmoid()


class UNet(Translator):
    """A U-Net with MobileNetV3 as its encoder, from random weights (inferred).

    94 million multiply-adds at 56 x 56. All five stages of the encoder are used: with fewer the
    library would compute the others and throw them away. In training, images of up to 32 pixels
    need a batch of two or more, for the deepest BatchNorm then sees one value per image.

    Source: Ronneberger et al., MICCAI 2015, as segmentation_models_pytorch has it.
    """

    name = "unet"
    encoder = "tu-mobilenetv3_small_100"
    decoder_channels = (96, 64, 48, 32, 16)
    step = 2 ** len(decoder_channels)

    def __init__(self) -> None:
        super().__init__()
        # Here and not above: it brings timm and all its networks.
        import segmentation_models_pytorch as smp

        self.network = smp.Unet(
            self.encoder,
            encoder_depth=len(self.decoder_channels),
            encoder_weights=None,
            decoder_channels=self.decoder_channels,
            in_channels=1,
            classes=3,
        )

    def paint(self, images: Tensor) -> Tensor:
        """T(x) = sigmoid(network(x)), x extended to multiples of 32 and cut back."""
        height, width = images.shape[2:]
        logits = self.network(_extended(images, self.step))[:, :, :height, :width]
        return _at_least_float32(logits).sigmoid()


REGISTRY: dict[str, type[Translator]] = {
    "replicate": Replicate,
    "colormap": Colormap,
    "pointwise": Pointwise,
    "residual": Residual,
    "unet": UNet,
}


def build_translator(name: str) -> Translator:
    """A translator by its name, from random weights where it has any.

    Raises:
        UnknownTranslator: with the known names.
    """
    return REGISTRY[check_translator(name)]()


def _extended(images: Tensor, step: int) -> Tensor:
    """Images whose last row and column are repeated until both sides are multiples of `step`."""
    height, width = images.shape[2:]
    return pad(images, (0, -width % step, 0, -height % step), mode="replicate")


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
