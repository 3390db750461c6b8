"""Which rows of each group a projection keeps when there are too many for one fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Indices: TypeAlias = npt.NDArray[np.int64]
Strata: TypeAlias = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


def keep_rows(
    sizes: Mapping[str, int],
    *,
    most: int,
    paired: Sequence[tuple[str, str]],
    seed: int,
    strata: Strata | None = None,
) -> dict[str, Indices]:
    """Sorted row indices to keep per group: all, or at most `most` in proportion to the sizes.

    Every group keeps at least one row; groups that `paired` ties together, directly or through
    a third, keep the same rows. `strata` holds a class per row of a group: such a group, and its
    partners, keep each class in proportion, and at least one row of each where that many are kept.
    A function of sizes, order of the groups, classes and seed alone.
    Raises ValueError on unknown or unequally long paired groups, `most` below their number, or
    classes that do not fit the rows.
    """
    team = _teams(sizes, paired)
    classes = _classes(sizes, team, strata or {})
    total = sum(sizes.values())
    if total <= most:
        return {name: np.arange(size, dtype=np.int64) for name, size in sizes.items()}
    if most < len(sizes):
        raise ValueError(f"most is {most} for {len(sizes)} groups. Pass one point each or more.")
    kept: dict[str, Indices] = {}
    by_team: dict[str, Indices] = {}
    for position, (name, size) in enumerate(sizes.items()):
        if team[name] not in by_team:
            # One row each first, the rest in proportion and rounded down: never above `most`.
            spare = total - len(sizes)
            quota = 1 + (most - len(sizes)) * (size - 1) // spare
            order = np.random.default_rng([seed, position]).permutation(size)
            chosen = order[:quota]
            if team[name] in classes:
                chosen = _stratified(order, classes[team[name]], quota)
            by_team[team[name]] = np.sort(chosen).astype(np.int64)
        kept[name] = by_team[team[name]]
    return kept


def _stratified(order: Indices, classes: npt.NDArray[np.str_], quota: int) -> Indices:
    """The first rows of each class in `order`, as many as its share of `quota` (largest remainder).

    Where equal shares cannot all be served, `order` decides, so that no name is favoured.
    """
    names, first, of_row, counts = np.unique(
        classes[order], return_index=True, return_inverse=True, return_counts=True
    )
    take, rest = np.divmod(quota * counts, len(order))
    take[np.lexsort((first, -rest))[: quota - take.sum()]] += 1
    if quota >= len(names):
        for empty in np.flatnonzero(take == 0):
            take[take.argmax()] -= 1
            take[empty] = 1
    return np.concatenate([order[of_row == place][:n] for place, n in enumerate(take)])


def _classes(
    sizes: Mapping[str, int], team: Mapping[str, str], strata: Strata
) -> dict[str, npt.NDArray[np.str_]]:
    """Each team's classes, by its leader, as text: any labels can then be told apart."""
    classes: dict[str, npt.NDArray[np.str_]] = {}
    source: dict[str, str] = {}
    for name, given in strata.items():
        if name not in sizes:
            raise ValueError(f"Unknown group {name!r} in strata. Known: {', '.join(sizes)}.")
        labels = np.asarray(given).astype(np.str_)
        if labels.shape != (sizes[name],):
            raise ValueError(
                f"strata of group {name!r} has shape {labels.shape} for {sizes[name]} rows. "
                "Pass one class per row."
            )
        known = classes.setdefault(team[name], labels)
        other = source.setdefault(team[name], name)
        if (known != labels).any():
            row = int((known != labels).argmax())
            first, second = str(known[row]), str(labels[row])
            raise ValueError(
                f"Paired groups {other!r} and {name!r} have classes {first!r} and {second!r} in "
                f"row {row}. Partners need one class: leave one of the groups out of strata."
            )
    return classes


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
