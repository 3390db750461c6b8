"""How an encoder is written in one text; loads no network library unless it must."""

from __future__ import annotations

from dataclasses import dataclass

from socketlab.models.names import UnknownBackbone, check_backbone

WRITTEN = (
    "Write an encoder as NAME or NAME:untrained (random weights), NAME:imagenet or "
    "NAME:pretrained (downloaded), NAME:FILE.safetensors (weights of the library's own network), "
    "or FILE.safetensors (a model that a run has kept)"
)
CHECKPOINT = ".safetensors"
_WEIGHTS = {"": "none", "untrained": "none", "imagenet": "imagenet", "pretrained": "imagenet"}


class UnknownEncoder(ValueError):  # noqa: N818 - reads as the thing found
    """A text that names no encoder."""


@dataclass(frozen=True)
class EncoderName:
    """An encoder's parts: a backbone and its weights, or else the file of a kept model.

    `weights` is as `build_backbone` takes it: `none`, `imagenet`, or the path of a file.
    """

    backbone: str = ""
    weights: str = "none"
    checkpoint: str = ""


def read_encoder(text: str) -> EncoderName:
    """The parts of an encoder's text, e.g. of `resnet18:imagenet`.

    A name without a colon is untrained: nothing is downloaded that was not asked for. Whether a
    file exists is not looked at here.

    Raises:
        UnknownEncoder: for an empty text, a backbone that nobody has, or unknown weights.
    """
    name, colon, weights = text.partition(":")
    if not colon and text.endswith(CHECKPOINT):
        return EncoderName(checkpoint=text)
    if not name or (weights not in _WEIGHTS and not weights.endswith(CHECKPOINT)):
        found = f"weights {weights!r}" if name else "text"
        raise UnknownEncoder(f"Unknown {found} in encoder {text!r}. {WRITTEN}.")
    try:
        check_backbone(name)
    except UnknownBackbone as error:
        raise UnknownEncoder(f"{error} {WRITTEN}.") from error
    return EncoderName(backbone=name, weights=_WEIGHTS.get(weights, weights))
