"""The classifier of source and target model: encoder -> bottleneck -> weight-normalised head."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from socketlab.models.backbones import build_backbone
from socketlab.models.names import Normalisation
from socketlab.models.own_model_spec import OwnNetwork
from socketlab.models.own_program import Program
from socketlab.models.translator import Translator, build_translator

FIXED_NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The constants that SOCKET's released transfer script uses for everything.
    "socket_code": ((0.6983, 0.3918, 0.4474), (0.1648, 0.1359, 0.1644)),
}


def normalisation_constants(
    name: Normalisation, pixels: Tensor | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel, each of three numbers in [0, 1].

    Args:
        name: `imagenet`, `socket_code`, or `source_statistics` (measured on `pixels`).
        pixels: source images [N, 3, H, W] in [0, 1], needed by `source_statistics`.

    Raises:
        ValueError: for an unknown name, or `source_statistics` without pixels.
    """
    if name in FIXED_NORMALISATIONS:
        return FIXED_NORMALISATIONS[name]
    if name != "source_statistics":
        raise ValueError(
            f"Unknown normalisation {name!r}. Known: imagenet, socket_code, source_statistics."
        )
    if pixels is None:
        raise ValueError("normalisation: source_statistics needs the source images.")
    deviation, mean = torch.std_mean(pixels, dim=(0, 2, 3))
    return tuple(mean.tolist()), tuple(deviation.clamp_min(1e-3).tolist())


@dataclass(frozen=True)
class GivenNetwork:
    """A network that somebody else has trained, taken apart.

    Attributes:
        encoder: normalised images [B, 3, H, W] to features [B, d].
        head: its last linear layer.
        about: what it takes to build it again.
    """

    encoder: nn.Module
    head: nn.Linear
    about: OwnNetwork


class Classifier(nn.Module):
    """softmax C(F(x)): F = encoder + bottleneck (Linear to 256, BatchNorm1d), C = the head.

    Images come in [0, 1] with one or three channels. One channel goes through the translator
    first, which by default replicates it three times; three are RGB and go past it. The
    normalisation that the network was trained with is part of it, so that no caller can use
    another. The head is a weight-normalised linear layer (SHOT, ICML 2020; SOCKET, ECCV 2022).
    A network that was `given` keeps its own parts: its features are those before its last linear
    layer, the bottleneck is the identity, and that layer is the head.

    Args:
        backbone: name of the encoder, see `build_backbone`.
        classes: class names in the order of the logits.
        weights: the encoder's starting weights.
        mean, deviation: normalisation constants, three numbers each.
        bottleneck: width of the feature space.
        translator: how one channel becomes three, see `build_translator`.
        given: a network to be wrapped; `backbone` is then only its name, `weights` and `bottleneck`
            are not used.

    Attributes:
        width: numbers in a feature.
        own: what a wrapped network is built from, else None.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        backbone: str,
        classes: Sequence[str],
        *,
        weights: str = "none",
        mean: Sequence[float] = FIXED_NORMALISATIONS["imagenet"][0],
        deviation: Sequence[float] = FIXED_NORMALISATIONS["imagenet"][1],
        bottleneck: int = 256,
        translator: str = "replicate",
        given: GivenNetwork | None = None,
    ) -> None:
        super().__init__()
        if len(classes) < 2:
            raise ValueError(f"A classifier needs at least two classes, found {list(classes)}.")
        self.backbone = backbone
        self.classes = tuple(classes)
        self.translator = build_translator(translator)
        self.own = given.about if given is not None else None
        self.encoder: nn.Module
        self.bottleneck: nn.Module
        self.head: nn.Module
        if given is not None:
            self.encoder, self.head = given.encoder, given.head
            self.bottleneck, self.width = nn.Identity(), given.head.in_features
        else:
            self.encoder, width = build_backbone(backbone, weights)
            self.bottleneck = nn.Sequential(
                nn.Linear(width, bottleneck), nn.BatchNorm1d(bottleneck)
            )
            self.head, self.width = weight_norm(nn.Linear(bottleneck, len(classes))), bottleneck
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def features(self, images: Tensor) -> Tensor:
        """Bottleneck features F(x).

        Args:
            images: [B, 1 or 3, H, W] in [0, 1].

        Returns:
            [B, 256], or of a wrapped network [B, width].
        """
        if images.shape[1] == 1:
            images = self.translator(images)
        normalised = (images - self.mean) / self.deviation
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.bottleneck(self.encoder(normalised))
        return features

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features F(x) [B, 256] and logits C(F(x)) [B, K] of images [B, 1 or 3, H, W]."""
        features = self.features(images)
        return features, self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Logits C(F(x)) [B, K] of images [B, 1 or 3, H, W] in [0, 1]."""
        return self.outputs(images)[1]

    def translate_with(self, translator: Translator) -> None:
        """See one-channel images through `translator` from now on, which this network shares."""
        self.translator = translator

    def train(self, mode: bool = True) -> Self:
        """As always, but a translator that is not trained stays in eval mode."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.translator.parameters()):
            self.translator.eval()
        return self

    @property
    def members(self) -> "list[Classifier]":
        """The one classifier; a `Mixture` has several."""
        return [self]

    def frozen(self) -> Self:
        """A copy in eval mode of which nothing can be trained: the source model as a teacher."""
        return copy.deepcopy(self).requires_grad_(False).eval()

    def student(self) -> Self:
        """A copy to be adapted: encoder and bottleneck can be trained, and start here."""
        return copy.deepcopy(self).adaptable()

    def adaptable(self) -> Self:
        """Itself, with encoder and bottleneck to be trained, head and translator held."""
        self.requires_grad_(True)
        self.head.requires_grad_(False)
        self.translator.requires_grad_(False)
        if isinstance(self.encoder, Program):
            self.encoder.hold()
        return self
