"""An exported model at work, whatever its format: images in, logits out."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from socketlab.models.checkpoint import load_classifier
from socketlab.models.deployment import (
    INPUT_NAME,
    Deployment,
    DeploymentError,
    ModelFormat,
    read_deployment,
)
from socketlab.models.modes import evaluating

Network = Callable[[Tensor], Tensor]
CUDA_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Deployed:
    """A loaded model: what it says of itself, the device that its input is made on, the network."""

    about: Deployment
    device: torch.device
    network: Network

    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, K] on the CPU of images [B, C, crop, crop] in [0, 1].

        Raises:
            ValueError: for images of another shape.
        """
        expected = (self.about.channels, self.about.crop, self.about.crop)
        if images.shape[1:] != expected or images.ndim != 4:
            raise ValueError(
                f"The model takes {self.about.input_shape}, found {list(images.shape)}. Decode "
                f"and crop as its deploy.json says (encoding {self.about.encoding!r})."
            )
        return self.network(images.to(self.device, torch.float32)).float().cpu()


def load_deployed(folder: Path, device: torch.device | str = "cpu") -> Deployed:
    """Load the model that `socketlab export` has written into `folder`.

    Args:
        folder: with deploy.json and the model's file.
        device: where it runs; an ONNX model runs on the CPU unless onnxruntime has CUDA.

    Raises:
        DeploymentError: for a folder without a model, a file that is not the one that was
            written, or a format that cannot run here.
    """
    about, device = read_deployment(folder), torch.device(device)
    file = folder / about.file
    check_file(file, about.sha256)
    return Deployed(about, *load_network(file, about.format, device))


def check_file(file: Path, sha256: str) -> None:
    """Raise `DeploymentError` unless `file` is there with that content."""
    if not file.is_file():
        raise DeploymentError(f"{file} is missing. Export the model again.")
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise DeploymentError(
            f"{file} has sha256 {found[:12]}, expected {sha256[:12]}: the file is damaged or was "
            "changed. Export the model again."
        )


def load_network(
    file: Path, form: ModelFormat, device: torch.device
) -> tuple[torch.device, Network]:
    """A model's file as a function of images on the device that is given with it.

    Raises:
        DeploymentError: for a file that cannot be read, or a device that it cannot run on.
    """
    loaders = {"safetensors": _safetensors, "pt2": _pt2, "onnx": _onnx}
    return loaders[form](file, device)


def _safetensors(file: Path, device: torch.device) -> tuple[torch.device, Network]:
    model = load_classifier(file)[0].to(device)

    def run(images: Tensor) -> Tensor:
        with evaluating(model):
            logits: Tensor = model(images)
        return logits

    return device, run


def _pt2(file: Path, device: torch.device) -> tuple[torch.device, Network]:
    from torch.export.passes import move_to_device_pass

    try:
        program = torch.export.load(file)
    except Exception as error:  # torch raises many kinds here
        raise DeploymentError(
            f"{file} cannot be read by torch {torch.__version__} ({error}). Export the model with "
            "this version."
        ) from error
    network = move_to_device_pass(program, device).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images)
        return logits

    return device, run


def _onnx(file: Path, device: torch.device) -> tuple[torch.device, Network]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise DeploymentError(
            "An ONNX model needs onnxruntime. Install: pip install 'socketlab[onnx]'."
        )
    onnxruntime = importlib.import_module("onnxruntime")  # of the extra `onnx`
    providers = ["CPUExecutionProvider"]
    if device.type != "cpu":
        if device.type != "cuda" or CUDA_PROVIDER not in onnxruntime.get_available_providers():
            raise DeploymentError(
                f"This onnxruntime does not run on {device.type}. Give --device cpu, or install "
                "onnxruntime-gpu in its place."
            )
        providers.insert(0, CUDA_PROVIDER)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=providers)
    except Exception as error:  # it raises kinds of its own
        raise DeploymentError(f"{file} cannot be read by onnxruntime: {error}") from error

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT_NAME: images.cpu().numpy()})[0])

    return torch.device("cpu"), run
