"""Distance of a batch's normalisation statistics to those of the source model."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from socketlab.objectives._inputs import full_precision, require_known, require_same_shape

StatisticsForm: TypeAlias = Literal["normalised", "released_sum", "gaussian_kl"]
Statistics: TypeAlias = tuple[Tensor, Tensor]
"""Mean [C] and biased variance [C] of one layer's input."""

VARIANCE_GUARD = 1e-5
"""Added to every variance: the number that BatchNorm itself adds before it divides."""

DEAD_CHANNEL_SHARE = 1e-3
"""Share of a layer's median source variance that is also added to every variance.

Trained networks have channels that never fire, with variances down to 1e-40. Measured in their own
deviation, the slightest activity there is a shift of hundreds, and the whole distance would be
theirs. With this share, no channel's unit is finer than about 3 % of the layer's typical deviation,
and a typical channel's unit changes by 0.05 %.
"""


def batch_statistics(x: Tensor) -> Statistics:
    """Mean and biased variance of every channel, as BatchNorm computes them in train mode.

    mu_c = mean(x_c), var_c = mean((x_c - mu_c)^2), over all dimensions but the channels

    Args:
        x: [B, C, H, W] or [B, C], the input of a BatchNorm layer; half precision is taken to
            float32, which for the backward pass keeps a float32 copy of x.

    Returns:
        Mean [C] and variance [C], with gradient.

    Raises:
        ValueError: when x has another number of dimensions or nothing to average.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithm 1.

    A low and a high variance:

    >>> mean, variance = batch_statistics(torch.tensor([[1.0, -10.0], [1.0, 10.0]]))
    >>> mean.tolist(), variance.tolist()
    ([1.0, 0.0], [0.0, 100.0])
    """
    if x.ndim not in (2, 4) or x.numel() == 0:
        raise ValueError(
            "the input of a normalisation layer must have shape [B, C, H, W] or [B, C] and hold "
            f"at least one value, found {tuple(x.shape)}"
        )
    dimensions = [dimension for dimension in range(x.ndim) if dimension != 1]
    variance, mean = torch.var_mean(full_precision(x), dim=dimensions, correction=0)
    return mean, variance


def _norm(values: Tensor) -> Tensor:
    # vector_norm has gradient zero at zero, where the root of a sum of squares has none.
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm


def _root_mean_square(values: Tensor) -> Tensor:
    return _norm(values) / math.sqrt(values.numel())


def _guarded(variance: Tensor, source_variance: Tensor) -> tuple[Tensor, Tensor]:
    guard = VARIANCE_GUARD + DEAD_CHANNEL_SHARE * source_variance.median()
    return variance + guard, source_variance + guard


def _normalised(mean: Tensor, variance: Tensor, source: Statistics) -> Tensor:
    guarded, source_guarded = _guarded(variance, source[1])
    shift = (mean - source[0]) / source_guarded.sqrt()
    stretch = (guarded / source_guarded).sqrt() - 1
    return _root_mean_square(shift) + _root_mean_square(stretch)


def _released(mean: Tensor, variance: Tensor, source: Statistics) -> Tensor:
    return _norm(mean - source[0]) + _norm(variance - source[1])


def _gaussian_kl(mean: Tensor, variance: Tensor, source: Statistics) -> Tensor:
    first, second = _guarded(variance, source[1])
    # Equal to first/second + second/first - 2, without the cancellation near equality.
    spread = (first - second).square() / (first * second)
    shift = (mean - source[0]).square() * (1 / first + 1 / second)
    return 0.5 * (spread + shift).mean()


_LAYER_DISTANCES: dict[str, Callable[[Tensor, Tensor, Statistics], Tensor]] = {
    "normalised": _normalised,
    "released_sum": _released,
    "gaussian_kl": _gaussian_kl,
}


def _checked(
    statistics: Sequence[Statistics], reference: Sequence[Statistics]
) -> list[tuple[Tensor, Tensor, Statistics]]:
    if len(statistics) != len(reference) or not statistics:
        raise ValueError(
            "statistics and reference must have the same number of layers, at least one, "
            f"found {len(statistics)} and {len(reference)}"
        )
    layers = []
    pairs = zip(statistics, reference, strict=True)
    for layer, ((mean, variance), (source_mean, source_variance)) in enumerate(pairs):
        if mean.ndim != 1 or mean.numel() == 0:
            raise ValueError(
                f"the mean of layer {layer} must have shape [C], found {tuple(mean.shape)}"
            )
        others = {
            "variance": variance,
            "reference mean": source_mean,
            "reference variance": source_variance,
        }
        for name, other in others.items():
            require_same_shape(f"mean of layer {layer}", mean, name, other)
        source = (full_precision(source_mean), full_precision(source_variance))
        layers.append((full_precision(mean), full_precision(variance), source))
    return layers


def statistics_distance(
    statistics: Sequence[Statistics],
    reference: Sequence[Statistics],
    form: StatisticsForm = "normalised",
    first_layer_weight: float = 1.0,
) -> Tensor:
    """Distance of a target batch's normalisation statistics to the source model's.

    With (mu, var) the batch's and (mu_s, var_s) the source's statistics of a layer,
    sigma = sqrt(var + g), sigma_s = sqrt(var_s + g), w = ``first_layer_weight`` for the first layer
    and 1 for the others:

    - ``normalised``: d_l = sqrt(mean_c ((mu - mu_s) / sigma_s)^2)
      + sqrt(mean_c (sigma / sigma_s - 1)^2), and sum_l w_l d_l / sum_l w_l. In units of the
      source's deviation, so that its weight means the same for every backbone: 1 is a shift by one
      deviation everywhere.
    - ``gaussian_kl``: d_l = mean_c (KL(N || N_s) + KL(N_s || N)), of the channel's Gaussians,
      = mean_c 1/2 (v/v_s + v_s/v - 2 + (mu - mu_s)^2 (1/v + 1/v_s)) with v = var + g, and
      sum_l w_l d_l / sum_l w_l. Quadratic near equality, steep far from it.
    - ``released_sum``: sum_l w_l (||mu - mu_s||_2 + ||var - var_s||_2), the first weight 10 in the
      released program. Grows with channels, layers and the square of the activations' scale.

    The guard g = 1e-5 + 1e-3 median_c(var_s), of the layer, keeps dead channels (source variance
    next to zero) from being all of the distance; see :data:`DEAD_CHANNEL_SHARE`.

    Args:
        statistics: per layer, mean [C] and biased variance [C] of the batch, with gradient.
        reference: the same of the source model, copied before training.
        form: one of the three.
        first_layer_weight: w of the first layer, positive.

    Returns:
        Scalar, 0 when all statistics are equal; its gradient is finite there too.

    Raises:
        ValueError: when layers or shapes do not fit, the form is unknown or the weight is not
            positive.

    Source: ``released_sum``, SOCKET, ECCV 2022 (arXiv 2209.04027), as in its released program;
    ``gaussian_kl``, after Ishii and Sugiyama 2021 (arXiv 2101.10842), here symmetric;
    ``normalised`` is ours.

    A low and a high one, shifted by a tenth and by two of the source's deviations:

    >>> source = [(torch.zeros(3), torch.ones(3))]
    >>> low = statistics_distance([(torch.full((3,), 0.1), torch.ones(3))], source)
    >>> high = statistics_distance([(torch.full((3,), 2.0), torch.ones(3))], source)
    >>> print(f"{low:.2f} {high:.2f}")
    0.10 2.00
    """
    require_known("form", form, _LAYER_DISTANCES)
    if not 0 < first_layer_weight < math.inf:
        raise ValueError(f"first_layer_weight must be positive, found {first_layer_weight}")
    distance = _LAYER_DISTANCES[form]
    layers = [distance(*layer) for layer in _checked(statistics, reference)]
    weighted = torch.stack([first_layer_weight * layers[0], *layers[1:]]).sum()
    if form == "released_sum":
        return weighted
    return weighted / (first_layer_weight + len(layers) - 1)
