"""Tensors of several processes put together, with gradient."""

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        each = [torch.empty_like(x) for _ in range(group.size())]
        distributed.all_gather(each, x, group=group)
        return torch.stack(each)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Gloo cannot scatter a sum; what is gathered is small.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=ctx.group)
        return total[ctx.group.rank()], None


def gathered(x: Tensor, group: Any) -> Tensor:
    """x of every process of `group`, in their order.

    Args:
        x: of the same shape [...] in all of them.
        group: a process group of torch.

    Returns:
        [W, ...], the same in all processes. What flows back to x is the sum of what flows back to
        it in all of them.
    """
    every: Tensor = _Gather.apply(x.contiguous(), group)
    return every
