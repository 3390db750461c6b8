"""The rows that a table of the gap can have: how each is computed, its range, how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from socketlab.gap.distributions import (
    p_value,
    relabelled_mmd,
    weighted_mmd,
    weighted_uniformity,
)
from socketlab.gap.metrics import (
    weighted_centroid_gap,
    weighted_pair_gap,
    weighted_rmg,
)
from socketlab.gap.resampling import MIXING_NEIGHBOURS, MUTUAL_NEIGHBOURS, Draw
from socketlab.gap.separability import CLASSIFIER_FOLDS, held_out_guesses

PERMUTATIONS = 200


@dataclass(frozen=True)
class Measure:
    """A row of the table.

    Attributes:
        compute: values [1 + b], of the subset and its resamples; [1] where it has no resamples.
            Raises ValueError where the features leave it undefined.
        lowest, largest: the measure's range.
        reads: how to read it, for n rows in the subset.
        paired, same_width: whether row i of both must be partners, and widths equal.
        sides: which matrices it looks at.
        couples: whether its time grows with n^2, so that many rows must be thinned.
        least: the fewest rows it can be computed from.
    """

    compute: Callable[[Draw], Tensor]
    lowest: float
    largest: float
    reads: Callable[[int], str]
    paired: bool = True
    same_width: bool = True
    sides: Literal["xy", "x", "y"] = "xy"
    couples: bool = False
    least: int = 2


def _fixed(text: str) -> Callable[[int], str]:
    return lambda n: text


def _with_chance(text: str, expected: Callable[[int], float]) -> Callable[[int], str]:
    def reads(n: int) -> str:
        chance = expected(n)
        return f"{text}; chance is {f'{chance:.2g}' if chance < 10 else f'{chance:,.0f}'}"

    return reads


def _residual(draw: Draw) -> Tensor:
    centroid = weighted_centroid_gap(draw.x, draw.y, draw.weights_x, draw.weights_y)
    return weighted_pair_gap(draw.x, draw.y, draw.weights_x) - centroid.square()


def _pad(draw: Draw) -> Tensor:
    named = draw.mean(held_out_guesses(draw.x, draw.y, seed=draw.seed))
    return (2 * (2 * named - 1)).clamp(min=0)


def _mmd_p_value(draw: Draw) -> Tensor:
    settings = {"permutations": PERMUTATIONS, "seed": draw.seed}
    relabelled = relabelled_mmd(draw.x, draw.y, draw.subset.bandwidth, **settings)
    return torch.tensor([p_value(relabelled)], dtype=torch.float64)


def _recall(most: int, *directions: int) -> Callable[[Draw], Tensor]:
    def compute(draw: Draw) -> Tensor:
        found = [(draw.subset.ranks[which] <= most).double() for which in directions]
        return draw.mean(torch.stack(found).mean(dim=0))

    return compute


def _recall_by_chance(most: int) -> Callable[[int], float]:
    return lambda n: min(1.0, most / n)


def _median_rank(direction: int) -> Callable[[Draw], Tensor]:
    def compute(draw: Draw) -> Tensor:
        ranks, order = draw.subset.ranks[direction].sort()
        n = len(ranks)
        counted = draw.weights_x[:, order].cumsum(dim=1)
        # The two middle ones of n (one for an odd n), each rank by its weight.
        middle = torch.arange((n - 1) // 2, n // 2 + 1, device=counted.device).double() + 0.5
        found = torch.searchsorted(counted, middle.repeat(len(counted), 1))
        return ranks[found].double().mean(dim=1)

    return compute


def _retrieval_rows() -> dict[str, Measure]:
    rows = {}
    for direction, name in enumerate(("x to y", "y to x")):
        for most in (1, 5):
            said = f"share of partners among the first {most}"
            reads = _with_chance(said, _recall_by_chance(most))
            rows[f"R@{most}, {name}"] = Measure(_recall(most, direction), 0, 1, reads, couples=True)
        reads = _with_chance("rank of the partner, 1 is first", lambda n: (n + 1) / 2)
        rows[f"median rank, {name}"] = Measure(
            _median_rank(direction), 1, torch.inf, reads, couples=True
        )
    return rows


def _uniformity(side: Literal["x", "y"], compute: Callable[[Draw], Tensor]) -> Measure:
    return Measure(
        compute,
        -8,
        0,
        _fixed(f"0: {side} is one point; about -4: spread over all directions"),
        paired=False,
        same_width=False,
        sides=side,
        couples=True,
    )


MEASURES: dict[str, Measure] = {
    "centroid gap": Measure(
        lambda draw: weighted_centroid_gap(draw.x, draw.y, draw.weights_x, draw.weights_y),
        0,
        2,
        lambda n: f"0: same centre; chance alone gives up to {(2 / n) ** 0.5:.2f}",
        paired=False,
    ),
    "pair gap": Measure(
        lambda draw: weighted_pair_gap(draw.x, draw.y, draw.weights_x),
        0,
        4,
        _fixed("0: partners coincide; it is the centroid gap squared plus the residual gap"),
    ),
    "residual gap": Measure(
        _residual, 0, 4, _fixed("0: partners coincide once the centres do; 2: strangers")
    ),
    "RMG": Measure(
        lambda draw: weighted_rmg(draw.x, draw.y, draw.weights_x),
        0,
        1,
        _fixed("0: partners coincide; 0.5: no closer than strangers"),
    ),
    "MMD^2": Measure(
        lambda draw: weighted_mmd(
            draw.x, draw.y, draw.weights_x, draw.weights_y, draw.subset.bandwidth
        ),
        -2,
        2,
        _fixed("0: same law (below 0: by chance); see its p-value"),
        paired=False,
        couples=True,
    ),
    "MMD^2 p-value": Measure(
        _mmd_p_value,
        0,
        1,
        _fixed("small: not the same law; mean, lowest and highest of the subsets"),
        paired=False,
        couples=True,
    ),
    "Frechet distance": Measure(
        lambda draw: draw.moved(*draw.subset.frechet),
        0,
        torch.inf,
        _fixed("0: same mean and covariance; too high for few rows"),
        paired=False,
    ),
    "PAD": Measure(
        _pad,
        0,
        2,
        _fixed("0: a linear classifier cannot tell the modalities apart; 2: always"),
        paired=False,
        least=CLASSIFIER_FOLDS,
    ),
    "neighbour mixing": Measure(
        lambda draw: draw.mean(draw.subset.mixing),
        0,
        2,
        _fixed(f"1: mixed; 0: split; of the {MIXING_NEIGHBOURS} nearest, without the partner"),
        couples=True,
        least=MIXING_NEIGHBOURS + 1,
    ),
    "R@1": Measure(
        _recall(1, 0, 1),
        0,
        1,
        _with_chance("1: every partner found", lambda n: 1 / n),
        couples=True,
    ),
    **_retrieval_rows(),
    "alignment": Measure(
        lambda draw: weighted_pair_gap(draw.x, draw.y, draw.weights_x),
        0,
        4,
        _fixed("0: partners coincide; 2: strangers; the pair gap by its other name"),
    ),
    "uniformity, x": _uniformity("x", lambda draw: weighted_uniformity(draw.x, draw.weights_x)),
    "uniformity, y": _uniformity("y", lambda draw: weighted_uniformity(draw.y, draw.weights_y)),
    "linear CKA": Measure(
        lambda draw: draw.moved(*draw.subset.cka),
        0,
        1,
        _fixed("1: same relations between items; blind to offset and rotation, so not a gap"),
        same_width=False,
    ),
    "mutual neighbours": Measure(
        lambda draw: draw.mean(draw.subset.mutual_neighbours),
        0,
        1,
        _with_chance(
            f"share of the {MUTUAL_NEIGHBOURS} nearest that both sides agree on; not a gap",
            lambda n: MUTUAL_NEIGHBOURS / max(1, n - 1),
        ),
        same_width=False,
        couples=True,
        least=2 * MUTUAL_NEIGHBOURS + 1,
    ),
}

MINIMAL = ("centroid gap", "residual gap", "RMG", "PAD", "R@1")
"""The honest minimal set: no single number is the gap."""
