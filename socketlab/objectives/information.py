"""Information maximisation: each prediction certain, all predictions together diverse."""

import torch
from torch import Tensor

from socketlab.objectives._inputs import full_precision, require_matrix

ENTROPY_GUARD = 1e-5
"""Added inside the logarithm, so that a probability of zero has a finite entropy and gradient."""

ROUNDING = 1e-3
"""How far from one the sum of a class prior may lie."""


def _entropy(probabilities: Tensor, guard: float) -> Tensor:
    return -(probabilities * torch.log(probabilities + guard)).sum(dim=-1)


def _predictions(logits: Tensor) -> Tensor:
    require_matrix("logits", logits, "[B, K]")
    return torch.softmax(full_precision(logits), dim=1)


def _require_running_mean(running_mean: Tensor, classes: int) -> None:
    if running_mean.shape != (classes,):
        raise ValueError(
            f"running_mean must have shape ({classes},), one value per class of the logits, "
            f"found {tuple(running_mean.shape)}"
        )


def _checked_prior(class_prior: Tensor, like: Tensor) -> Tensor:
    if class_prior.shape != like.shape:
        raise ValueError(
            f"class_prior must have shape {tuple(like.shape)}, one value per class of the logits, "
            f"found {tuple(class_prior.shape)}"
        )
    prior = full_precision(class_prior.detach())
    # Written as a negation, so that a value that is no number is refused as well.
    if not bool((prior > 0).all() & ((prior.sum() - 1).abs() <= ROUNDING)):
        raise ValueError(
            "class_prior must be positive and sum to one, found values from "
            f"{prior.min().item():.4g} to {prior.max().item():.4g} with the sum "
            f"{prior.sum().item():.4g}: add one to every count, then divide by the total"
        )
    return prior.to(like.device, like.dtype, non_blocking=like.device.type == "cuda")


def entropy(probabilities: Tensor, guard: float = ENTROPY_GUARD) -> Tensor:
    """Entropy of every sample's prediction.

    H(p_i) = -sum_k p_ik log(p_ik + guard)

    Args:
        probabilities: [B, K], rows sum to one.
        guard: added inside the logarithm.

    Returns:
        [B], in nats, from -guard (certain) to log K (all classes alike).

    Raises:
        ValueError: when ``probabilities`` is not a matrix or ``guard`` is negative.

    Source: Liang et al., SHOT, ICML 2020 (arXiv 2002.08546), the guard as in their code.

    A low and a high one, the highest being log 2 = 0.693:

    >>> low, high = entropy(torch.tensor([[0.99, 0.01], [0.5, 0.5]]))
    >>> print(f"{low:.3f} {high:.3f}")
    0.056 0.693
    """
    require_matrix("probabilities", probabilities, "[B, K]")
    if guard < 0:
        raise ValueError(f"guard must not be negative, found {guard}")
    return _entropy(full_precision(probabilities), guard)


def mean_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions: low when every single prediction is certain.

    mean_i H(p_i), p_i = softmax(logits_i)

    Args:
        logits: [B, K].

    Returns:
        Scalar, in nats, from about 0 to log K.

    Raises:
        ValueError: when ``logits`` is not a matrix.

    Source: the entropy part of SHOT, ICML 2020 (arXiv 2002.08546).

    >>> print(f"low {mean_entropy(torch.tensor([[9.0, 0.0], [0.0, 9.0]])):.3f}")
    low 0.001
    >>> print(f"high {mean_entropy(torch.zeros(2, 2)):.3f}")
    high 0.693
    """
    return _entropy(_predictions(logits), ENTROPY_GUARD).mean()


def diversity(
    logits: Tensor, running_mean: Tensor | None = None, *, class_prior: Tensor | None = None
) -> Tensor:
    """Entropy of the mean prediction: high when the predictions together use all classes.

    H(pbar), pbar = mean_i softmax(logits_i)

    A small batch cannot show all classes. With ``running_mean`` the value is H(running_mean), and
    the gradient is that of H at the running mean, passed on to the batch's own mean undiminished:
    pbar = running_mean + (mean_i p_i - stop_gradient(mean_i p_i)). So a weight keeps its meaning
    whatever the momentum, and whether or not the running mean carries a gradient of its own.

    The entropy is highest where all classes are predicted alike often, which is wrong where they
    do not occur alike often. With ``class_prior``, pi, the value is highest at pi instead:

    log K - KL(pbar || pi) = H(pbar) + sum_k pbar_k log(K pi_k)

    and a uniform prior gives H(pbar) again.

    Args:
        logits: [B, K].
        running_mean: [K], the mean prediction over recent batches, this one included, as
            :func:`next_running_mean` gives it.
        class_prior: [K], pi, how often each class occurs, a constant. Best left on the CPU: its
            values are looked at in every call, and looking at a GPU waits for it.

    Returns:
        Scalar, in nats, from about 0 (one class alone) to log K; with a class prior from
        log(K min_k pi_k), which is below 0 (the rarest class alone), to log K (pbar = pi).

    Raises:
        ValueError: when the shapes do not fit, or the prior is not positive or does not sum to one.

    Source: the diversity part of SHOT, ICML 2020 (arXiv 2002.08546); the running mean is ours, the
    class prior is an option of ours.

    >>> print(f"low {diversity(torch.tensor([[9.0, 0.0], [9.0, 0.0]])):.3f}")
    low 0.001
    >>> print(f"high {diversity(torch.tensor([[9.0, 0.0], [0.0, 9.0]])):.3f}")
    high 0.693
    """
    mean = _predictions(logits).mean(dim=0)
    if running_mean is not None:
        _require_running_mean(running_mean, logits.shape[1])
        mean = full_precision(running_mean).detach() + (mean - mean.detach())
    if class_prior is None:
        return _entropy(mean, ENTROPY_GUARD)
    prior = _checked_prior(class_prior, mean)
    return _entropy(mean, ENTROPY_GUARD) + (mean * torch.log(len(prior) * prior)).sum()


def information_maximisation(
    logits: Tensor, running_mean: Tensor | None = None, *, class_prior: Tensor | None = None
) -> Tensor:
    """Information maximisation loss: certain predictions, spread over all classes.

    L_im = mean_i H(p_i) - H(mean_i p_i), p_i = softmax(logits_i)

    Args:
        logits: [B, K].
        running_mean: [K], stands for the batch's mean prediction in the second term; see
            :func:`diversity`.
        class_prior: [K], how often each class occurs; the second term then is highest there; see
            :func:`diversity`.

    Returns:
        Scalar, in nats, from -log K (every prediction certain, all classes used alike or as the
        prior says) to about 0 (every sample predicted alike); up to log K with a running mean, and
        higher with a class prior.

    Raises:
        ValueError: when the shapes do not fit, or the prior is not positive or does not sum to one.

    Source: SHOT, ICML 2020 (arXiv 2002.08546).

    Low, certain and diverse; high, certain but all in one class:

    >>> print(f"low {information_maximisation(torch.tensor([[9.0, 0.0], [0.0, 9.0]])):.2f}")
    low -0.69
    >>> high = information_maximisation(torch.tensor([[9.0, 0.0], [9.0, 0.0]]))
    >>> print(f"high {abs(high):.2f}")
    high 0.00
    """
    return mean_entropy(logits) - diversity(logits, running_mean, class_prior=class_prior)


def next_running_mean(
    logits: Tensor, running_mean: Tensor | None = None, momentum: float = 0.9
) -> Tensor:
    """Running mean of the predictions, moved on by one batch.

    m' = momentum m + (1 - momentum) mean_i softmax(logits_i)

    Args:
        logits: [B, K].
        running_mean: [K], m, the result of the step before; None at the first step, which starts
            at the batch's own mean.
        momentum: in [0, 1); 0.9 remembers about ten batches.

    Returns:
        [K], without gradient, sums to one.

    Raises:
        ValueError: when the shapes do not fit or ``momentum`` lies outside [0, 1).

    Source: ours, for the diversity term of small batches.

    >>> first = next_running_mean(torch.tensor([[9.0, 0.0]]))
    >>> second = next_running_mean(torch.tensor([[0.0, 9.0]]), first)
    >>> print([round(value, 2) for value in first.tolist() + second.tolist()])
    [1.0, 0.0, 0.9, 0.1]
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), found {momentum}")
    batch_mean = _predictions(logits.detach()).mean(dim=0)
    if running_mean is None:
        return batch_mean
    _require_running_mean(running_mean, logits.shape[1])
    return momentum * full_precision(running_mean.detach()) + (1 - momentum) * batch_mean
