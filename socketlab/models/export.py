"""A classifier as one file that others can run: safetensors with its card, ONNX, or torch.export.

The network takes [B, 1 or 3, crop, crop] in [0, 1] with any B and gives logits [B, K]; translator
and normalisation are inside.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from socketlab.models.checkpoint import Card, save_classifier
from socketlab.models.deployment import INPUT_NAME, OUTPUT_NAME, ModelFormat, model_name
from socketlab.models.mixture import AnyClassifier
from socketlab.models.modes import evaluating

OPSET: Final = 18
"""Of ONNX: what torch's exporter writes without converting, and onnxruntime reads since 1.14."""
TOLERANCE: Final = 1e-3
"""How far a logit may be from the original's."""
ONNX_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Tensor]


class ExportError(ValueError):
    """A model that cannot be exported, or whose export gives other answers; says why."""


@dataclass(frozen=True)
class Agreement:
    """How two networks agree on `images` images: largest difference of a logit, other answers."""

    images: int
    largest_difference: float
    other_answers: int


def check_format(model: AnyClassifier, form: ModelFormat) -> None:
    """Whether `model` can be exported like that here, before anything is written.

    Raises:
        ExportError: naming the missing packages, or the part that has no graph to export.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if form == "onnx" and missing:
        raise ExportError(
            f"Format onnx needs {', '.join(missing)}. Install: pip install 'socketlab[onnx]', or "
            "choose format pt2."
        )
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    if form != "safetensors" and scripted:
        raise ExportError(
            f"The model holds a TorchScript program, which format {form} cannot be made of. "
            "Export as safetensors, or start from a torch.export file or a network of timm."
        )


def write_model(
    model: AnyClassifier, folder: Path, form: ModelFormat, channels: int, card: Card
) -> Path:
    """Write `model` into `folder` and return its file; `safetensors` brings its card along.

    Args:
        model: in any mode, on any device; it stays as it is.
        folder: exists.
        channels: 1, or 3 for a network that is given three.
        card: of the model, with its `crop`.

    Raises:
        ExportError: as `check_format`, and where torch cannot make a graph of the network.
    """
    check_format(model, form)
    path = folder / model_name(form)
    if form == "safetensors":
        return save_classifier(model, path, card)
    network = model.frozen().cpu()
    # torch takes a size of 0 or 1 for a constant, so the example has two images
    example = (torch.rand(2, channels, card.crop, card.crop),)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    with _exporting(form):
        if form == "pt2":
            torch.export.save(torch.export.export(network, example, dynamic_shapes=dynamic), path)
        else:
            _write_onnx(network, example, dynamic, path)
    return path


def _write_onnx(
    network: nn.Module, example: tuple[Tensor, ...], dynamic: object, path: Path
) -> None:
    program = torch.onnx.export(
        network,
        example,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=dynamic,  # type: ignore[arg-type]
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    program.save(path)


@contextmanager
def _exporting(form: ModelFormat) -> Iterator[None]:
    """Whatever torch's exporter raises, as one sentence."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"Torch cannot write this network as {form} ({reason}). Export as safetensors."
        ) from error


def compare(original: AnyClassifier, exported: Run, batches: list[Tensor]) -> Agreement:
    """Give all batches [B, C, crop, crop] to both, and see how far their logits are apart.

    `original` is asked on the CPU in float32, and is left as it was found.
    """
    images, largest, other = 0, 0.0, 0
    with evaluating(original):
        for batch in batches:
            expected, found = original(batch), exported(batch)
            images += len(batch)
            # a NaN is no small difference
            difference = (expected - found).abs().nan_to_num(float("inf"))
            largest = max(largest, float(difference.max()))
            other += int((expected.argmax(1) != found.argmax(1)).sum())
    return Agreement(images, largest, other)


def check_agreement(agreement: Agreement, tolerance: float = TOLERANCE) -> None:
    """Raise `ExportError` for other answers, or a logit that is off by more than `tolerance`."""
    if agreement.largest_difference <= tolerance and not agreement.other_answers:
        return
    raise ExportError(
        f"The exported model is not the original: a logit differs by "
        f"{agreement.largest_difference:.2g} (tolerance {tolerance:g}), and "
        f"{agreement.other_answers} of {agreement.images} images get another answer. Nothing was "
        "kept; choose another format."
    )
