"""Early-learning regularisation: hold on to what the network said before it learnt the noise."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from socketlab.objectives._inputs import full_precision, require_matrix, require_same_shape

AGREEMENT_GUARD = 1e-4
"""Added inside the logarithm, so that full agreement has a finite value and gradient."""


def early_learning(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Reward agreement of every prediction with its own running mean.

    L = mean_i log(1 - p_i . pbar_i + 1e-4)

    Agreement lowers L, so that minimising it counters labels which the early network did not
    believe. Its weight is 3 in source-free adaptation.

    Args:
        probabilities: [B, K], p, with gradient.
        targets: [B, K], pbar, as :func:`next_targets` gives them; constants.

    Returns:
        Scalar from log(1e-4) = -9.2 (certain, and as ever) to about 0 (no agreement).

    Raises:
        ValueError: when the shapes differ or are no matrices.

    Source: Liu et al., ELR, NeurIPS 2020 (arXiv 2007.00151); for source-free adaptation, Yi et al.,
    ICLR 2023 (arXiv 2301.13381). The guard is ours, of the size of the released program's bound on
    probabilities.

    A low and a high one:

    >>> targets = torch.tensor([[0.9, 0.1]])
    >>> low = early_learning(torch.tensor([[0.9, 0.1]]), targets)
    >>> high = early_learning(torch.tensor([[0.1, 0.9]]), targets)
    >>> print(f"{low:.2f} {high:.2f}")
    -1.71 -0.20
    """
    require_matrix("probabilities", probabilities, "[B, K]")
    require_same_shape("probabilities", probabilities, "targets", targets)
    agreement = (full_precision(probabilities) * full_precision(targets).detach()).sum(dim=1)
    return torch.log(1 - agreement + AGREEMENT_GUARD).mean()


def next_targets(previous: Tensor, probabilities: Tensor, momentum: float = 0.7) -> Tensor:
    """Running means of the predictions, one per sample, moved on by one step.

    pbar' = momentum pbar + (1 - momentum) p / sum_k p_k

    Args:
        previous: [B, K], pbar of these samples; zeros for samples that were not seen before, so
            that the regularisation grows with the training.
        probabilities: [B, K], p.
        momentum: in [0, 1).

    Returns:
        [B, K], without gradient; rows sum to 1 - momentum^t after t steps from zeros.

    Raises:
        ValueError: when the shapes differ or ``momentum`` lies outside [0, 1).

    Source: ELR, NeurIPS 2020 (arXiv 2007.00151).

    >>> next_targets(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0.3000, 0.0000],
            [0.7000, 0.3000]])
    """
    require_matrix("probabilities", probabilities, "[B, K]")
    require_same_shape("previous", previous, "probabilities", probabilities)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), found {momentum}")
    now = normalize(full_precision(probabilities.detach()), p=1.0, dim=1)
    return momentum * full_precision(previous.detach()) + (1 - momentum) * now
