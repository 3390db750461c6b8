import copy
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from socketlab.models import backbones
from socketlab.models.backbones import batch_norms, build_backbone
from socketlab.models.names import UnknownBackbone

WIDTHS = {
    "resnet_small": 256,
    "resnet18": 512,
    "mobilenet_v2": 1280,
    "test_resnet": 96,
    # A layer between pooling and classifier: 288 channels come out of the last block, 1024 of it.
    "mobilenetv3_small_050": 1024,
    "vit_tiny_patch16_224": 192,
    "convnext_atto": 320,
}


@pytest.mark.parametrize("name", WIDTHS)
def test_features_have_the_width_that_is_said(name: str) -> None:
    encoder, width = build_backbone(name)
    with torch.no_grad():
        features = encoder.eval()(torch.rand(2, 3, 32, 32))
    assert width == WIDTHS[name]
    assert features.shape == (2, width)
    assert features.dtype == torch.float32
    assert not torch.equal(features[0], features[1])


def test_the_encoder_is_the_library_s_network_without_its_classifier() -> None:
    torch.manual_seed(3)
    encoder, _ = build_backbone("resnet18")
    torch.manual_seed(3)
    whole = torchvision.models.resnet18()
    pooled = nn.Sequential(*list(whole.children())[:-1], nn.Flatten()).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(images), pooled(images), rtol=0, atol=0)


def test_resnet_small_is_small_and_sees_every_size() -> None:
    encoder, _ = build_backbone("resnet_small")
    assert 1.15e6 < sum(p.numel() for p in encoder.parameters()) < 1.25e6
    with torch.no_grad():
        for size in (14, 33, 64):
            assert encoder.eval()(torch.rand(1, 3, size, size)).shape == (1, 256)


def test_a_vit_takes_crops_and_is_the_library_s_network_at_its_own_size() -> None:
    torch.manual_seed(3)
    encoder, _ = build_backbone("vit_tiny_patch16_224")
    torch.manual_seed(3)
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=1000)
    whole.reset_classifier(0)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(images), whole.eval()(images))
        wide = encoder(images[..., :48, :32])
    assert wide.shape == (1, 192)
    assert not torch.equal(wide, encoder(images[..., :32, :48]))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [("vit_tiny_patch16_224", 24, "divisible by patch size"), ("mixer_s32_224", 64, "match model")],
)
def test_a_size_that_a_network_cannot_take(name: str, size: int, reason: str) -> None:
    encoder, _ = build_backbone(name)
    copied = copy.deepcopy(encoder)
    pattern = rf"{name}' cannot take images of {size} x {size} .*{reason}.*crop: 224.*convnext"
    with pytest.raises(ValueError, match=pattern):
        copied(torch.rand(2, 3, size, size))


def test_other_errors_of_a_network_stay_as_they_are() -> None:
    encoder, _ = build_backbone("mixer_s32_224")
    with pytest.raises(RuntimeError, match="channels"):
        encoder(torch.rand(1, 2, 224, 224))


def test_batch_norms_of_resnet50_are_53_in_the_order_of_the_modules() -> None:
    with torch.device("meta"):
        encoder, _ = build_backbone("resnet50")
    layers = batch_norms(encoder)
    assert len(layers) == 53
    assert layers[0] is encoder.bn1
    assert layers[0].num_features == 64
    assert layers[-1].num_features == 2048


def test_unknown_name() -> None:
    with pytest.raises(UnknownBackbone, match=r"'resnet_tiny'.*resnet_small"):
        build_backbone("resnet_tiny")


@pytest.mark.parametrize("name", ["resnet_small", "mobilenet_v2", "test_resnet"])
def test_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    """The file is the library's whole network, saved the way exports are."""
    torch.manual_seed(1)
    if name == "resnet_small":
        whole: nn.Module = backbones.ResNetSmall()
    elif name == "mobilenet_v2":
        whole = torchvision.models.mobilenet_v2()
    else:
        whole = timm.create_model(name)
    for layer in batch_norms(whole):
        assert layer.running_mean is not None
        layer.running_mean.normal_()
    tensors = {k: v.contiguous() for k, v in whole.state_dict().items()}
    if name == "mobilenet_v2":
        tensors = {k: v for k, v in tensors.items() if "num_batches_tracked" not in k}
    save_file(tensors, tmp_path / "weights.safetensors")
    torch.manual_seed(2)
    encoder, _ = build_backbone(name, str(tmp_path / "weights.safetensors"))
    loaded = encoder.state_dict()
    kept = [key for key in loaded if "num_batches_tracked" not in key]
    assert len(kept) >= len(tensors) - len(batch_norms(whole)) - 2  # all but the classifier
    for key in kept:
        assert torch.equal(loaded[key], tensors[key]), key


def saved(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> str:
    path = tmp_path / "misfit.safetensors"
    save_file(tensors, path)
    return str(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    fitting = {k: v.clone() for k, v in backbones.ResNetSmall().state_dict().items()}
    first = "stages.0.weight"
    without = {k: v for k, v in fitting.items() if k != first}
    with pytest.raises(ValueError, match=r"'resnet_small': missing \['stages.0.weight'\]"):
        build_backbone("resnet_small", saved(tmp_path, without))
    more = fitting | {"extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"unknown \['extra.weight'\]"):
        build_backbone("resnet_small", saved(tmp_path, more))
    other = fitting | {first: torch.zeros(32, 1, 3, 3)}
    with pytest.raises(ValueError, match=r"another shape \['stages.0.weight'\]"):
        build_backbone("resnet_small", saved(tmp_path, other))
    with pytest.raises(ValueError, match=r"misfit.safetensors.*'resnet18'"):
        build_backbone("resnet18", saved(tmp_path, fitting))


def test_weights_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.safetensors' does not exist.*imagenet"):
        build_backbone("resnet_small", str(tmp_path / "nowhere.safetensors"))
    pickled = tmp_path / "weights.pth"
    pickled.write_bytes(b"never opened")
    with pytest.raises(ValueError, match=r"weights.pth' is not a .safetensors"):
        build_backbone("resnet_small", str(pickled))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match=r"damaged.safetensors' is damaged"):
        build_backbone("resnet_small", str(damaged))


def test_imagenet_weights_that_there_are_none_of() -> None:
    with pytest.raises(ValueError, match=r"no ImageNet weights for 'resnet_small'.*none"):
        build_backbone("resnet_small", "imagenet")


def test_imagenet_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> nn.Module:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(ValueError, match=r"'resnet18' could not be fetched .*no route.*PATH"):
        build_backbone("resnet18", "imagenet")


def test_the_choice_of_imagenet_weights_reaches_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def get_model(name: str, weights: str | None) -> nn.Module:
        asked.append((name, weights))
        network: nn.Module = torchvision.models.resnet18()
        return network

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    build_backbone("resnet18", "imagenet")
    build_backbone("resnet18")
    assert asked == [("resnet18", "IMAGENET1K_V1"), ("resnet18", None)]
