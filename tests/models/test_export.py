from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.models import export
from socketlab.models.checkpoint import Card, describe_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.deployed import load_network
from socketlab.models.deployment import ModelFormat
from socketlab.models.export import (
    OPSET,
    TOLERANCE,
    Agreement,
    ExportError,
    check_agreement,
    compare,
    write_model,
)
from socketlab.models.mixture import AnyClassifier, Mixture
from socketlab.models.translator import build_translator

Build = Callable[..., Classifier]
CROP = 14


def card_of(model: AnyClassifier) -> Card:
    about: dict[str, Any] = {"domain": "cam/depth", "crop": CROP, "size": 16, "method": "socket"}
    return describe_classifier(model, configuration={}, scores={}, **about)


def mixed(build: Build) -> Mixture:
    """Two members with translators of their own, and weights that are not alike."""
    model = Mixture([build(translator="residual"), build(translator="pointwise")])
    with torch.no_grad():
        model.mixing_logits.copy_(torch.tensor([1.0, -0.5]))
    return model.eval()


@pytest.mark.parametrize(
    ("form", "channels", "about"),
    [
        ("safetensors", 1, {"translator": "residual"}),
        ("pt2", 1, {}),
        ("pt2", 3, {}),
        ("pt2", 1, {"translator": "unet"}),
        ("pt2", 1, {"translator": "colormap"}),
        ("onnx", 1, {"translator": "colormap"}),
        ("onnx", 3, {}),
    ],
)
def test_the_exported_network_gives_the_originals_logits_for_any_number_of_images(
    build: Build, tmp_path: Path, form: ModelFormat, channels: int, about: dict[str, Any]
) -> None:
    model = build(**about)
    file = write_model(model, tmp_path, form, channels, card_of(model))
    assert file == tmp_path / f"model.{form}"
    check_all_sizes(model, file, form, channels)


@pytest.mark.parametrize("form", ["safetensors", "pt2", "onnx"])
def test_a_mixture_too(build: Build, tmp_path: Path, form: ModelFormat) -> None:
    model = mixed(build)
    check_all_sizes(model, write_model(model, tmp_path, form, 1, card_of(model)), form, 1)


def check_all_sizes(model: AnyClassifier, file: Path, form: ModelFormat, channels: int) -> None:
    device, network = load_network(file, form, torch.device("cpu"))
    assert device.type == "cpu"
    for count in (1, 2, 5):
        images = torch.rand(count, channels, CROP, CROP)
        with torch.no_grad():
            expected = model(images)
        assert expected.std() > 0.01
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=0)


def test_what_onnx_says_of_itself(build: Build, tmp_path: Path) -> None:
    import onnx

    model = build()
    program = onnx.load(write_model(model, tmp_path, "onnx", 1, card_of(model)))
    assert {opset.domain: opset.version for opset in program.opset_import}[""] == OPSET
    (given,), (found,) = program.graph.input, program.graph.output
    assert (given.name, found.name) == ("images", "logits")
    sizes = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert sizes == ["batch", 1, CROP, CROP]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("form", ["pt2", "safetensors"])
def test_the_original_stays_as_it_was(build: Build, tmp_path: Path, form: ModelFormat) -> None:
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_model(model, tmp_path, form, 1, card_of(model))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model(torch.rand(2, 1, CROP, CROP)).isfinite().all()  # its head has its weight still


class Torn(nn.Module):
    """What goes on depends on the numbers, so it has no graph."""

    def forward(self, images: Tensor) -> Tensor:
        pooled = images.mean(dim=(2, 3))
        return pooled.repeat(1, 86)[:, :256] * (2 if float(pooled.sum()) > 0 else 1)


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_a_network_without_a_graph_is_refused_in_a_sentence(
    build: Build, tmp_path: Path, form: ModelFormat
) -> None:
    model = build()
    model.encoder = Torn()
    with pytest.raises(ExportError, match=rf"cannot write this network as {form} \(.+safetensors"):
        write_model(model, tmp_path, form, 1, card_of(model))


def test_torchscript_has_no_graph_either(build: Build, tmp_path: Path) -> None:
    model = build()
    model.encoder.scripted = torch.jit.ScriptModule()  # type: ignore[no-untyped-call]
    with pytest.raises(ExportError, match="TorchScript program, which format pt2 cannot be made"):
        write_model(model, tmp_path, "pt2", 1, card_of(model))


def test_onnx_without_its_packages_says_what_to_install(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    monkeypatch.setattr(export, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ExportError, match=r"needs no_such_package.*'socketlab\[onnx\]'"):
        write_model(model, tmp_path, "onnx", 1, card_of(model))
    write_model(model, tmp_path, "pt2", 1, card_of(model))


def test_agreement_counts_images_answers_and_the_largest_difference(build: Build) -> None:
    model = build().train()
    batches = [torch.rand(1, 1, CROP, CROP), torch.rand(3, 1, CROP, CROP)]
    twin = model.frozen()
    assert compare(model, twin, batches) == Agreement(4, 0.0, 0)
    assert model.training  # and its statistics have not moved:
    assert compare(model, twin, batches).largest_difference == 0.0

    def shifted(images: Tensor) -> Tensor:
        return twin(images) + 0.25

    found = compare(model, shifted, batches)
    assert found.largest_difference == pytest.approx(0.25, abs=1e-5)
    assert found.other_answers == 0

    def turned(images: Tensor) -> Tensor:
        return -twin(images)

    assert compare(model, turned, batches).other_answers == 4

    def broken(images: Tensor) -> Tensor:
        return twin(images) * float("nan")

    assert compare(model, broken, batches).largest_difference > 1e30


def test_another_answer_or_a_difference_over_the_tolerance_is_an_error() -> None:
    check_agreement(Agreement(100, TOLERANCE, 0))
    with pytest.raises(ExportError, match=r"differs by 0\.002 \(tolerance 0\.001\), and 0 of 100"):
        check_agreement(Agreement(100, 0.002, 0))
    with pytest.raises(ExportError, match="1 of 100 images get another answer"):
        check_agreement(Agreement(100, 0.0, 1))
    with pytest.raises(ExportError):
        check_agreement(Agreement(100, float("inf"), 0))


def test_translators_are_inside(build: Build, tmp_path: Path) -> None:
    model = build()
    plain = model(torch.full((1, 1, CROP, CROP), 0.2))
    model.translate_with(build_translator("colormap").eval())
    file = write_model(model, tmp_path, "pt2", 1, card_of(model))
    _, network = load_network(file, "pt2", torch.device("cpu"))
    assert not torch.allclose(network(torch.full((1, 1, CROP, CROP), 0.2)), plain, atol=1e-3)
