"""Programs as encoders: TorchScript and torch.export files, their last linear layer taken off.

Loading a program means running somebody's operations: load only files of people you trust.
"""

from __future__ import annotations

import copy
import os
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from socketlab.models.own_model_spec import OwnModelError, file_digest
from socketlab.models.own_program_layers import with_normalisation_layers

_aten = torch.ops.aten
_LINEAR: Final = "Linear"
_PICKLED: Final = ("custom_obj", "opaque_obj")


class Program(nn.Module, ABC):
    """A program as it is: images [B, 3, H, W], normalised, to its outputs.

    Attributes:
        file, sha256: where it came from, and what was in there.
        feature_info: its layers that are worth looking at, as timm's networks list theirs.
    """

    def __init__(self, program: nn.Module, file: Path, sha256: str) -> None:
        super().__init__()
        self.program = program
        self.file, self.sha256 = file, sha256
        self.feature_info: list[dict[str, str]] = []

    def forward(self, images: Tensor) -> Any:
        """What the program gives."""
        # It was recorded with images in torch's usual order, and may rely on it.
        return self.program(images.contiguous())

    @abstractmethod
    def linear_layers(self) -> list[str]:
        """The names of its linear layers, in their order."""

    @abstractmethod
    def cut(self, layer: str) -> tuple[Tensor, Tensor | None]:
        """Let the program give what `layer` was given; weight [K, d] and bias [K] it had."""

    def hold(self) -> None:
        """Hold what is no weight of the network, so that no training moves it."""


class ScriptProgram(Program):
    """TorchScript, whose graph cannot be cut: its last layer becomes the identity, and is held.

    It stays in eval mode for ever. Its layers are closed: nobody can see what a normalisation
    layer is given, hold its statistics or estimate them anew, so they stay the source's.
    """

    _layer = ""

    def __init__(self, program: nn.Module, file: Path, sha256: str) -> None:
        super().__init__(program, file, sha256)
        # No hook can be set on a program: what looks at layers looks here.
        self.features = nn.Identity()
        self.feature_info = [{"module": "features"}]

    def forward(self, images: Tensor) -> Any:
        """What the program gives."""
        return self.features(super().forward(images))

    def linear_layers(self) -> list[str]:
        """As above."""
        return [
            name
            for name, module in self.program.named_modules()
            if getattr(module, "original_name", "") == _LINEAR and hasattr(module, "weight")
        ]

    def cut(self, layer: str) -> tuple[Tensor, Tensor | None]:
        """As above; what follows the layer still follows."""
        module: Any = self._modules_by_name()[layer]
        weight, bias = module.weight.detach().clone(), getattr(module, "bias", None)
        width = weight.shape[1]
        module.weight = nn.Parameter(torch.eye(width), requires_grad=False)
        if bias is not None:
            bias = bias.detach().clone()
            module.bias = nn.Parameter(torch.zeros(width), requires_grad=False)
        self._layer = layer
        return weight, bias

    def hold(self) -> None:
        """As above."""
        for parameter in self._modules_by_name()[self._layer].parameters():
            parameter.requires_grad_(False)

    def _modules_by_name(self) -> dict[str, nn.Module]:
        return dict(self.program.named_modules())

    def train(self, mode: bool = True) -> ScriptProgram:
        """It stays in eval mode."""
        return super().train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptProgram:
        """Torch's own copy of a program has parameters that cannot be trained."""
        with torch.no_grad():
            program = copy.deepcopy(self.program)
        for new, old in zip(program.parameters(), self.program.parameters(), strict=True):
            new.requires_grad_(old.requires_grad)
        copied = ScriptProgram(program, self.file, self.sha256)
        copied._layer = self._layer
        copied.train(self.training)
        memo[id(self)] = copied
        return copied


class GraphProgram(Program):
    """torch.export: a graph that can be cut, and whose normalisation layers are made anew.

    In place of a call that has the mode of its export for ever stands a layer of torch.nn with the
    same weights, so that all methods find it.
    """

    program: fx.GraphModule

    def __init__(self, program: fx.GraphModule, file: Path, sha256: str) -> None:
        super().__init__(program, file, sha256)
        names = with_normalisation_layers(program)
        self.feature_info = [{"module": f"program.{name}"} for name in names]

    def linear_layers(self) -> list[str]:
        """As above."""
        return list(self._linear_nodes())

    def cut(self, layer: str) -> tuple[Tensor, Tensor | None]:
        """As above."""
        node, graph = self._linear_nodes()[layer], self.program.graph
        kept: Any = self.program.get_submodule(layer)
        weight = kept.weight.detach().clone()
        bias = kept.bias.detach().clone() if len(node.args) > 2 and node.args[2] else None
        node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
        graph.erase_node(node)
        graph.eliminate_dead_code()
        self.program.delete_submodule(layer)
        self.program.recompile()
        return weight, bias

    def _linear_nodes(self) -> dict[str, fx.Node]:
        found = {}
        for node in self.program.graph.nodes:
            if node.target == _aten.linear.default:
                name = str(node.args[1].target)
                if name.endswith(".weight"):
                    found[name.removesuffix(".weight")] = node
        return found


def open_program(file: Path) -> Program:
    """The program in a file, on the CPU, in eval mode.

    Raises:
        OwnModelError: for a file that is no program, that would have to be unpickled, or that was
            exported in train mode.
    """
    sha256, scripted = file_digest(file), file.suffix == ".pt"
    try:
        opened: Any = _script(file) if scripted else _graph(file)
    except OwnModelError:
        raise
    except Exception as error:  # whatever a damaged archive makes torch raise
        form = "TorchScript" if scripted else "torch.export"
        raise OwnModelError(
            f"{str(file)!r} is no {form} program that this torch can load ({_first_line(error)}). "
            "Weights alone go into `weights`, with the network's name as `network`; else export "
            "the network again."
        ) from error
    program = (ScriptProgram if scripted else GraphProgram)(opened, file, sha256)
    return program.eval()


def _script(file: Path) -> nn.Module:
    with warnings.catch_warnings():
        # Torch advises those who write programs; whoever was handed one has no choice.
        warnings.filterwarnings("ignore", ".*torch.jit.*deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.*deprecated", DeprecationWarning)
        loaded: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
            str(file), map_location="cpu"
        )
    return loaded


def _graph(file: Path) -> fx.GraphModule:
    with zipfile.ZipFile(file) as archive:
        pickled = [n for n in archive.namelist() if Path(n).name.startswith(_PICKLED)]
    if pickled:
        raise OwnModelError(
            f"{str(file)!r} holds Python objects ({pickled[0]}), which would run code when "
            "they are read. Export a network of tensors only."
        )
    with _weights_only():
        module: Any = torch.export.load(file).module()
    for node in module.graph.nodes:
        if _training_argument(node):
            raise OwnModelError(
                f"{str(file)!r} was exported in train mode. Call model.eval() before "
                "torch.export.export."
            )
    # A plain one can be set to train mode; the one that torch gives refuses.
    return fx.GraphModule(module, module.graph)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Within it, torch reads tensors and nothing else, also where it would fall back on pickle."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _training_argument(node: fx.Node) -> bool:
    place = {_aten.batch_norm.default: 5, _aten.dropout.default: 2, _aten.dropout_.default: 2}
    at = place.get(node.target)  # type: ignore[call-overload]
    return at is not None and bool(node.args[at])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
