"""Looking at a network without changing it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, and afterwards the mode that each module was in.

    Uncompiled: what is scored answers as the model does that is kept.
    """
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), uncompiled(network):
            yield
    finally:
        for module, training in before:
            module.training = training


def uncompiled(network: nn.Module) -> AbstractContextManager[object]:
    """Within it, a network runs as if no part of it was compiled.

    For hooks: a compiled network runs those that it had when it was compiled, and no others.
    """
    # Nearly always none is compiled, and torch's compiler takes seconds to import.
    if any(module._compiled_call_impl is not None for module in network.modules()):
        eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return eager
    return nullcontext()
