"""BatchNorm that computes its statistics once and hands them to normalisation and loss alike.

A hook that computes mean and variance of a layer's input reads every activation again, and so does
its backward pass. The layer has just computed both; here they come out of it, with gradient.
"""

from typing import Any

import torch
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
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, inverse = _per_channel(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        # Rounding can take a channel that is constant below zero.
        return y, mean, (inverse.pow(-2) - eps).clamp_min(0)

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor | None, dmean: Tensor | None, dvariance: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        plain = dmean is None and dvariance is None
        dx = dweight = dbias = None
        if dy is not None:
            wanted = [plain and ctx.needs_input_grad[0], True, True]
            dx, dweight, dbias = _backward(
                dy, x, weight, None, None, mean, inverse, True, ctx.eps, wanted
            )
        if not plain and ctx.needs_input_grad[0]:
            dx = _input_gradient(ctx, (dy, dmean, dvariance), (dweight, dbias))
        given = [None if weight is None else dweight, None if weight is None else dbias]
        return dx, *given, None


def _input_gradient(
    ctx: Any, gradients: tuple[Tensor | None, ...], sums: tuple[Tensor | None, ...]
) -> Tensor:
    x, weight, mean, inverse = ctx.saved_tensors
    (dy, dmean, dvariance), (dweight, dbias) = gradients, sums
    n = x.numel() // x.shape[1]
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
    """What a BatchNorm2d becomes: as it was, but while `recorded` is a list it fills that."""

    recorded: list[Call] | None = None

    def _normalised(self: Any, x: Tensor) -> Tensor:
        y: Tensor
        y, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps)
        n = x.numel() // x.shape[1]
        if self.track_running_stats and self.running_mean is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum
            if momentum is None:  # a cumulative average
                momentum = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * (n / max(n - 1, 1)), momentum)
        self.recorded.append((n, mean, variance))
        return y


class BatchNormOnce(_Once, nn.BatchNorm2d):
    """A BatchNorm2d that records its statistics as it normalises."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x [B, C, H, W]."""
        if self.training and self.recorded is not None:
            return self._normalised(x)
        return super().forward(x)


class BatchNormActOnce(_Once, BatchNormAct2d):
    """The same of timm's, with dropout and activation behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """Activated, normalised x [B, C, H, W]."""
        if self.training and self.recorded is not None:
            activated: Tensor = self.act(self.drop(self._normalised(x)))
            return activated
        plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return plain


_ONCE: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: BatchNormOnce,
    BatchNormAct2d: BatchNormActOnce,
}


def compute_once(network: nn.Module) -> None:
    """Let every BatchNorm2d of `network` be one that can record its statistics as it normalises.

    In place: weights, names and what it computes otherwise stay. A layer of another class is left
    as it is, and `recorded_statistics` looks at its input.
    """
    for module in network.modules():
        if type(module) in _ONCE:
            module.__class__ = _ONCE[type(module)]


def records_itself(layer: nn.Module) -> bool:
    """Whether a layer computes its input's statistics now, and can hand them on."""
    return isinstance(layer, _Once) and bool(getattr(layer, "training", False))
