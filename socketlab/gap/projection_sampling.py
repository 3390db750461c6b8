"""Which rows of each group a projection keeps when there are too many for one fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def keep_rows(
    sizes: Mapping[str, int], *, most: int, paired: Sequence[tuple[str, str]], seed: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Sorted row indices to keep per group: all, or at most `most` in proportion to the sizes.

    Every group keeps at least one row; groups that `paired` ties together, directly or through
    a third, keep the same rows. A function of sizes, order of the groups and seed alone.
    Raises ValueError on unknown or unequally long paired groups, or `most` below their number.
    """
    team = _teams(sizes, paired)
    total = sum(sizes.values())
    if total <= most:
        return {name: np.arange(size, dtype=np.int64) for name, size in sizes.items()}
    if most < len(sizes):
        raise ValueError(f"most is {most} for {len(sizes)} groups. Pass one point each or more.")
    kept: dict[str, npt.NDArray[np.int64]] = {}
    by_team: dict[str, npt.NDArray[np.int64]] = {}
    for position, (name, size) in enumerate(sizes.items()):
        if team[name] not in by_team:
            # One row each first, the rest in proportion and rounded down: never above `most`.
            spare = total - len(sizes)
            quota = 1 + (most - len(sizes)) * (size - 1) // spare
            order = np.random.default_rng([seed, position]).permutation(size)
            by_team[team[name]] = np.sort(order[:quota]).astype(np.int64)
        kept[name] = by_team[team[name]]
    return kept


def _teams(sizes: Mapping[str, int], paired: Sequence[tuple[str, str]]) -> dict[str, str]:
    team = {name: name for name in sizes}
    for first, second in paired:
        for name in (first, second):
            if name not in sizes:
                raise ValueError(f"Unknown group {name!r} in paired. Known: {', '.join(sizes)}.")
        if sizes[first] != sizes[second]:
            raise ValueError(
                f"Paired groups {first!r} and {second!r} have {sizes[first]} and {sizes[second]} "
                "rows. Row i of both must be one pair."
            )
        old, new = team[second], team[first]
        team = {name: new if leader == old else leader for name, leader in team.items()}
    return team
