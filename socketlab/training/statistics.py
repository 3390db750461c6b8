"""Normalisation statistics of a network: record a batch's, hold the running ones, estimate anew."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from socketlab.models.backbones import batch_norms
from socketlab.models.batch_norm import Call, records_itself
from socketlab.models.classifier import Classifier
from socketlab.models.modes import evaluating, uncompiled
from socketlab.models.translator import Translator
from socketlab.objectives import batch_statistics
from socketlab.training.gathering import gathered

Statistics = list[tuple[Tensor, Tensor]]
"""Mean [C] and biased variance [C] of the input of each layer that was reached, in module order."""


def normalisation_layers(network: nn.Module) -> list[nn.Module]:
    """The layers whose inputs' statistics are compared, in module order; may be empty.

    Every BatchNorm2d where there is one (53 in ResNet-50), for it keeps the source's statistics
    itself; otherwise every LayerNorm and GroupNorm (ViT, ConvNeXt). Those of a translator are left
    out: it is before the network, and the source model saw RGB without it.
    """
    painting = _in_translators(network)
    return [layer for layer in batch_norms(network) if layer not in painting] or [
        module
        for module in network.modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm) and module not in painting
    ]


@contextmanager
def recorded_statistics(network: nn.Module) -> Iterator[Statistics]:
    """When it ends, holds mean and biased variance of the input of every normalisation layer.

    Per channel, over images and positions (of a ViT: over patches and class token), with gradient.
    The layers are `normalisation_layers`; one that no forward pass reached is left out, here as in
    `reference_statistics`. Over several passes, or several calls of one layer, the statistics are
    those of all values together. A layer of `batch_norm.compute_once` in train mode says them
    itself; of the input of another one they are computed, which costs another pass over it.
    """
    recorded: Statistics = []
    layers = normalisation_layers(network)
    by_hooks = not all(records_itself(layer) for layer in layers)
    with uncompiled(network) if by_hooks else nullcontext(), _recorded_calls(layers) as calls:
        try:
            yield recorded
        finally:
            recorded += [_pooled(found) for found in calls.values() if found]


@contextmanager
def _recorded_calls(layers: Iterable[nn.Module]) -> Iterator[dict[nn.Module, list[Call]]]:
    calls: dict[nn.Module, list[Call]] = {layer: [] for layer in layers}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].movedim(_channel_axis(layer), 1)
        if x.ndim not in (2, 4):  # tokens [B, C, T]
            x = x.flatten(2).unsqueeze(3)
        calls[layer] += _calls(layer, x.numel() // x.shape[1], batch_statistics(x))

    own = [layer for layer in calls if records_itself(layer)]
    handles = [layer.register_forward_pre_hook(record) for layer in calls.keys() - {*own}]
    for layer in own:
        layer.recorded = calls[layer]  # type: ignore[assignment]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
        for layer in own:
            layer.recorded = None  # type: ignore[assignment]


def _calls(layer: nn.Module, count: int, statistics: tuple[Tensor, Tensor]) -> list[Call]:
    """This process's call of a layer, or while it is `synchronised` that of every one."""
    group = getattr(layer, "group", None)
    if group is None:
        return [(count, *statistics)]
    means, variances = gathered(torch.stack(statistics), group).unbind(1)
    return [(count, *each) for each in zip(means, variances, strict=True)]


def _channel_axis(layer: nn.Module) -> int:
    # LayerNorm2d of timm and of torchvision, and their kin, are LayerNorms that move the axis
    # themselves; they have no common class, but all have "2d" in their names.
    if isinstance(layer, nn.LayerNorm) and not any("2d" in c.__name__ for c in type(layer).__mro__):
        return -len(layer.normalized_shape)  # [B, T, C], [B, H, W, C]
    return 1  # [B, C, H, W]


def _pooled(calls: list[Call]) -> tuple[Tensor, Tensor]:
    """Mean and variance of the values of all calls together, by the law of total variance.

    mu = sum_i w_i mu_i, var = sum_i w_i (var_i + (mu_i - mu)^2), w_i = n_i / sum_j n_j
    """
    if len(calls) == 1:
        return calls[0][1:]
    counts, means, variances = zip(*calls, strict=True)
    mean, variance = torch.stack(means), torch.stack(variances)
    share = torch.tensor(counts, dtype=mean.dtype, device=mean.device)[:, None] / sum(counts)
    pooled = (share * mean).sum(0)
    return pooled, (share * (variance + (mean - pooled).square())).sum(0)


def source_statistics(network: nn.Module, batches: Iterable[Tensor]) -> Statistics:
    """Statistics of the normalisation layers' inputs over all `batches`, eval mode, no gradient."""
    return [*input_statistics(network, normalisation_layers(network), batches).values()]


def input_statistics(
    network: nn.Module, layers: Iterable[nn.Module], batches: Iterable[Tensor]
) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Mean [C] and biased variance [C] of the input of each of `layers` over all `batches`.

    In eval mode, without gradient. The layers are BatchNorms of any kind, LayerNorms or GroupNorms
    of `network`; one that no forward pass reached is left out.
    """
    with evaluating(network), _recorded_calls(layers) as calls:
        for batch in batches:
            network(batch)
    return {layer: _pooled(found) for layer, found in calls.items() if found}


def reference_statistics(model: Classifier, batches: Iterable[Tensor]) -> Statistics:
    """The source model's statistics, to compare with `recorded_statistics` of its encoder.

    Where the encoder has BatchNorm2d layers, copies of their running statistics, which come from
    the RGB images that the source model was trained on. Elsewhere nothing of those is left, and
    the statistics are estimated on `batches`.

    Args:
        model: the frozen source model; not only its encoder, for it normalises the images.
        batches: TI RGB images [B, 3, H, W] in [0, 1]. Of a model with BatchNorm2d only the first
            is looked at, to leave out layers that no forward pass reaches.

    Raises:
        ValueError: if the encoder has no normalisation layer, a BatchNorm2d without running
            statistics, or if there is no batch.
    """
    layers = normalisation_layers(model.encoder)
    if not layers:
        raise ValueError(
            f"The encoder {model.backbone!r} has no BatchNorm2d, LayerNorm or GroupNorm layer, so "
            "there are no normalisation statistics. Set statistics_weight: 0 or choose another "
            "backbone."
        )
    if not isinstance(layers[0], nn.BatchNorm2d):
        found = source_statistics(model, batches)
    else:
        with evaluating(model), _recorded_calls(layers) as calls:
            for batch in batches:
                model(batch)
                break
        found = [_running(layer) for layer, reached in calls.items() if reached]
    if not found:
        raise ValueError("There is no batch of RGB images to estimate the source statistics on.")
    return found


def _running(layer: nn.Module) -> tuple[Tensor, Tensor]:
    mean, variance = layer.running_mean, layer.running_var
    if mean is None or variance is None:
        raise ValueError(
            "A BatchNorm2d of the encoder keeps no running statistics. Set statistics_weight: 0 "
            "or choose another backbone."
        )
    return mean.clone(), variance.clone()  # type: ignore[operator]


@contextmanager
def held_running_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, forward passes in train mode leave all running statistics as they are.

    For TI batches: TR images will be scored with the running statistics.
    """
    layers = every_batch_norm(network)
    before = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, tracked in zip(layers, before, strict=True):
            layer.track_running_stats = tracked


def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace all running statistics by the plain average over `batches` of target images.

    Of a network without BatchNorm in its encoder these are the bottleneck's alone.

    Source: adaptive batch normalisation, Li et al. 2016 (arXiv 1603.04779).
    """
    layers = every_batch_norm(network)
    before = [layer.momentum for layer in layers]
    try:
        with evaluating(network):
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # a cumulative average
                layer.train()
            for batch in batches:
                network(batch)
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


def every_batch_norm(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every BatchNorm of a network, that of a bottleneck (BatchNorm1d) too, in module order.

    Those of a translator are its own and not counted: their statistics belong to its weights.
    """
    painting = _in_translators(network)
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module not in painting
    ]


def _in_translators(network: nn.Module) -> set[nn.Module]:
    translators = [module for module in network.modules() if isinstance(module, Translator)]
    return {inner for translator in translators for inner in translator.modules()}
