"""Encoders: a pooled feature vector from an image, by name and with the weights asked for."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from socketlab.models.names import BUILT_IN, TORCHVISION, check_backbone


class ResNetSmall(nn.Module):
    """A residual network for images of about 64 pixels: one block a stage, 32 to 256 channels.

    Input [B, 3, H, W], output [B, 256] (global average of the last stage). 1.2 million parameters.
    The blocks are torchvision's (He et al., CVPR 2016).
    """

    out_features = 256

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        ]
        width = 32
        for channels, stride in ((32, 1), (64, 2), (128, 2), (256, 2)):
            shortcut = None
            if stride != 1 or channels != width:
                shortcut = nn.Sequential(
                    nn.Conv2d(width, channels, 1, stride=stride, bias=False),
                    nn.BatchNorm2d(channels),
                )
            stages.append(BasicBlock(width, channels, stride, shortcut))
            width = channels
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features [B, 256] of images [B, 3, H, W]."""
        features: Tensor = self.pool(self.stages(images)).flatten(1)
        return features


class SizedNetwork(nn.Module):
    """A network of timm that was made for one image size; says so where another does not fit.

    Input [B, 3, H, W], output [B, d] as the network's own.

    Args:
        name: as timm has it.
        network: with `pretrained_cfg`, where timm keeps the size.

    Raises:
        ValueError: from `forward`, for a size that the network cannot take.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.size: tuple[int, int] = tuple(network.pretrained_cfg["input_size"][1:])  # type: ignore[index]
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features [B, d] of images [B, 3, H, W]."""
        found = tuple(images.shape[-2:])
        try:
            features: Tensor = self.network(images)
        except torch.OutOfMemoryError:  # a RuntimeError too, and not for the reason given below
            raise
        except (AssertionError, RuntimeError) as error:
            if found == self.size:
                raise
            height, width = self.size
            reason = str(error).rstrip(".")
            raise ValueError(
                f"{self.name!r} cannot take images of {found[0]} x {found[1]} pixels ({reason}). "
                f"Set crop: {height}, for it was made for {height} x {width}, or choose another "
                "backbone: convnext_atto takes every size from 32, vit_tiny_patch16_224 multiples "
                "of 16."
            ) from error
        return features


def build_backbone(name: str, weights: str = "none") -> tuple[nn.Module, int]:
    """Build an encoder [B, 3, H, W] -> [B, d] and say d.

    Networks of timm that can take any image size are asked to, e.g. a ViT, whose position
    embeddings are then resampled.

    Args:
        name: `resnet_small`, a torchvision ResNet or MobileNetV2, or any name of timm.
        weights: `none`, `imagenet` (downloaded by the library), or the path of a safetensors file
            that loads strictly into the library's own network of that name.

    Raises:
        UnknownBackbone: for a name that nobody has.
        ValueError: for weights that cannot be had or do not fit.
    """
    check_backbone(name)
    if weights == "imagenet" and name in BUILT_IN:
        raise ValueError(f"There are no ImageNet weights for {name!r}. Use weights: none.")
    encoder = _whole_network(name, weights)
    if name in BUILT_IN:
        return encoder, ResNetSmall.out_features
    if name in TORCHVISION:
        return _without_classifier(encoder)
    # Where a layer stands between pooling and classifier, `num_features` is the width before it.
    width = int(getattr(encoder, "head_hidden_size", None) or encoder.num_features)  # type: ignore[arg-type]
    encoder.reset_classifier(0)  # type: ignore[operator]
    if encoder.pretrained_cfg.get("fixed_input_size"):  # type: ignore[operator, union-attr]
        encoder = SizedNetwork(name, encoder)
    return encoder, width


def _whole_network(name: str, weights: str) -> nn.Module:
    network: nn.Module
    pretrained = weights == "imagenet"
    try:
        if name in BUILT_IN:
            network = ResNetSmall()
        elif name in TORCHVISION:
            choice = "IMAGENET1K_V1" if pretrained else None
            if pretrained and name == "resnext101_64x4d":
                choice = "DEFAULT"  # the only weights that torchvision has for it
            network = torchvision.models.get_model(name, weights=choice)
        else:
            network = timm_network(name, pretrained=pretrained)
    except (URLError, OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f"The ImageNet weights of {name!r} could not be fetched ({error}). Connect to the "
            "network once, or give weights: PATH to a safetensors file of that network."
        ) from error
    if weights not in ("none", "imagenet"):
        _load(network, name, Path(weights))
    return network


def timm_network(name: str, **options: Any) -> nn.Module:
    """A network of timm as `timm.create_model` makes it, for images of any size if it can."""
    import timm

    network: nn.Module
    try:
        network = timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:  # it has no such argument, and does not need it or cannot do without a size
        network = timm.create_model(name, **options)
    return network


def _load(network: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        raise ValueError(
            f"Weights file {str(path)!r} does not exist. Give weights: none, imagenet, or the "
            "path of a safetensors file."
        )
    if path.suffix != ".safetensors":
        raise ValueError(f"Weights file {str(path)!r} is not a .safetensors file.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"Weights file {str(path)!r} is damaged ({error}). Fetch or export it again."
        ) from error
    expected = network.state_dict()
    # Exports leave out the counters of BatchNorm, which nothing here reads.
    for key in expected.keys() - tensors.keys():
        if key.endswith("num_batches_tracked"):
            tensors[key] = expected[key]
    missing, unknown = sorted(expected.keys() - tensors), sorted(tensors.keys() - expected)
    misfit = [k for k in expected.keys() & tensors if expected[k].shape != tensors[k].shape]
    if missing or unknown or misfit:
        raise ValueError(
            f"{str(path)!r} does not hold the weights of {name!r}: missing {missing[:3]}, unknown "
            f"{unknown[:3]}, of another shape {sorted(misfit)[:3]}. Name the backbone it is for."
        )
    network.load_state_dict(tensors)


def _without_classifier(network: nn.Module) -> tuple[nn.Module, int]:
    attribute = "fc" if hasattr(network, "fc") else "classifier"
    last = getattr(network, attribute)
    linear = last if isinstance(last, nn.Linear) else last[-1]
    setattr(network, attribute, nn.Identity())
    return network, int(linear.in_features)


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Every BatchNorm2d of a network in the order of its modules (53 in ResNet-50)."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
