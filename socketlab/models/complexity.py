"""What a network costs: its parameters, and the multiply-adds of one input."""

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from socketlab.models.modes import evaluating


@dataclass(frozen=True)
class Complexity:
    """Parameters, trained or not, and multiply-adds of one input."""

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        """E.g. "9,763 parameters, 1.2 million multiply-adds"."""
        return f"{self.parameters:,} parameters, {_in_words(self.multiply_adds)} multiply-adds"


def complexity(module: nn.Module, shape: tuple[int, ...]) -> Complexity:
    """Count the parameters of a network and its multiply-adds for one input.

    Matrix products, convolutions and attention are counted, as torch's FlopCounterMode does (two
    of its operations are one multiply-add). Normalisation, activations, biases, pooling and
    interpolation are not, so that a colour map costs 0. The network is in eval mode meanwhile,
    runs once without gradients, and keeps its state.

    Args:
        module: takes one tensor [1, *shape], given where its own tensors are and in their type.
        shape: of one input without the batch, e.g. [C, H, W].

    Source: torch.utils.flop_counter.

    >>> print(complexity(nn.Linear(100, 10), (100,)))
    1,010 parameters, 1,000 multiply-adds
    """
    own = chain(module.parameters(), module.buffers())
    like = next((tensor for tensor in own if tensor.is_floating_point()), torch.empty(0))
    with evaluating(module), FlopCounterMode(display=False) as counter:
        module(like.new_zeros(1, *shape))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Complexity(parameters, counter.get_total_flops() // 2)


def _in_words(count: int) -> str:
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,}"
