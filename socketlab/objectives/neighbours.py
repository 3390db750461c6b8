"""Objectives over nearest neighbours in a bank of the target images' features and predictions."""

import torch
from torch import Tensor

from socketlab.objectives._inputs import full_precision, require_matrix
from socketlab.objectives.chunks import chunks


def nearest(queries: Tensor, bank: Tensor, k: int, own: Tensor) -> Tensor:
    """Indices of the k most similar rows of a bank, the sample itself left out.

    argtop-k_{j != own_i} q_i . b_j, which is the cosine for rows of unit length

    Args:
        queries: [B, D], rows of unit length.
        bank: [N, D], rows of unit length, on the device of the queries.
        k: how many, from 1 to N - 1.
        own: [B] int64, the row of the bank that is the query itself.

    Returns:
        [B, k] int64, the most similar first. The similarities [B, N] are never held at once, see
        :mod:`socketlab.objectives.chunks`.

    Raises:
        ValueError: when the shapes do not fit or the bank holds too few rows.

    Source: Yang et al., NRC, NeurIPS 2021 (arXiv 2110.04202), and AaD, NeurIPS 2022
    (arXiv 2205.04183).

    The first row of three, and the one that points almost the same way:

    >>> bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> nearest(bank[:1], bank, 1, torch.tensor([0]))
    tensor([[2]])
    """
    require_matrix("queries", queries, "[B, D]")
    require_matrix("bank", bank, "[N, D]")
    if queries.shape[1] != bank.shape[1] or own.shape != queries.shape[:1]:
        raise ValueError(
            "queries [B, D], bank [N, D] and own [B] do not fit, found "
            f"{tuple(queries.shape)}, {tuple(bank.shape)} and {tuple(own.shape)}"
        )
    if not 1 <= k < len(bank):
        raise ValueError(
            f"k must lie between 1 and {len(bank) - 1}, the other rows of the bank, found {k}"
        )
    with torch.no_grad(), torch.autocast(bank.device.type, enabled=False):
        queries, bank = full_precision(queries), full_precision(bank)
        found = torch.empty(len(queries), k, dtype=torch.int64, device=bank.device)
        # Each chunk reads the whole bank, so the fewer the better; its answer is read once.
        for rows in chunks(len(queries), len(bank), bank, tensors=1):
            similarity = queries[rows] @ bank.T
            similarity.scatter_(1, own[rows].unsqueeze(1), -torch.inf)
            found[rows] = similarity.topk(k, dim=1).indices
        return found


def _agreement(probabilities: Tensor, others: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """mean_i sum_m w_im p_i . s_im, of p [B, K], s [B, M, K] and w [B, M] or one number."""
    # Not a matrix product, which autocast would do in half precision.
    products = (probabilities.unsqueeze(1) * full_precision(others).detach()).sum(dim=2)
    return (weights * products).sum(dim=1).mean()


def attracting_dispersing(
    probabilities: Tensor, neighbour_probabilities: Tensor, dispersion: float
) -> Tensor:
    """Attract the predictions of neighbours, disperse those of the batch.

    mean_i ( -sum_k p_i . s_ik + dispersion sum_{m != i} p_i . p_m )

    Args:
        probabilities: [B, K], p, the batch's predictions, with gradient.
        neighbour_probabilities: [B, k, K], s, those of each sample's neighbours; constants.
        dispersion: weight of the second part, see :func:`dispersion_weight`.

    Returns:
        Scalar from -k (all neighbours agree, with certainty) to dispersion (B - 1).

    Raises:
        ValueError: when the shapes do not fit.

    Source: Yang et al., AaD, NeurIPS 2022 (arXiv 2205.04183).

    Low, two samples that agree with their neighbours and not with each other; high, two alike,
    whose neighbours are others:

    >>> neighbours = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> low = attracting_dispersing(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), neighbours, 1.0)
    >>> high = attracting_dispersing(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), neighbours, 1.0)
    >>> print(f"{low:.1f} {high:.1f}")
    -1.0 0.5
    """
    require_matrix("probabilities", probabilities, "[B, K]")
    batch, classes = probabilities.shape
    found = tuple(neighbour_probabilities.shape)
    if len(found) != 3 or (found[0], found[2]) != (batch, classes):
        raise ValueError(
            f"neighbour_probabilities must have shape [{batch}, k, {classes}], found {found}"
        )
    p = full_precision(probabilities)
    # sum_i sum_{m != i} p_i . p_m = |sum_i p_i|^2 - sum_i |p_i|^2, with gradient to both sides.
    others = (p.sum(dim=0).square().sum() - p.square().sum()) / batch
    return dispersion * others - _agreement(p, neighbour_probabilities)


def dispersion_weight(progress: float, beta: float = 5.0) -> float:
    """Weight of the dispersing part, which fades as clusters form.

    (1 + 10 q)^-beta

    Args:
        progress: q, the fraction of the training that is done.
        beta: how fast it fades; 0 keeps it at 1.

    Returns:
        From 1 at the start to 11^-beta at the end.

    Raises:
        ValueError: when ``progress`` lies outside [0, 1] or ``beta`` is negative.

    Source: AaD, NeurIPS 2022 (arXiv 2205.04183).

    >>> [round(dispersion_weight(q), 3) for q in (0.0, 0.1, 1.0)]
    [1.0, 0.031, 0.0]
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in [0, 1], found {progress}")
    if beta < 0:
        raise ValueError(f"beta must not be negative, found {beta}")
    return float((1 + 10 * progress) ** -beta)


def neighbourhood_reciprocity(
    probabilities: Tensor,
    bank: Tensor,
    own: Tensor,
    neighbours: Tensor,
    expanded: Tensor,
    non_reciprocal: float = 0.1,
) -> dict[str, Tensor]:
    """Agree with neighbours, most with those that are neighbours of each other.

    With S the bank's predictions, r = ``non_reciprocal``, N_i the neighbours of sample i and E_ij
    those of its neighbour j:

    - ``neighbours``: L_N = -mean_i sum_{j in N_i} A_ij p_i . S_j, A_ij = 1 if i is in E_ij, else r
    - ``expanded``: L_E = -mean_i sum_{j in N_i} sum_{m in E_ij} r p_i . S_m; a row that is reached
      twice counts twice, and the sample itself, where it is reached, counts too
    - ``itself``: L_self = -mean_i p_i . S_i

    The method adds log K - H(mean_i p_i), the divergence of the mean prediction from the uniform
    one; see :func:`diversity`.

    Args:
        probabilities: [B, K], p, the batch's predictions, with gradient.
        bank: [N, K], S, the predictions of all target images; constants.
        own: [B] int64, the samples' own rows of the bank.
        neighbours: [B, k] int64, rows of each sample's neighbours.
        expanded: [B, k, M] int64, rows of each neighbour's neighbours.
        non_reciprocal: r, in [0, 1].

    Returns:
        The three terms by name, scalars: from -k, -r k M and -1 to 0.

    Raises:
        ValueError: when the shapes do not fit or r lies outside [0, 1].

    Source: Yang et al., NRC, NeurIPS 2021 (arXiv 2110.04202).

    Low where the sample agrees with its one neighbour, which is a reciprocal one; high where not:

    >>> bank = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> near = torch.tensor([0]), torch.tensor([[1]]), torch.tensor([[[0]]])
    >>> low = neighbourhood_reciprocity(torch.tensor([[0.9, 0.1]]), bank, *near)
    >>> high = neighbourhood_reciprocity(torch.tensor([[0.1, 0.9]]), bank, *near)
    >>> {name: (round(float(low[name]), 2), round(float(high[name]), 2)) for name in low}
    {'neighbours': (-0.9, -0.1), 'expanded': (-0.09, -0.01), 'itself': (-0.9, -0.1)}
    """
    require_matrix("probabilities", probabilities, "[B, K]")
    require_matrix("bank", bank, "[N, K]")
    batch = len(probabilities)
    fits = (
        probabilities.shape[1] == bank.shape[1]
        and own.shape == (batch,)
        and neighbours.ndim == 2
        and expanded.ndim == 3
        and len(neighbours) == batch
        and expanded.shape[:2] == neighbours.shape
    )
    if not fits:
        shapes = [tuple(t.shape) for t in (probabilities, bank, own, neighbours, expanded)]
        raise ValueError(
            "probabilities [B, K], bank [N, K], own [B], neighbours [B, k] and expanded [B, k, M] "
            f"do not fit, found {', '.join(map(str, shapes))}"
        )
    if not 0 <= non_reciprocal <= 1:
        raise ValueError(f"non_reciprocal must lie in [0, 1], found {non_reciprocal}")
    p = full_precision(probabilities)
    reciprocal = (expanded == own[:, None, None]).any(dim=2)
    affinity = reciprocal + non_reciprocal * ~reciprocal
    return {
        "neighbours": -_agreement(p, bank[neighbours], affinity),
        "expanded": -_agreement(p, bank[expanded.flatten(1)], non_reciprocal),
        "itself": -_agreement(p, bank[own].unsqueeze(1)),
    }
