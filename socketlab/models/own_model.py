"""An own source model as a `Classifier`: its last linear layer is the head, all before the encoder.

Whatever cannot be adapted is said here, before anything is trained.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier, GivenNetwork
from socketlab.models.own_model_checks import check_cut, check_scores, passed, scores_of
from socketlab.models.own_model_spec import OwnModel, OwnModelError, OwnNetwork
from socketlab.models.own_program import Program, open_program
from socketlab.models.own_weights import library_network, load_weights, sized


def build_own_model(own: OwnModel, classes: Sequence[str], *, crop: int) -> Classifier:
    """The own model for the classes of a task, in eval mode, on the CPU.

    Its logits are the original's of those classes, in their order.

    Args:
        own: what its file says of it.
        classes: of the task; each must be an output.
        crop: pixels a side of the images that it will be shown.

    Raises:
        OwnModelError: for weights that do not fit, no feature layer, outputs that are no class
            scores, or a size or batch that it does not take; each with a way out.
    """
    rows = own.rows(classes)
    with torch.random.fork_rng(devices=[]):  # a network is first drawn, then filled
        torch.manual_seed(0)
        whole: nn.Module
        if own.is_program:
            whole = open_program(own.file)
        else:
            whole = library_network(own.network, len(own.classes))
            load_weights(whole, own.network, own.file)
        images = torch.randn(2, 3, crop, crop)
        other = torch.cat([images[:1], torch.randn(1, 3, crop, crop)])
    scores = scores_of(whole, images, own)
    check_scores(own, scores, scores_of(whole, other, own))
    layer = _feature_layer(own, whole, scores.shape[1])
    encoder, weight, bias = _cut(own.network, whole, layer)
    check_cut(own, layer, passed(encoder, images), weight, bias, scores)
    about = OwnNetwork(
        network=Path(own.network).suffix if own.is_program else own.network,
        sha256=encoder.sha256 if isinstance(encoder, Program) else "",
        outputs=len(own.classes),
        feature_layer=layer,
        bias=bias is not None,
    )
    head = _linear(weight[rows], None if bias is None else bias[rows])
    return Classifier(
        Path(own.network).name,
        classes,
        mean=own.mean,
        deviation=own.deviation,
        given=GivenNetwork(encoder, head, about),
    ).eval()


def rebuilt_network(about: OwnNetwork, classes: int, width: int, folder: Path) -> GivenNetwork:
    """A wrapped network of a card, its weights still to be loaded.

    Args:
        about: as the card has it.
        classes, width: rows and columns of its head.
        folder: where the file of a program lies.

    Raises:
        OwnModelError: if that file is missing or another one.
    """
    head = nn.Linear(width, classes, bias=about.bias)
    if not about.sha256:
        network = library_network(about.network, about.outputs)
        encoder, _, _ = _cut(about.network, network, about.feature_layer)
        return GivenNetwork(encoder, head, about)
    file = program_file(folder, about)
    if not file.is_file():
        raise OwnModelError(
            f"the program {file.name!r} is missing in {str(folder)!r}. It belongs beside the "
            "weights; copy it from where they were made"
        )
    program = open_program(file)
    if program.sha256 != about.sha256:
        raise OwnModelError(
            f"the program {str(file)!r} has sha256 {program.sha256[:12]} and not "
            f"{about.sha256[:12]}: it is damaged or was changed. Copy it from where it was made"
        )
    program.cut(about.feature_layer)
    return GivenNetwork(program, head, about)


def program_file(folder: Path, about: OwnNetwork) -> Path:
    """Where the program of a wrapped network is kept: named by its content."""
    return folder / f"{about.sha256[:16]}{about.network}"


def keep_program(model: Classifier, folder: Path) -> None:
    """Put the program of a wrapped network into a folder, unless it is there or there is none."""
    if model.own is None or not isinstance(model.encoder, Program):
        return
    kept = program_file(folder, model.own)
    if not kept.is_file():
        partial = kept.with_name(f"{kept.name}.partial")
        shutil.copyfile(model.encoder.file, partial)
        partial.replace(kept)


def _cut(name: str, whole: nn.Module, layer: str) -> tuple[nn.Module, Tensor, Tensor | None]:
    """The network up to its last linear layer, and that layer's weight [K, d] and bias [K]."""
    if isinstance(whole, Program):
        return (whole, *whole.cut(layer))
    last: Any = whole.get_submodule(layer)
    whole.set_submodule(layer, nn.Identity())
    weight, bias = last.weight.detach(), last.bias
    return sized(name, whole), weight, None if bias is None else bias.detach()


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _feature_layer(own: OwnModel, whole: nn.Module, outputs: int) -> str:
    if isinstance(whole, Program):
        known = whole.linear_layers()
    else:
        known = [n for n, module in whole.named_modules() if isinstance(module, nn.Linear)]
    listed = ", ".join(known[-8:]) + (f" (the last of {len(known)})" if len(known) > 8 else "")
    if not known:
        raise OwnModelError(
            f"{own.network!r} has no linear layer that can be found, so there are no features to "
            "adapt. A frozen or optimised program has lost them: save it without "
            "torch.jit.freeze, or give the network by name with its weights."
        )
    if own.feature_layer is not None:
        if own.feature_layer not in known:
            raise OwnModelError(
                f"feature_layer {own.feature_layer!r} is no linear layer of {own.network!r}. "
                f"Linear layers: {listed}."
            )
        return own.feature_layer
    if own.is_program:
        raise OwnModelError(
            f"{own.network!r} is a program, and which layer makes the class scores is not said. "
            f"Set feature_layer, usually the last one, of its linear layers: {listed}."
        )
    modules: dict[str, Any] = dict(whole.named_modules())
    fitting = [name for name in known if modules[name].out_features == outputs]
    if not fitting:
        raise OwnModelError(
            f"No linear layer of {own.network!r} has {outputs} outputs. Set feature_layer to the "
            f"one that makes the class scores; linear layers: {listed}."
        )
    return fitting[-1]
