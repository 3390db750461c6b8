"""Features at a named layer, against the module called by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from socketlab.data.modality import PixelFormat
from socketlab.data.views import ImagePairs, Images
from socketlab.gap.layers import (
    UnknownLayer,
    layer_features,
    layer_names,
    layer_pair_features,
)
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.models.translator import build_translator
from socketlab.training.inference import predict
from socketlab.training.precision import Precision

CPU = Precision(torch.device("cpu"), torch.float32, "a test")
HALF = Precision(torch.device("cpu"), torch.bfloat16, "a test")
CLASSES = ("bed", "desk", "sofa")
CROP = 14


def rgb(count: int = 7, size: int = 16) -> Images:
    raw = torch.randint(0, 256, (count, size, size, 3)).to(torch.uint8)
    return Images(raw, PixelFormat("rgb", 0, 255, None), tuple(map(str, range(count))))


def nir(count: int = 7, size: int = 16) -> Images:
    raw = torch.randint(0, 256, (count, size, size)).to(torch.uint8)
    return Images(raw, PixelFormat("nir", 0, 255, None), tuple(map(str, range(count))))


def classifier(backbone: str = "resnet_small", encoder: nn.Module | None = None) -> Classifier:
    """A classifier that has seen a batch; with another encoder of 6 features where one is given."""
    model = Classifier(backbone, CLASSES, bottleneck=8)
    if encoder is not None:
        model.encoder, model.bottleneck[0] = encoder, nn.Linear(6, 8)
    with torch.no_grad():
        model.train()(torch.rand(4, 3, CROP, CROP))
    return model


def normalised(model: Classifier, images: Images) -> Tensor:
    """The centre crops, as the encoder is given them."""
    inside = images.raw[:, 1:-1, 1:-1]
    unit = inside.permute(0, 3, 1, 2) if inside.ndim == 4 else inside[:, None].expand(-1, 3, -1, -1)
    return (unit.float() / 255 - model.mean) / model.deviation


class Shapes(nn.Module):
    """Layers that give maps, maps with the channels last, tokens, rows, and what is no feature."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 5, 4, stride=4)
        self.channels_last = nn.Linear(5, 4)
        self.tokens = nn.Linear(4, 7)
        self.rows = nn.Linear(7, 6)
        self.twice = nn.Tanh()
        self.unused = nn.Linear(6, 6)
        self.windows = nn.Flatten(0, 1)
        self.both = Both()

    def steps(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.maps(images)
        channels_last = self.channels_last(maps.permute(0, 2, 3, 1))
        tokens = self.tokens(channels_last.flatten(1, 2))
        self.windows(tokens)
        self.both(tokens)
        rows = self.rows(self.twice(tokens).mean(1))
        return {"maps": maps, "channels_last": channels_last, "tokens": tokens, "rows": rows}

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.twice(self.steps(images)["rows"])
        return features


class Both(nn.Module):
    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return values, values


def by_hand(values: Tensor, channel: int) -> list[list[float]]:
    """Row by row and channel by channel, the mean of all numbers, in float64."""
    rows = []
    for image in values.detach().double():
        moved = image.movedim(channel - 1, 0)
        numbers = [part.flatten().tolist() for part in moved]
        rows.append([sum(part) / len(part) for part in numbers])
    return rows


@pytest.mark.parametrize("batch_size", [3, 256])
def test_each_layer_s_output_is_pooled_over_its_positions(batch_size: int) -> None:
    encoder = Shapes()
    model, images = classifier(encoder=encoder), rgb()
    model.eval()
    steps = encoder.steps(normalised(model, images))
    channels = {"maps": 1, "channels_last": 3, "tokens": 2, "rows": 1}
    found = layer_features(model, images, [*channels], CROP, CPU, batch_size=batch_size)
    assert [*found] == [*channels]
    for name, channel in channels.items():
        wanted = torch.tensor(by_hand(steps[name], channel))
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5)
        assert found[name].dtype == torch.float32 and not found[name].requires_grad


def test_a_module_called_twice_gives_its_last_output() -> None:
    encoder = Shapes()
    model, images = classifier(encoder=encoder), rgb()
    found = layer_features(model, images, ["twice"], CROP, CPU, batch_size=3)["twice"]
    wanted = encoder(normalised(model, images)).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "names", "widths"),
    [
        ("resnet_small", [f"stages.{k}" for k in range(2, 7)], [32, 32, 64, 128, 256]),
        ("resnet18", ["maxpool", "layer1", "layer2", "layer3", "layer4"], [64, 64, 128, 256, 512]),
        (
            "mobilenet_v2",
            [f"features.{k}" for k in (1, 3, 6, 13, 18)],
            [16, 24, 32, 96, 1280],
        ),
        ("convnext_atto", [f"stages.{k}" for k in range(4)], [40, 80, 160, 320]),
        ("resnet10t", ["act1", "layer1", "layer2", "layer3", "layer4"], [64, 64, 128, 256, 512]),
    ],
)
def test_stages_are_those_of_the_network(
    backbone: str, names: list[str], widths: list[int]
) -> None:
    """Their features are those of torchvision's own extractor, which rewrites the network."""
    model, images = Classifier(backbone, CLASSES, bottleneck=8).eval(), rgb(2, 34)
    assert layer_names(model) == (*names, "bottleneck")
    found = layer_features(model, images, layer_names(model), 32, CPU)
    assert [found[name].shape[1] for name in names] == widths
    assert found["bottleneck"].shape == (2, 8)
    if backbone != "resnet10t":  # the extractor calls other outputs of the same network so
        extractor = create_feature_extractor(model.encoder, names)
        with torch.no_grad():
            wanted = extractor(normalised(model, images))
        for name in names:
            torch.testing.assert_close(
                found[name], wanted[name].mean((2, 3)), rtol=1e-3, atol=1e-4, msg=name
            )


def test_the_last_stage_of_our_network_is_what_the_bottleneck_is_given() -> None:
    model, images = classifier().eval(), rgb()
    found = layer_features(model, images, ["stages.6", "bottleneck"], CROP, CPU)
    torch.testing.assert_close(model.bottleneck(found["stages.6"]), found["bottleneck"])


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("vit_tiny_patch16_224", tuple(f"blocks.{k}" for k in (2, 5, 8, 11))),
        ("mixer_s32_224", tuple(f"blocks.{k}" for k in (1, 3, 5, 7))),
    ],
)
def test_of_many_blocks_four_are_named(backbone: str, names: tuple[str, ...]) -> None:
    """Evenly spaced with the last one; the wrapper of a network made for one size is in no name."""
    assert layer_names(Classifier(backbone, CLASSES, bottleneck=8)) == (*names, "bottleneck")


def test_tokens_of_a_vit_are_averaged() -> None:
    model, images = Classifier("vit_tiny_patch16_224", CLASSES, bottleneck=8).eval(), rgb(2, 34)
    found = layer_features(model, images, ["blocks.11"], 32, CPU)["blocks.11"]
    encoder: Any = model.encoder.network
    assert isinstance(encoder, timm.models.VisionTransformer)
    with torch.no_grad():
        x = normalised(model, images)
        (tokens,), (prefix,) = zip(
            *encoder.forward_intermediates(
                x, indices=[11], return_prefix_tokens=True, intermediates_only=True, norm=False,
                output_fmt="NLC",
            ), strict=True
        )  # fmt: skip
    torch.testing.assert_close(found, torch.cat([prefix, tokens], 1).mean(1), rtol=1e-3, atol=1e-4)


def test_a_network_that_names_no_stage_gives_its_children_with_weights() -> None:
    names = layer_names(classifier(encoder=Shapes()))
    assert names == ("maps", "channels_last", "tokens", "rows", "unused", "bottleneck")


def test_pairs_go_through_a_network_each() -> None:
    """The RGB half through the source model; at the bottleneck as `predict` has it."""
    source, target = classifier(), classifier()
    target.translate_with(build_translator("pointwise"))
    pairs = ImagePairs(rgb(), nir(), tuple(map(str, range(7))))
    found = layer_pair_features(source, target, pairs, ["bottleneck", "stages.3"], CROP, CPU)
    assert [*found] == ["bottleneck", "stages.3"]
    halves = predict(source, pairs.source, CROP, CPU), predict(target, pairs.target, CROP, CPU)
    assert torch.equal(found["bottleneck"].rgb, halves[0].features)
    assert torch.equal(found["bottleneck"].other, halves[1].features)
    stage = layer_features(source, pairs.source, ["stages.3"], CROP, CPU)["stages.3"]
    assert torch.equal(found["stages.3"].rgb, stage)
    stage = layer_features(target, pairs.target, ["stages.3"], CROP, CPU)["stages.3"]
    assert torch.equal(found["stages.3"].other, stage)
    assert not torch.equal(found["stages.3"].rgb, found["stages.3"].other)


def test_the_encoding_of_depth_reaches_the_network() -> None:
    raw = torch.randint(500, 60000, (3, 16, 16), dtype=torch.int32).to(torch.uint16)
    depth = Images(raw, PixelFormat("depth", 500, 60000, 0), ("0", "1", "2"))
    model = classifier()
    pairs = ImagePairs(rgb(3), depth, ("0", "1", "2"))
    found = layer_pair_features(model, model, pairs, ["stages.2"], CROP, CPU, "inverse")
    wanted = layer_features(model, depth, ["stages.2"], CROP, CPU, "inverse")["stages.2"]
    assert torch.equal(found["stages.2"].other, wanted)
    assert not torch.allclose(
        layer_features(model, depth, ["stages.2"], CROP, CPU)["stages.2"], wanted
    )


def test_half_precision_gives_float32_that_was_averaged_in_float32() -> None:
    model, images = classifier().eval(), rgb()
    layers = ["stages.2", "bottleneck"]
    found = layer_features(model, images, layers, CROP, HALF)
    exact = layer_features(model, images, layers, CROP, CPU)
    for name in layers:
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], exact[name], rtol=0.1, atol=0.1)
    in_half = found["stages.2"].to(torch.bfloat16).float()
    assert not torch.equal(found["stages.2"], in_half)


def _count_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("layers", [["maps", "rows"], ["maps", "both"]])
def test_the_model_is_left_as_it_was(layers: list[str]) -> None:
    """Modes, hooks, weights; also where a layer is refused halfway."""
    model = classifier(encoder=Shapes())
    model.bottleneck.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if "both" in layers:
        with pytest.raises(ValueError, match=r"'both' gives tuple.*\[B, C, H, W\]"):
            layer_features(model, rgb(), layers, CROP, CPU)
    else:
        layer_features(model, rgb(), layers, CROP, CPU)
    assert [module.training for module in model.modules()] == modes
    assert _count_hooks(model) == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_all_layers_are_read_in_one_pass() -> None:
    model = classifier()
    calls: list[int] = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    layer_features(model, rgb(), layer_names(model), CROP, CPU, batch_size=4)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "stages.9",
            r"no layer 'stages.9'\. Did you mean stages.*Choose of stages.2, .*bottleneck",
        ),
        ("", r"no layer ''.*full name of a module"),
        ("head", r"no layer 'head'"),
    ],
)
def test_a_layer_that_is_not_there_is_named_with_those_that_are(layer: str, message: str) -> None:
    with pytest.raises(UnknownLayer, match=message):
        layer_features(classifier(), rgb(), ["stages.2", layer], CROP, CPU)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "No forward pass reaches layer 'unused'"),
        ("windows", r"'windows' gives 63 rows for 7 images: .* module around it"),
    ],
)
def test_a_layer_without_a_row_per_image_is_refused(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_features(classifier(encoder=Shapes()), rgb(), [layer], CROP, CPU)


def test_no_layer_and_a_mixture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"No layer was asked for.*stages\.2"):
        layer_features(classifier(), rgb(), [], CROP, CPU)
    mixture = Mixture([classifier(), classifier()])
    ask: Callable[[], object]
    for ask in (
        lambda: layer_names(mixture),
        lambda: layer_features(mixture, rgb(), ["bottleneck"], CROP, CPU),
    ):
        with pytest.raises(ValueError, match=r"mixture of 2 classifiers.*model\.members\[0\]"):
            ask()
