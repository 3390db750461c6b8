"""Encoders: the library's own network behind the size and normalisation it was made for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from socketlab.models.checkpoint import CheckpointError, describe_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.encoder_names import UnknownEncoder
from socketlab.models.encoders import build_encoder

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def test_a_network_of_torchvision_sees_imagenet_normalised_images() -> None:
    encoder = build_encoder("resnet18", size=32, seed=4)
    torch.manual_seed(4)
    network = torchvision.models.resnet18().eval()
    network.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 32, 32)
    expected = network((images - IMAGENET_MEAN) / IMAGENET_DEVIATION)
    torch.testing.assert_close(encoder(images), expected)
    assert (encoder.width, encoder.size, encoder.crop) == (512, 32, 32)
    assert "untrained" in encoder.about
    assert "seed 4" in encoder.about


def test_a_network_of_timm_has_its_own_constants_and_size() -> None:
    name = "vit_tiny_patch16_224"
    encoder = build_encoder(name, seed=4)
    torch.manual_seed(4)
    network = timm.create_model(name).eval()
    network.reset_classifier(0)
    assert network.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    images = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(encoder(images), network((images - 0.5) / 0.5))
    assert (encoder.width, encoder.size) == (192, 224)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet_small", 64), ("mobilenet_v2", 224), ("mixer_s32_224", 224)]
)
def test_the_size_it_was_made_for(name: str, size: int) -> None:
    encoder = build_encoder(name)
    assert (encoder.size, encoder.crop) == (size, size)
    assert encoder(torch.rand(1, 3, 20, 30)).shape == (1, encoder.width)


def test_images_are_resized_as_pillow_does() -> None:
    encoder = build_encoder("resnet_small", size=16)
    seen: list[torch.Tensor] = []
    encoder.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    raw = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    encoder(torch.from_numpy(raw).permute(2, 0, 1)[None] / 255)
    expected = Image.fromarray(raw).resize((16, 16), Image.Resampling.BILINEAR)
    difference = seen[0][0].permute(1, 2, 0) * 255 - torch.from_numpy(np.array(expected)).float()
    assert float(difference.abs().max()) < 1.0  # Pillow rounds to whole numbers, twice


def test_one_channel_is_three_equal_ones() -> None:
    encoder = build_encoder("resnet_small", size=16)
    grey = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))


def test_random_weights_are_the_seeds_and_leave_torchs_own_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    first, same, other = (build_encoder("resnet_small", size=16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(first(images), same(images))
    assert not torch.allclose(first(images), other(images))
    assert not first.training
    assert not any(weight.requires_grad for weight in first.parameters())


def test_weights_of_a_file_are_those_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = torchvision.models.resnet18()
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    encoder = build_encoder("resnet18:mine.safetensors", size=32, home=tmp_path)
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(encoder(images), build_encoder("resnet18", size=32, seed=5)(images))
    assert encoder.about == "resnet18 with the weights in mine.safetensors"
    with pytest.raises(ValueError, match=r"other\.safetensors' does not exist"):
        build_encoder("resnet18:other.safetensors", home=tmp_path)


def test_a_kept_model_gives_its_bottleneck_of_the_middle(
    build: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = build(translator="pointwise")
    about = {"domain": "a/rgb", "size": 20, "crop": 14, "method": "source"}
    card = describe_classifier(model, **about, configuration={}, scores={})
    save_classifier(model, tmp_path / "kept.safetensors", card)
    encoder = build_encoder("kept.safetensors", size=64, home=tmp_path)
    assert (encoder.width, encoder.size, encoder.crop) == (8, 20, 14)
    assert encoder.short == "kept"
    assert encoder.about == "kept model of source, for a/rgb"
    # One channel goes through its translator, which is not plain repetition.
    for channels in (1, 3):
        images = torch.rand(2, channels, 20, 20)
        expected = model.features(images[..., 3:17, 3:17]).detach()
        torch.testing.assert_close(encoder(images), expected)


def test_an_encoder_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"card 'missing\.json' is missing"):
        build_encoder("missing.safetensors", home=tmp_path)
    with pytest.raises(UnknownEncoder, match="resnet81"):
        build_encoder("resnet81")
    with pytest.raises(ValueError, match="no ImageNet weights for 'resnet_small'"):
        build_encoder("resnet_small:imagenet")


@pytest.mark.parametrize(
    ("text", "short"),
    [("resnet_small", "resnet small"), ("resnet18:imagenet", "resnet18:imagenet")],
)
def test_names_for_legends(text: str, short: str) -> None:
    encoder = build_encoder(text.split(":")[0], size=16)
    encoder.name = text
    assert encoder.short == short
    assert str(encoder).endswith(f"{encoder.width} numbers; sees 16 x 16 pixels")
