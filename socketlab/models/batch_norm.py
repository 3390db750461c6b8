"""BatchNorm that computes its statistics once and hands them to normalisation and loss alike.

A hook that computes mean and variance of a layer's input reads every activation again, and so does
its backward pass. The layer has just computed both; here they come out of it, with gradient.

Where processes each have a part of one batch, the same layers take the statistics of all of it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as distributed
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

Call = tuple[int, Tensor, Tensor]
"""Of one call of a layer: values per channel, their mean [C] and their biased variance [C]."""

_per_channel = torch.ops.aten.native_batch_norm
_backward = torch.ops.aten.native_batch_norm_backward


class _Normalise(torch.autograd.Function):
    """y = w (x - mu) / sqrt(var + eps) + b, mu, var: BatchNorm in train mode, all with gradient.

    With dy, dmu, dvar the gradients of the three, xhat = (x - mu) / sqrt(var + eps), n values per
    channel and a = w / sqrt(var + eps):

    dx = a dy + (2 dvar / n - a mean(dy xhat) / sqrt(var + eps)) (x - mu) + dmu / n - a mean(dy)

    of which all but the first is a line in x for each channel: one pass, as BatchNorm's own.

    With a group of W processes that hold as many values each, mu and var are those of all values,
    sums over the batch go over all processes, and n counts all. What the gradients are of is then
    the sum of the processes' losses; those of w and b are this process's share of it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, inverse = _per_channel(x, weight, bias, None, None, True, 0.0, eps)
        if group is not None:
            mean, variance = _of_all(group, mean, _variance(inverse, eps))
            inverse = (variance + eps).rsqrt()
            y, _, _ = _per_channel(x, weight, bias, mean, variance, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps, ctx.group = eps, group
        ctx.set_materialize_grads(False)
        return y, mean, _variance(inverse, eps)

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor | None, dmean: Tensor | None, dvariance: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        plain = dmean is None and dvariance is None and ctx.group is None
        dx = dweight = dbias = None
        if dy is not None:
            wanted = [plain and ctx.needs_input_grad[0], True, True]
            dx, dweight, dbias = _backward(
                dy, x, weight, None, None, mean, inverse, True, ctx.eps, wanted
            )
        if not plain and ctx.needs_input_grad[0]:
            dx = _input_gradient(ctx, (dy, dmean, dvariance), (dweight, dbias))
        given = [None if weight is None else dweight, None if weight is None else dbias]
        return dx, *given, None, None


def _defined(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same by its definition, for a compiler, which makes one pass of it and of its gradient.

    What torch would compile instead rounds the statistics to bfloat16 on a CPU, if x is.
    """
    shape = [1, -1] + [1] * (x.ndim - 2)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=[0, *range(2, x.ndim)], correction=0)
    y = (wide - mean.view(shape)) * (variance + eps).rsqrt().view(shape)
    if weight is not None and bias is not None:
        y = y * weight.view(shape) + bias.view(shape)
    return y.to(x.dtype), mean, variance


def _variance(inverse: Tensor, eps: float) -> Tensor:
    # Rounding can take a channel that is constant below zero.
    return (inverse.pow(-2) - eps).clamp_min(0)


def _of_all(group: Any, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of all processes' values, as many in each, by the law of total variance."""
    own = torch.stack([mean, variance])
    each = [torch.empty_like(own) for _ in range(group.size())]
    distributed.all_gather(each, own, group=group)
    means, variances = torch.stack(each).unbind(1)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


def _sums_of_all(group: Any, like: Tensor, *sums: Tensor | None) -> Iterable[Tensor]:
    """Each sum [C] over all processes; one that is None here, and so everywhere, is 0."""
    own = torch.stack([torch.zeros_like(like) if part is None else part for part in sums])
    distributed.all_reduce(own, group=group)
    return own.unbind()


def _input_gradient(
    ctx: Any, gradients: tuple[Tensor | None, ...], sums: tuple[Tensor | None, ...]
) -> Tensor:
    x, weight, mean, inverse = ctx.saved_tensors
    (dy, dmean, dvariance), (dweight, dbias) = gradients, sums
    n = x.numel() // x.shape[1]
    if ctx.group is not None:
        n *= ctx.group.size()
        dmean, dvariance, dweight, dbias = _sums_of_all(
            ctx.group, mean, dmean, dvariance, dweight, dbias
        )
    scale = inverse if weight is None else weight * inverse
    slope, offset = torch.zeros_like(mean), torch.zeros_like(mean)
    if dvariance is not None:
        slope = slope + 2 * dvariance / n
    if dmean is not None:
        offset = offset + dmean / n
    if dweight is not None and dbias is not None:
        slope = slope - scale * inverse * dweight / n
        offset = offset - scale * dbias / n
    # slope (x - mean) + offset, in one pass whose constants stay float32 where x is not.
    dx: Tensor
    dx, _, _ = _per_channel(x, slope, offset, mean, torch.ones_like(mean), False, 0.0, 0.0)
    if dy is None:
        return dx
    shape = [1, -1] + [1] * (x.ndim - 2)
    return dx.addcmul_(dy, scale.to(dy.dtype).view(shape))


class _Once:
    """What a BatchNorm becomes: as it was, but while `recorded` is a list it fills that.

    And while `group` is a group of processes, its batch is what all of them have.
    """

    recorded: list[Call] | None = None
    group: Any = None

    def forward(self: Any, x: Tensor) -> Tensor:
        """Normalised x [B, C, H, W] or [B, C]."""
        if self.training and (self.recorded is not None or self.group is not None):
            found: Tensor = self._finished(self._normalised(x))
            return found
        plain: Tensor = super().forward(x)  # type: ignore[misc]
        return plain

    def _finished(self, y: Tensor) -> Tensor:
        return y

    def _normalised(self: Any, x: Tensor) -> Tensor:
        y: Tensor
        if torch.compiler.is_compiling() and self.group is None:
            y, mean, variance = _defined(x, self.weight, self.bias, self.eps)
        else:
            y, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps, self.group)
        n = x.numel() // x.shape[1] * (1 if self.group is None else self.group.size())
        if self.track_running_stats and self.running_mean is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum
            if momentum is None:  # a cumulative average
                momentum = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * (n / max(n - 1, 1)), momentum)
        if self.recorded is not None:
            self.recorded.append((n, mean, variance))
        return y


class BatchNormOnce(_Once, nn.BatchNorm2d):
    """A BatchNorm2d that records its statistics as it normalises."""


class BatchNorm1dOnce(_Once, nn.BatchNorm1d):
    """The same of a bottleneck's."""


class BatchNormActOnce(_Once, BatchNormAct2d):
    """The same of timm's, with dropout and activation behind it."""

    def _finished(self, y: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(y))
        return activated


_ONCE: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: BatchNormOnce,
    BatchNormAct2d: BatchNormActOnce,
}
_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = _ONCE | {nn.BatchNorm1d: BatchNorm1dOnce}


def compute_once(network: nn.Module) -> None:
    """Let every BatchNorm2d of `network` be one that can record its statistics as it normalises.

    In place: weights, names and what it computes otherwise stay. A layer of another class is left
    as it is, and `recorded_statistics` looks at its input.
    """
    _exchange(network, _ONCE)


def _exchange(network: nn.Module, kinds: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in network.modules():
        if type(module) in kinds:
            module.__class__ = kinds[type(module)]


def records_itself(layer: nn.Module) -> bool:
    """Whether a layer computes its input's statistics now, and can hand them on."""
    return isinstance(layer, _Once) and bool(getattr(layer, "training", False))


@contextmanager
def synchronised(networks: Iterable[nn.Module], group: Any) -> Iterator[None]:
    """Within it, BatchNorms in train mode take the statistics of all processes' parts of a batch.

    Other normalisation layers are marked by the same `group`, for who records their inputs.

    Args:
        networks: their BatchNorms are exchanged as `compute_once` does it, those of a bottleneck
            too, and stay so.
        group: a process group of torch; each process has as many images.

    Raises:
        TypeError: naming the class of a BatchNorm that cannot be synchronised.
    """
    kinds = nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm
    layers: list[Any] = []
    for network in networks:
        _exchange(network, _SYNCHRONISED)
        layers += [module for module in network.modules() if isinstance(module, kinds)]
    for layer in layers:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, _Once):
            raise TypeError(
                f"A {type(layer).__name__} cannot take its statistics from several processes. "
                "Train on one device (devices: 1), or choose another backbone."
            )
        layer.group = group
    try:
        yield
    finally:
        for layer in layers:
            layer.group = None
