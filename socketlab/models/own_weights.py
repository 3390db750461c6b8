"""Weights that somebody has trained, for a network of torchvision or timm."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from socketlab.models.backbones import SizedNetwork, timm_network
from socketlab.models.names import TORCHVISION, UnknownBackbone, check_backbone
from socketlab.models.own_model_spec import OwnModelError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Names under which training programs keep the state dict in their checkpoint."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What DataParallel, torch.compile and training programs put before the names of the weights."""
MOST_NAMED = 4


def library_network(name: str, outputs: int) -> nn.Module:
    """A network by name with so many outputs, from random weights, in eval mode.

    A name that both libraries have is torchvision's where `models.names` lists it, else timm's;
    `torchvision/NAME` and `timm/NAME` say whose.

    Raises:
        OwnModelError: for a name that neither has.
    """
    import timm  # here and not above: it brings all its networks

    library, _, short = name.rpartition("/")
    ours = library == "torchvision" or (not library and short in TORCHVISION)
    of_torchvision = short in torchvision.models.list_models(module=torchvision.models)
    if library in ("", "torchvision") and of_torchvision:
        if ours or not timm.is_model(short):
            about = {"init_weights": True} if short in ("googlenet", "inception_v3") else {}
            network: nn.Module = torchvision.models.get_model(short, num_classes=outputs, **about)
            return network.eval()
    elif library == "torchvision":
        raise OwnModelError(f"torchvision has no network for images called {short!r}.")
    try:
        check_backbone(short if library == "timm" else name)
        return timm_network(short, num_classes=outputs).eval()
    except (UnknownBackbone, RuntimeError) as error:
        raise OwnModelError(f"Network {name!r} of the own source model: {error}") from error


def sized(name: str, network: nn.Module) -> nn.Module:
    """`network`, which says so itself where timm knows that it takes images of one size only."""
    about = getattr(network, "pretrained_cfg", None)
    return SizedNetwork(name, network) if about and about.get("fixed_input_size") else network


def load_weights(network: nn.Module, name: str, file: Path) -> None:
    """Load the weights of a file into `network`, all of them.

    Raises:
        OwnModelError: naming what is missing, unknown, or of another shape.
    """
    expected = network.state_dict()
    found = unwrapped(read_weights(file), expected)
    # Exports leave out the counters of BatchNorm, which nothing here reads.
    for key in expected.keys() - found.keys():
        if key.endswith("num_batches_tracked"):
            found[key] = expected[key]
    missing, unknown = (sorted(a - b) for a, b in _both_ways(expected.keys(), found.keys()))
    misfit = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if expected[key].shape != found[key].shape
    ]
    parts = {"missing": missing, "unknown": unknown, "of another shape": misfit}
    wrong = [f"{what} {_few(names)}" for what, names in parts.items() if names]
    if wrong:
        raise OwnModelError(
            f"{str(file)!r} does not hold the weights of {name!r}: {'; '.join(wrong)}. Name the "
            "network that it is for, and list in `classes` every output of it."
        )
    network.load_state_dict(found)


def read_weights(file: Path) -> Mapping[str, Any]:
    """What a file of weights holds; nothing in it can run code.

    Raises:
        OwnModelError: for a file that is missing, damaged, or holds more than tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            # a TorchScript program, which is refused right after this warning
            warnings.filterwarnings("ignore", "'torch.load' received a zip file", UserWarning)
            held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        hint = (
            "If it is a whole model, save its weights alone: torch.save(model.state_dict(), FILE). "
            "A TorchScript program is given as `network`."
        )
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else "it is empty"
        raise OwnModelError(
            f"Weights {str(file)!r} cannot be read as tensors ({reason}). {hint}"
        ) from error
    if not isinstance(held, Mapping):
        raise OwnModelError(f"Weights {str(file)!r} hold no state dict, but {type(held).__name__}.")
    return held


def unwrapped(held: Mapping[str, Any], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in what a training program has kept, its names as the network has them."""
    for name in WRAPPERS:
        inner = held.get(name)
        if isinstance(inner, Mapping):
            return unwrapped(inner, expected)
    tensors = {str(key): value for key, value in held.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        stripped = tensors and all(key.startswith(prefix) for key in tensors)
        if stripped and not expected.keys() & tensors.keys():
            return unwrapped({k.removeprefix(prefix): v for k, v in tensors.items()}, expected)
    return tensors


def _both_ways(first: Any, second: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (first, second), (second, first)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
