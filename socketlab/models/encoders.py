"""Any image encoder by one text, with the size and normalisation that it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from socketlab.models.backbones import ResNetSmall, SizedNetwork, build_backbone
from socketlab.models.checkpoint import load_classifier
from socketlab.models.classifier import FIXED_NORMALISATIONS
from socketlab.models.encoder_names import CHECKPOINT, EncoderName, read_encoder
from socketlab.models.mixture import AnyClassifier

BUILT_IN_SIZE = 64
TORCHVISION_SIZE = 224


class _Normalised(nn.Module):
    """A backbone behind its normalisation; one channel becomes three equal ones."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, backbone: nn.Module, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone((images - self.mean) / self.deviation)
        return features


class _Features(nn.Module):
    """The features of a kept classifier, which has its own normalisation and translator."""

    def __init__(self, classifier: AnyClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)


class Encoder(nn.Module):
    """Pooled features of images of any size: resized, cropped, normalised as the network wants.

    The whole image is brought to `size` x `size` (bilinear, antialiased, as the store does), and
    the middle `crop` x `crop` of it is what the network sees. In eval mode, without gradients.

    Args:
        name: the text that it was asked for by.
        network: [B, 1 or 3, crop, crop] in [0, 1] to [B, width].
        width: how many numbers it gives.
        size, crop: pixels; `crop` at most `size`.
        about: what it is, in words.
    """

    def __init__(
        self, name: str, network: nn.Module, *, width: int, size: int, crop: int, about: str
    ) -> None:
        super().__init__()
        self.name, self.about = name, about
        self.width, self.size, self.crop = width, size, crop
        self.network = network
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, width] of images [B, 1 or 3, H, W] in [0, 1]."""
        if images.shape[-2:] != (self.size, self.size):
            images = interpolate(
                images, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        start = (self.size - self.crop) // 2
        end = start + self.crop
        features: Tensor = self.network(images[..., start:end, start:end])
        return features

    @property
    def short(self) -> str:
        """Its name for legends: without underscores, and of a file without folders and ending."""
        return self.name.removesuffix(CHECKPOINT).rpartition("/")[2].replace("_", " ")

    def __str__(self) -> str:
        return f"{self.about}: {self.width} numbers; sees {self.crop} x {self.crop} pixels"


def build_encoder(
    text: str, *, size: int | None = None, seed: int = 0, home: Path | None = None
) -> Encoder:
    """The encoder that `text` names, ready to be used, on the CPU.

    Args:
        text: `NAME`, `NAME:untrained`, `NAME:imagenet`, `NAME:pretrained`, `NAME:FILE.safetensors`
            or the `FILE.safetensors` of a kept model, whose bottleneck features are taken.
        size: pixels that it is to see instead of those it was made for; a kept model always sees
            what it was trained with.
        seed: draws random weights: the same text and seed give the same network.
        home: where the path of a file starts, if not from the working folder.

    Raises:
        UnknownEncoder: for a text that names none.
        CheckpointError: for a kept model that is missing or damaged.
        ValueError: for weights that cannot be had or do not fit.
    """
    asked = read_encoder(text)
    if asked.checkpoint:
        return _of_checkpoint(text, _at(home, asked.checkpoint))
    weights = asked.weights
    if weights.endswith(CHECKPOINT):
        weights = str(_at(home, weights))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, width = build_backbone(asked.backbone, weights)
    own_size, mean, deviation = _made_for(backbone)
    pixels = own_size if size is None else size
    network = _Normalised(backbone, mean, deviation)
    return Encoder(text, network, width=width, size=pixels, crop=pixels, about=_about(asked, seed))


def _at(home: Path | None, file: str) -> Path:
    return (home or Path()) / Path(file).expanduser()


def _of_checkpoint(text: str, path: Path) -> Encoder:
    model, card = load_classifier(path)
    about = f"kept model of {card.method}, for {card.domain}"
    width = sum(member.bottleneck for member in card.members)
    return Encoder(text, _Features(model), width=width, size=card.size, crop=card.crop, about=about)


def _made_for(backbone: nn.Module) -> tuple[int, Sequence[float], Sequence[float]]:
    """Pixels a side, mean and deviation that a backbone was made for."""
    if isinstance(backbone, ResNetSmall):
        return BUILT_IN_SIZE, *FIXED_NORMALISATIONS["imagenet"]
    network = backbone.network if isinstance(backbone, SizedNetwork) else backbone
    known = getattr(network, "pretrained_cfg", None)  # timm's
    if known is None:
        return TORCHVISION_SIZE, *FIXED_NORMALISATIONS["imagenet"]
    return int(known["input_size"][-1]), known["mean"], known["std"]


def _about(asked: EncoderName, seed: int) -> str:
    if asked.weights == "none":
        return f"{asked.backbone}, untrained (random weights of seed {seed})"
    if asked.weights == "imagenet":
        return f"{asked.backbone} with the library's trained weights"
    return f"{asked.backbone} with the weights in {Path(asked.weights).name}"
