from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.models import deployed
from socketlab.models.checkpoint import describe_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.deployed import load_deployed
from socketlab.models.deployment import Deployment, DeploymentError, read_deployment
from socketlab.models.export import write_model

Build = Callable[..., Classifier]
DEPTH = {"modality": "depth", "unit": "metre", "bits": 16, "scale": 0.001, "invalid": 0}


def raw_deployment(**changes: Any) -> dict[str, Any]:
    return {
        "format": "pt2",
        "file": "model.pt2",
        "sha256": "0",
        "classes": ["bed", "desk", "sofa"],
        "data_set": "small",
        "domain_name": "cam/depth",
        "domain": {**DEPTH, "range": [0.5, 8.0]},
        "size": 16,
        "crop": 14,
        "encoding": "replicate",
        "channels": 1,
        "check": {"images": 1, "of": "x", "largest_difference": 0.0, "tolerance": 1e-3},
        "run": "tiny",
        "stage": "socket",
        "chosen_by": "last",
        "versions": {},
    } | changes


def put(folder: Path, **changes: Any) -> Path:
    """deploy.json with these changes, and the sha256 of the model's file where there is one."""
    raw = raw_deployment(**changes)
    file = folder / str(raw["file"])
    if file.is_file() and "sha256" not in changes:
        raw["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "deploy.json").write_text(json.dumps(raw))
    return folder


@pytest.fixture
def model(build: Build) -> Classifier:
    return build()


@pytest.fixture
def folder(model: Classifier, tmp_path: Path) -> Path:
    """The model as pt2."""
    about: dict[str, Any] = {"domain": "cam/depth", "crop": 14, "size": 16, "method": "socket"}
    card = describe_classifier(model, configuration={}, scores={}, **about)
    write_model(model, tmp_path, "pt2", 1, card)
    return put(tmp_path)


def test_a_loaded_model_gives_logits_and_says_what_it_is(model: Classifier, folder: Path) -> None:
    found = load_deployed(folder)
    assert found.about.classes == ("bed", "desk", "sofa")
    assert found.about.domain.range == (0.5, 8.0)
    assert found.about.input_shape == "float32 [batch, 1, 14, 14] in [0, 1]"
    images = torch.rand(3, 1, 14, 14)
    torch.testing.assert_close(found.logits(images), model(images), atol=1e-5, rtol=0)
    assert not found.logits(images).requires_grad


@pytest.mark.parametrize("shape", [(2, 3, 14, 14), (2, 1, 16, 16), (1, 14, 14)])
def test_images_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes float32 \[batch, 1, 14, 14\].*deploy\.json"):
        load_deployed(folder).logits(torch.rand(shape))


def test_a_file_that_was_changed_is_refused(folder: Path) -> None:
    file = folder / "model.pt2"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DeploymentError, match=r"model\.pt2 has sha256 .* expected"):
        load_deployed(folder)
    file.unlink()
    with pytest.raises(DeploymentError, match=r"model\.pt2 is missing"):
        load_deployed(folder)


@pytest.mark.parametrize(("form", "reader"), [("pt2", "torch"), ("onnx", "onnxruntime")])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, form: str, reader: str) -> None:
    (tmp_path / f"model.{form}").write_bytes(b"no model")
    put(tmp_path, format=form, file=f"model.{form}")
    with pytest.raises(DeploymentError, match=f"cannot be read by {reader}"):
        load_deployed(tmp_path)


def test_onnx_without_its_runtime_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    put(tmp_path, format="onnx", file="model.onnx")
    monkeypatch.setattr(deployed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeploymentError, match=r"pip install 'socketlab\[onnx\]'"):
        load_deployed(tmp_path)


def test_onnx_runs_where_its_runtime_does(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    put(tmp_path, format="onnx", file="model.onnx")
    with pytest.raises(DeploymentError, match=r"does not run on mps\. Give --device cpu"):
        load_deployed(tmp_path, "mps")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"crop": 17}, "crop 17 is larger than size 16"),
        ({"file": "../model.pt2"}, "must lie beside"),
        ({"encoding": "rainbow"}, "encoding: Input should be 'replicate'"),
        ({"classes": ["one"]}, "classes"),
        ({"domain": {**DEPTH, "range": [8.0, 0.5]}}, "domain: Value error, range"),
    ],
)
def test_what_deploy_json_must_not_say(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentError, match=r"deploy\.json cannot be used .*Export") as caught:
        read_deployment(put(tmp_path, **changes))
    assert said in str(caught.value)


def test_a_folder_without_a_model_says_which_folder_is_meant(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"has no deploy\.json\. Give the folder that"):
        read_deployment(tmp_path)
    (tmp_path / "deploy.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DeploymentError, match="cannot be used"):
        read_deployment(tmp_path)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    about = read_deployment(put(tmp_path, opset=18, usual={"mean": [0.1, 0.5], "empty": 0.2}))
    assert Deployment.model_validate_json(about.model_dump_json()) == about
    assert about.usual is not None
    assert about.usual.empty == 0.2
