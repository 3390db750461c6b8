"""What nearest neighbours say of the gap: retrieval of the partner, mixing of modalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.pairs import Features, cosine_chunks, unit_pairs

# Two cosines closer than this are a tie: far above float64 rounding, far below what
# features made in float32 tell apart on purpose.
TIE = 1e-9


@dataclass(frozen=True)
class RetrievalDirection:
    """How well a query finds its partner: recalls in [0, 1], rank 1 is first."""

    recall_at_1: float
    recall_at_5: float
    median_rank: float


@dataclass(frozen=True)
class Retrieval:
    """Retrieval of the partner in both directions, and what guessing would give."""

    x_to_y: RetrievalDirection
    y_to_x: RetrievalDirection
    chance_at_1: float
    chance_at_5: float
    n: int


def partner_ranks(queries: Features, gallery: Features) -> Tensor:
    """Rank of each query's partner in the gallery by cosine, int64 [n], 1 is first.

    A tie counts against the query, so that collapsed features earn nothing. Raises ValueError
    on bad input.
    """
    unit_queries, unit_gallery = unit_pairs(queries, gallery)
    partner = (unit_queries * unit_gallery).sum(dim=1, keepdim=True)
    ranks = [
        (cosine > partner[start : start + len(cosine)] - TIE).sum(dim=1)
        for start, cosine in cosine_chunks(unit_queries, unit_gallery)
    ]
    return torch.cat(ranks)


def retrieval(x: Features, y: Features) -> Retrieval:
    """R@1, R@5 and median rank of the partner by cosine, in both directions, with chance.

    [n, d] paired features; recalls in [0, 1]; chance is 1/n and min(1, 5/n). Ties count against
    the query. Raises ValueError on bad input.
    """
    x_to_y, y_to_x = partner_ranks(x, y), partner_ranks(y, x)
    n = len(x_to_y)
    return Retrieval(
        x_to_y=_direction(x_to_y),
        y_to_x=_direction(y_to_x),
        chance_at_1=1 / n,
        chance_at_5=min(1.0, 5 / n),
        n=n,
    )


def neighbour_mixing(x: Features, y: Features, *, neighbours: int = 20) -> float:
    """Share of other-modality rows among the nearest neighbours, over the expected share.

    Neighbours of each of the 2n rows by cosine, among the 2n - 2 rows that are neither itself nor
    its partner; half of those are of the other modality. [n, d] paired features; in [0, 2];
    1: mixed, 0: split. Raises ValueError on bad input or too few pairs for `neighbours`.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}. Pass 1 or more.")
    # Fewer than 2 * neighbours candidates would make the share tend to 1/2 whatever the features.
    unit_x, unit_y = unit_pairs(x, y, least=neighbours + 1)
    n = len(unit_x)
    rows = torch.cat([unit_x, unit_y])
    other = 0
    for start, cosine in cosine_chunks(rows, rows):
        query = torch.arange(start, start + len(cosine))
        cosine.scatter_(1, torch.stack([query, (query + n) % (2 * n)], dim=1), -torch.inf)
        nearest = cosine.topk(neighbours, dim=1).indices
        other += int(((nearest < n) != (query < n)[:, None]).sum())
    return other / (2 * n * neighbours) / 0.5


def _direction(ranks: Tensor) -> RetrievalDirection:
    return RetrievalDirection(
        recall_at_1=float((ranks <= 1).double().mean()),
        recall_at_5=float((ranks <= 5).double().mean()),
        median_rank=float(np.median(ranks.numpy())),
    )
