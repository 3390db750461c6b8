"""Normalisation statistics of a network: record a batch's, hold the running ones, estimate anew."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from socketlab.models.backbones import batch_norms
from socketlab.objectives import batch_statistics
from socketlab.training.inference import evaluating

Statistics = list[tuple[Tensor, Tensor]]


def running_statistics(network: nn.Module) -> Statistics:
    """Copies of the running mean and variance [C] of every BatchNorm2d, in module order.

    Raises:
        ValueError: if the network has no BatchNorm2d.
    """
    layers = batch_norms(network)
    if not layers:
        raise ValueError(
            "The encoder has no BatchNorm2d layer, so there are no normalisation statistics. "
            "Set statistics_weight: 0 or choose another backbone."
        )
    found = []
    for layer in layers:
        if layer.running_mean is None or layer.running_var is None:
            raise ValueError("A BatchNorm2d of the encoder keeps no running statistics.")
        found.append((layer.running_mean.clone(), layer.running_var.clone()))
    return found


@contextmanager
def recorded_statistics(network: nn.Module) -> Iterator[Statistics]:
    """Within it, forward passes append mean and biased variance of every BatchNorm2d's input.

    The statistics carry a gradient. Meant for one forward pass.
    """
    recorded: Statistics = []

    def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        recorded.append(batch_statistics(inputs[0]))

    handles = [layer.register_forward_pre_hook(record) for layer in batch_norms(network)]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def held_running_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, forward passes in train mode leave all running statistics as they are.

    For TI batches: TR images will be scored with the running statistics.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
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

    Source: adaptive batch normalisation, Li et al. 2016 (arXiv 1603.04779).
    """
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
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
