"""Subsets of pairs, and their bootstrap resamples as weights of the subset's pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.gap.distributions import frechet_by_row, median_distance
from socketlab.gap.metrics import cka_by_row
from socketlab.gap.neighbours import unit_mixing, unit_mutual_neighbours, unit_partner_ranks

MIXING_NEIGHBOURS = 20
MUTUAL_NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)  # eq would compare tensors, whose truth value is undefined
class Subset:
    """Unit rows x [n, d] and y [n, e], partners where `paired`; what takes long is kept."""

    x: Tensor
    y: Tensor
    paired: bool

    @cached_property
    def ranks(self) -> tuple[Tensor, Tensor]:
        """Ranks of the partners, int64 [n] each: of y for x's queries, and of x for y's."""
        return unit_partner_ranks(self.x, self.y), unit_partner_ranks(self.y, self.x)

    @cached_property
    def mixing(self) -> Tensor:
        """Neighbour mixing of each row, [n, 2], columns x and y."""
        return unit_mixing(self.x, self.y, MIXING_NEIGHBOURS)

    @cached_property
    def mutual_neighbours(self) -> Tensor:
        """Share of neighbours in common of each pair, [n]."""
        return unit_mutual_neighbours(self.x, self.y, MUTUAL_NEIGHBOURS)

    @cached_property
    def bandwidth(self) -> float:
        """Width of the kernel of MMD."""
        return median_distance(self.x, self.y, seed=0)

    @cached_property
    def frechet(self) -> tuple[float, Tensor, Tensor]:
        """Frechet distance and how it moves by a row of x, [n], and of y, [n]."""
        return frechet_by_row(self.x, self.y)

    @cached_property
    def cka(self) -> tuple[float, Tensor]:
        """Linear CKA and how it moves by a pair, [n]."""
        return cka_by_row(self.x, self.y)


@dataclass(frozen=True, eq=False)
class Draw:
    """A subset and its resamples.

    Attributes:
        subset: the rows.
        weights_x, weights_y: [1 + b, n], how often a row counts: the subset itself first (ones),
            then b resamples. The same tensor where the subset is paired.
        seed: of what a measure draws itself: folds, relabellings.
    """

    subset: Subset
    weights_x: Tensor
    weights_y: Tensor
    seed: int

    @property
    def x(self) -> Tensor:
        """The subset's rows of x."""
        return self.subset.x

    @property
    def y(self) -> Tensor:
        """The subset's rows of y."""
        return self.subset.y

    def moved(self, value: float, by_x: Tensor, by_y: Tensor | None = None) -> Tensor:
        """A value [1 + b], given how it moves by one more of a row of x and of y, [n] each."""
        # Not (weights - 1) @ moves, which would make as many weights again.
        moves = self.weights_x @ by_x - by_x.sum()
        return value + (moves if by_y is None else moves + self.weights_y @ by_y - by_y.sum())

    def mean(self, answers: Tensor) -> Tensor:
        """Mean [1 + b] of an answer per pair, [n], or per row of x and y, [n, 2]."""
        n = len(answers)
        if answers.ndim == 1:
            return self.weights_x @ answers.double() / n
        of_x, of_y = answers.double().unbind(dim=1)
        return (self.weights_x @ of_x + self.weights_y @ of_y) / (2 * n)


def draws(
    x: Tensor,
    y: Tensor,
    sizes: tuple[int, int],
    seeds: Sequence[int],
    bootstrap: int,
) -> Iterator[tuple[Draw, Draw]]:
    """For each seed a random subset and a smaller one within it, each with resamples.

    Args:
        x, y: unit rows. Of equal length they are partners and stay together; else x and y are
            drawn and resampled independently.
        sizes: rows in the larger and in the smaller subset; the same `Draw` twice if equal.
        seeds: each decides its subsets and resamples.
        bootstrap: b, how many resamples.
    """
    paired = len(x) == len(y)
    whole = Subset(x, y, paired)
    for seed in seeds:
        random = np.random.default_rng(seed)
        order_x = random.permutation(len(x))
        order_y = order_x if paired else random.permutation(len(y))
        found = []
        for size in dict.fromkeys(sizes):
            weights_x = _weights(random, size, bootstrap, x.device)
            weights_y = weights_x if paired else _weights(random, size, bootstrap, y.device)
            subset = whole
            if (size, size) != (len(x), len(y)):
                subset = Subset(_chosen(x, order_x, size), _chosen(y, order_y, size), paired)
            found.append(Draw(subset, weights_x, weights_y, seed))
        yield found[0], found[-1]


def _chosen(rows: Tensor, order: npt.NDArray[np.int64], size: int) -> Tensor:
    return rows[torch.from_numpy(np.sort(order[:size])).to(rows.device)]


def _weights(
    random: np.random.Generator, size: int, bootstrap: int, device: torch.device
) -> Tensor:
    weights, shares = torch.ones(1 + bootstrap, size, dtype=torch.float64), np.full(size, 1 / size)
    # One after another: all counts of all resamples at once are as large again.
    for resample in weights[1:]:
        resample.copy_(torch.from_numpy(random.multinomial(size, shares)))
    return weights.to(device)
