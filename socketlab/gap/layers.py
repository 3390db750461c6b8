"""Features at any named layer: pooled stages of the encoder, any module of it, the bottleneck."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs, Images
from socketlab.gap.features import PairFeatures
from socketlab.models.backbones import ResNetSmall, SizedNetwork
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.training.inference import predict
from socketlab.training.precision import Precision

BOTTLENECK = "bottleneck"
MOST_STAGES = 6
KEPT_STAGES = 4

_RESNET = ("maxpool", "layer1", "layer2", "layer3", "layer4")
# The last block at each resolution, as timm chooses them, and the last convolution.
_MOBILENET = tuple(f"features.{place}" for place in (1, 3, 6, 13, 18))
_RESNET_SMALL = tuple(f"stages.{place}" for place in range(2, 7))


class UnknownLayer(ValueError):  # noqa: N818 - reads as the thing found
    """A layer that the classifier does not have."""


def layer_names(model: AnyClassifier) -> tuple[str, ...]:
    """The layers that are worth asking for, from first to last: stages of the encoder, bottleneck.

    A stage is the stem or the last module at a resolution: `stages.2` to `stages.6` of our
    resnet_small, `maxpool` and `layer1` to `layer4` of torchvision's ResNets, five of the
    `features` of its MobileNetV2; of timm's networks what their `feature_info` names. Of more
    than six, such as the blocks of a ViT, four are kept, evenly spaced, with the last one. A
    network that says nothing of its stages gives its children that have parameters.

    Raises ValueError for a mixture.
    """
    return (*_stages(inner_network(one_classifier(model))), BOTTLENECK)


def layer_features(
    model: AnyClassifier,
    images: Images,
    layers: Sequence[str],
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
    *,
    batch_size: int = 256,
) -> dict[str, Tensor]:
    """What each of `layers` gives for every image, pooled to a row: [N, C], float32, on the device.

    f_c = mean over positions of z_c; maps [B, C, H, W] or [B, H, W, C] are averaged over H and W,
    tokens [B, T, C] over T (class token included), rows [B, C] are taken as they are. All layers
    are read in the one forward pass of `predict`: centre crop, eval mode, the order of the images.
    A module that is called more than once gives its last output.

    Args:
        model: is moved to the device, else left as it was.
        images: RGB, or images of one channel, which go through the model's translator.
        layers: of `layer_names`, or full names of modules of the encoder, such as
            `stages.3.conv1`; `bottleneck` gives the features F(x).

    Raises:
        UnknownLayer: for a name that the encoder does not have.
        ValueError: for no layer, a mixture, a layer that no forward pass reaches, or one whose
            output is no tensor with a row per image.
    """
    classifier = one_classifier(model).to(precision.device)
    modules = _modules(classifier, layers)
    with _outputs(classifier.encoder, modules) as found:
        answers = predict(
            classifier,
            images.to(precision.device),
            crop,
            precision,
            encoding=encoding,
            batch_size=batch_size,
        )
    features = {BOTTLENECK: answers.features}
    features |= {name: _joined(name, parts, len(images)) for name, parts in found.items()}
    return {name: features[name] for name in layers}


def layer_pair_features(
    source_model: AnyClassifier,
    model: AnyClassifier,
    pairs: ImagePairs,
    layers: Sequence[str],
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
) -> dict[str, PairFeatures]:
    """`layer_features` of both halves of every pair: of r by the source model, of m by `model`.

    Args:
        source_model: for the RGB half.
        model: for the other half: the source model itself (before) or a target model (after).
        pairs: RGB and the other modality, the same scenes.
        layers: names that both models have.

    Raises as `layer_features` does.
    """
    rgb = layer_features(source_model, pairs.source, layers, crop, precision)
    other = layer_features(model, pairs.target, layers, crop, precision, encoding)
    return {name: PairFeatures(rgb[name], other[name]) for name in rgb}


def one_classifier(model: AnyClassifier) -> Classifier:
    """`model` itself; a mixture has several encoders, and no layer of that name is the layer.

    Raises ValueError for a mixture.
    """
    if not isinstance(model, Classifier):
        raise ValueError(
            f"A mixture of {len(model.members)} classifiers has no layers of its own. Pass one of "
            "its members, such as model.members[0]."
        )
    return model


def inner_network(classifier: Classifier) -> nn.Module:
    """The encoder as its library made it, after which its modules are named."""
    encoder = classifier.encoder
    return encoder.network if isinstance(encoder, SizedNetwork) else encoder


def _stages(encoder: nn.Module) -> tuple[str, ...]:
    named: Sequence[str] = ()
    if isinstance(encoder, ResNetSmall):
        named = _RESNET_SMALL
    elif isinstance(encoder, ResNet):
        named = _RESNET
    elif isinstance(encoder, MobileNetV2):
        named = _MOBILENET
    elif isinstance(info := getattr(encoder, "feature_info", None), list):
        named = [str(stage.get("module")) for stage in info]
    modules = dict(encoder.named_modules())
    found = tuple(name for name in named if name in modules)
    if not found:
        found = tuple(
            n for n, child in encoder.named_children() if any(True for _ in child.parameters())
        )
    if len(found) > MOST_STAGES:
        found = tuple(found[(k + 1) * len(found) // KEPT_STAGES - 1] for k in range(KEPT_STAGES))
    return found


def _modules(classifier: Classifier, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The modules of the encoder among `layers`, by name."""
    known = {name: module for name, module in inner_network(classifier).named_modules() if name}
    names = layer_names(classifier)
    if not layers:
        raise ValueError(f"No layer was asked for. Name some of: {', '.join(names)}.")
    for name in layers:
        if name != BOTTLENECK and name not in known:
            nearest = difflib.get_close_matches(name, [*known], 3)
            hint = f" Did you mean {', '.join(nearest)}?" if nearest else ""
            raise UnknownLayer(
                f"The {classifier.backbone!r} classifier has no layer {name!r}.{hint} Choose of "
                f"{', '.join(names)}, or give the full name of a module of its encoder."
            )
    return {name: known[name] for name in layers if name != BOTTLENECK}


@contextmanager
def _outputs(
    encoder: nn.Module, modules: Mapping[str, nn.Module]
) -> Iterator[dict[str, list[Tensor]]]:
    """Within it, every forward pass of the encoder adds a pooled [B, C] to each name's list."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    last: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[[nn.Module, object, object], None]:
        def read(_module: nn.Module, _inputs: object, output: object) -> None:
            last[name] = _pooled(name, output)

        return read

    def passed(_module: nn.Module, _inputs: object, _output: object) -> None:
        for name in list(last):
            found[name].append(last.pop(name))

    handles = [module.register_forward_hook(reader(name)) for name, module in modules.items()]
    handles.append(encoder.register_forward_hook(passed))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _pooled(name: str, output: object) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"Layer {name!r} gives {kind}. Choose one that gives maps [B, C, H, W], tokens "
            "[B, T, C] or rows [B, C]."
        )
    if output.ndim == 2:
        return output.float()
    if output.ndim == 3:
        return output.mean(1, dtype=torch.float32)
    # Crops are square, so that the two equal sides tell [B, H, W, C] from [B, C, H, W].
    channels_last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.mean((1, 2) if channels_last else (2, 3), dtype=torch.float32)


def _joined(name: str, parts: Sequence[Tensor], count: int) -> Tensor:
    if not parts:
        raise ValueError(f"No forward pass reaches layer {name!r}. Choose another one.")
    rows = torch.cat([*parts])
    if len(rows) != count:
        raise ValueError(
            f"Layer {name!r} gives {len(rows)} rows for {count} images: its rows are parts of "
            "images. Choose the module around it."
        )
    return rows
