"""Normalisation layers of an exported program, made anew from its calls."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import fx, nn

_aten = torch.ops.aten
_BATCH_NORMS: Final = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_WEIGHTS: Final[dict[Any, int]] = {
    _aten.batch_norm.default: 1,
    _aten.layer_norm.default: 2,
    _aten.group_norm.default: 2,
}
"""The calls, and which of their arguments is the weight."""


def with_normalisation_layers(program: fx.GraphModule) -> list[str]:
    """Put layers of torch.nn in the place of normalisation calls, with the same weights.

    An exported call has the mode of its export for ever: in eval mode, its statistics cannot move.

    Returns:
        Their names in the order of the graph. A call without weights of its own stays a call.
    """
    names: list[str] = []
    for node in list(program.graph.nodes):
        place = _WEIGHTS.get(node.target)
        weight = node.args[place] if place is not None and len(node.args) > place else None
        name = str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) else ""
        if not name:
            continue
        if name not in names:
            layer, kept = _layer(node), program.get_submodule(name).state_dict()
            if layer is None or kept.keys() - layer.state_dict().keys():
                continue
            layer.load_state_dict(kept, strict=False)
            program.set_submodule(name, layer)
            names.append(name)
        with program.graph.inserting_before(node):
            node.replace_all_uses_with(program.graph.call_module(name, (node.args[0],)))
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.recompile()
    return names


def _layer(node: fx.Node) -> nn.Module | None:
    """A layer that does what a call does, its weights still to be loaded."""
    args: list[Any] = list(node.args)
    values = [arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in args]
    if node.target == _aten.batch_norm.default:
        if values[3] is None:  # it keeps no running statistics
            return None
        made = _BATCH_NORMS[values[0].ndim]
        return made(len(values[3]), momentum=values[6], eps=values[7])
    if node.target == _aten.layer_norm.default:
        bias = len(values) > 3 and values[3] is not None
        return nn.LayerNorm(values[1], eps=_eps(values), bias=bias)
    return nn.GroupNorm(values[1], len(values[2]), eps=_eps(values))


def _eps(values: list[Any]) -> float:
    return float(values[4]) if len(values) > 4 else 1e-5
