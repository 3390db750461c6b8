"""What nearest neighbours say of the gap: the partner's rank, mixing, neighbours in common.

The functions `unit_...` are what `table.gap_table` calls: on rows of unit length, an answer per
row, so that it can resample the answers. They cost n^2 time and a chunk of rows of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from socketlab.gap.pairs import Features, cosine_chunks, refuse_collapsed, unit_pairs

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
    return unit_partner_ranks(*unit_pairs(queries, gallery))


def retrieval(x: Features, y: Features) -> Retrieval:
    """R@1, R@5 and median rank of the partner by cosine, in both directions, with chance.

    [n, d] paired features; recalls in [0, 1]; chance is 1/n and min(1, 5/n). Ties count against
    the query. Raises ValueError on bad input.
    """
    unit_x, unit_y = unit_pairs(x, y)
    x_to_y, y_to_x = unit_partner_ranks(unit_x, unit_y), unit_partner_ranks(unit_y, unit_x)
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
    _refuse_none(neighbours)
    # Fewer than 2 * neighbours candidates would make the share tend to 1/2 whatever the features.
    unit_x, unit_y = unit_pairs(x, y, least=neighbours + 1)
    return float(unit_mixing(unit_x, unit_y, neighbours).mean())


def mutual_neighbours(x: Features, y: Features, *, neighbours: int = 10) -> float:
    """Share of an item's nearest neighbours in one space that are also nearest in the other.

    mean_i |N_x(i) and N_y(i) in common| / k, neighbours by cosine within each modality, the item
    itself left out. [n, d] and [n, e] features of the same n items, so it compares encoders of
    any two widths; in [0, 1]; 1: same neighbourhoods; chance gives k / (n - 1). Like CKA it is
    blind to rotation, so not a gap; unlike CKA it falls fast with noise and with an offset, which
    turns short rows more than long ones.
    Raises ValueError on bad input or fewer than 2 k + 1 items.
    Source: Huh et al., ICML 2024 (arXiv 2405.07987), mutual k-nearest-neighbour alignment.
    """
    _refuse_none(neighbours)
    unit_x, unit_y = unit_pairs(x, y, least=2 * neighbours + 1, same_width=False)
    return float(unit_mutual_neighbours(unit_x, unit_y, neighbours).mean())


def unit_partner_ranks(queries: Tensor, gallery: Tensor) -> Tensor:
    """`partner_ranks` of unit rows [n, d]: int64 [n]."""
    partner = (queries * gallery).sum(dim=1, keepdim=True)
    ranks = [
        (cosine > partner[start : start + len(cosine)] - TIE).sum(dim=1)
        for start, cosine in cosine_chunks(queries, gallery)
    ]
    return torch.cat(ranks)


def unit_mixing(x: Tensor, y: Tensor, neighbours: int) -> Tensor:
    """`neighbour_mixing` of each unit row, float64 [n, 2], columns x, y.

    Raises ValueError where all rows of both are one point, so that no one is nearer.
    """
    rows, n = torch.cat([x, y]), len(x)
    refuse_collapsed(rows, name="x and y together")
    others = []
    for start, cosine in cosine_chunks(rows, rows):
        query = torch.arange(start, start + len(cosine), device=rows.device)
        cosine.scatter_(1, torch.stack([query, (query + n) % (2 * n)], dim=1), -torch.inf)
        nearest = cosine.topk(neighbours, dim=1).indices
        others.append(((nearest < n) != (query < n)[:, None]).sum(dim=1))
    return torch.cat(others).double().reshape(2, n).T / neighbours / 0.5


def unit_mutual_neighbours(x: Tensor, y: Tensor, neighbours: int) -> Tensor:
    """`mutual_neighbours` of each pair of unit rows, float64 [n].

    Raises ValueError where all rows of one side are one point, so that no one is nearer.
    """
    refuse_collapsed(x, name="x")
    refuse_collapsed(y, name="y")
    common = []
    for (start, in_x), (_, in_y) in zip(cosine_chunks(x, x), cosine_chunks(y, y), strict=True):
        itself = torch.arange(start, start + len(in_x), device=x.device)[:, None]
        nearest = [
            cosine.scatter_(1, itself, -torch.inf).topk(neighbours, dim=1).indices
            for cosine in (in_x, in_y)
        ]
        is_near = torch.zeros_like(in_x, dtype=torch.bool).scatter_(1, nearest[0], True)
        common.append(is_near.gather(1, nearest[1]).sum(dim=1))
    return torch.cat(common).double() / neighbours


def _refuse_none(neighbours: int) -> None:
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}. Pass 1 or more.")


def _direction(ranks: Tensor) -> RetrievalDirection:
    return RetrievalDirection(
        recall_at_1=float((ranks <= 1).double().mean()),
        recall_at_5=float((ranks <= 5).double().mean()),
        median_rank=float(np.median(ranks.cpu().numpy())),
    )
