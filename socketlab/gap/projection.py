"""Features of several groups in one plane: one joint fit, cached, with its own quality figures.

Points are comparable only within one joint fit, so all groups (RGB, depth before, depth after)
go in together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from socketlab.gap.pairs import Features, normalise, refuse_collapsed
from socketlab.gap.projection_cache import cache_file, read_cache, write_cache
from socketlab.gap.projection_fits import (
    METHOD_NAMES,
    NEIGHBOURS,
    Method,
    Rows,
    Settings,
    fit_settings,
    lay_out,
)
from socketlab.gap.projection_quality import plane_quality
from socketlab.gap.projection_sampling import Strata, keep_rows

__all__ = ["Coordinates", "Method", "Projection", "describe", "project"]

Coordinates: TypeAlias = Rows
Say: TypeAlias = Callable[[str], None]

LEAST_POINTS = 10


@dataclass(frozen=True, eq=False)
class Projection:
    """Where every kept row lies in the plane, and how far the plane can be believed.

    `coordinates[name]` is [n, 2] and belongs to the rows `kept[name]` of that group.
    `trustworthiness` in [0, 1]: neighbours in the plane are neighbours in feature space (at most
    1000 points). `neighbour_agreement` in [0, 1]: share of the 15 nearest neighbours in feature
    space, among all kept rows, that are still among the 15 nearest in the plane (for at most 1000
    points). `seconds` is what the fit took when it was made; `start_seconds` is what importing and
    compiling took before it, this time: next to nothing from the second fit of a process on, and
    0 where the coordinates were `cached`. `note` says what was left out or changed; empty if
    nothing.
    """

    coordinates: dict[str, Coordinates]
    kept: dict[str, npt.NDArray[np.int64]]
    method: Method
    settings: dict[str, int | str]
    trustworthiness: float
    neighbour_agreement: float
    seconds: float
    note: str
    start_seconds: float = 0.0
    cached: bool = False


def project(
    groups: Mapping[str, Features],
    *,
    method: Method = "umap",
    seed: int = 0,
    neighbours: int | None = None,
    epochs: int = 200,
    most: int = 4000,
    paired: Sequence[tuple[str, str]] = (),
    strata: Strata | None = None,
    fast: bool = False,
    cache: Path | None = None,
    say: Say | None = None,
) -> Projection:
    """Lay the groups' rows, [n, d] each with one d, out in the plane by ONE joint fit.

    Rows are L2-normalised and, but for "pca", reduced to 50 principal components. Where the groups
    hold more than `most` rows, a seeded sample in proportion to the groups' sizes is kept, and
    `note` says so; groups named in `paired` keep the same rows, so that partners stay partners; of
    a group with a class per row in `strata` each class is kept in proportion, and at least once
    where there is room.

    `neighbours`: None is 15 for "umap", 10 for "pacmap" and 30 (the perplexity) for "tsne"; it is
    reduced (said in `note`) where there are too few points. `epochs` are UMAP's. The same input and
    seed give the same coordinates, bit for bit on one machine with one number of threads; only
    `fast`, for "umap" alone, does not: it has no seed and uses all cores (said in `note`). With a
    folder `cache`, a fit with the same features and settings is read back instead of repeated.
    `say` is told why one waits.

    Raises ValueError on an unknown method, a method whose library is missing, no groups, a group
    with NaN, zero rows or another width, fewer than two columns, constant features, `paired` groups
    of unequal length, classes that do not fit the rows, or fewer than 10 points.
    """
    tell = say if say is not None else _nothing
    _check_settings(method, seed=seed, neighbours=neighbours, epochs=epochs, most=most)
    asked = NEIGHBOURS.get(method) if neighbours is None else neighbours
    features = _unit_groups(groups)
    sizes = {name: len(rows) for name, rows in features.items()}
    kept = keep_rows(sizes, most=most, paired=paired, seed=seed, strata=strata)
    count = sum(len(rows) for rows in kept.values())
    if count < LEAST_POINTS:
        raise ValueError(f"{count} points are too few to lay out: pass {LEAST_POINTS} or more.")
    settings: dict[str, int | str] = {"method": method, "seed": seed, "most": most}
    settings |= fit_settings(method, count, neighbours=asked, epochs=epochs, fast=fast)

    file = cache_file(cache, features, kept, settings) if cache is not None else None
    stored = read_cache(file, kept, say=tell) if file is not None else None
    start_seconds = 0.0
    if stored is None:
        joint = np.concatenate([features[name][rows] for name, rows in kept.items()])
        layout = lay_out(joint, method, settings, say=tell)
        plane, start_seconds = layout.plane, layout.start_seconds
        quality = (*plane_quality(joint, plane, seed=seed), layout.seconds)
        if file is not None:
            write_cache(file, plane, quality)
    else:
        plane, quality = stored
    ends = np.cumsum([len(rows) for rows in kept.values()])[:-1]
    trustworthiness, agreement, seconds = quality
    return Projection(
        coordinates=dict(zip(kept, np.split(plane, ends), strict=True)),
        kept=kept,
        method=method,
        settings=settings,
        trustworthiness=trustworthiness,
        neighbour_agreement=agreement,
        seconds=seconds,
        note=_note(sizes, kept, settings, asked=asked, strata=strata),
        start_seconds=start_seconds,
        cached=stored is not None,
    )


def describe(projection: Projection) -> str:
    """One line to print beside a map: method, points, how far to believe it, time, and the note.

    For example "UMAP of 120 points (rgb 60, depth 60): trustworthiness 0.95, 53% of neighbours
    kept; laid out in 0.3 s."
    """
    each = ", ".join(f"{name} {len(rows):,}" for name, rows in projection.kept.items())
    total = sum(len(rows) for rows in projection.kept.values())
    time = f"laid out in {projection.seconds:.1f} s"
    if projection.cached:
        time = f"read from the cache, {time} when it was made"
    elif projection.start_seconds >= 0.05:
        time += f" after {projection.start_seconds:.1f} s of importing and compiling"
    return (
        f"{METHOD_NAMES[projection.method]} of {total:,} points ({each}): trustworthiness "
        f"{projection.trustworthiness:.2f}, {projection.neighbour_agreement:.0%} of neighbours "
        f"kept; {time}. {projection.note}"
    ).rstrip()


def how_far_to_believe(projection: Projection, fit: str = "one joint fit") -> str:
    """A few words below a map: the method, what `fit` it is, and how much of it is true."""
    return (
        f"{METHOD_NAMES[projection.method]}, {fit}; trustworthiness "
        f"{projection.trustworthiness:.2f}, neighbours kept {projection.neighbour_agreement:.0%}"
    )


def _nothing(_: str) -> None:
    pass


def _check_settings(method: str, **least_one: int | None) -> None:
    if method not in get_args(Method):
        raise ValueError(f"Unknown projection {method!r}. Known: {', '.join(get_args(Method))}.")
    for name, value in least_one.items():
        least = {"seed": 0, "neighbours": 2}.get(name, 1)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}. Pass {least} or more.")


def _unit_groups(groups: Mapping[str, Features]) -> dict[str, npt.NDArray[np.float32]]:
    if not groups:
        raise ValueError("No groups to lay out. Pass at least one, {name: features}.")
    features = {name: normalise(f, name=f"Group {name!r}") for name, f in groups.items()}
    widths = {name: f.shape[1] for name, f in features.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"Groups differ in feature size: {widths}. Take one encoder's features.")
    names = ", ".join(repr(name) for name in groups)
    if min(widths.values()) < 2:
        raise ValueError(f"Groups have one column: {widths}. A plane needs two or more.")
    refuse_collapsed(torch.cat(list(features.values())), name=f"The joint set of {names}")
    return {name: f.cpu().numpy().astype(np.float32) for name, f in features.items()}


def _note(
    sizes: Mapping[str, int],
    kept: Mapping[str, npt.NDArray[np.int64]],
    settings: Settings,
    *,
    asked: int | None,
    strata: Strata | None,
) -> str:
    parts = []
    total, count = sum(sizes.values()), sum(len(rows) for rows in kept.values())
    if count < total:
        each = ", ".join(f"{name} {len(kept[name])} of {sizes[name]}" for name in kept)
        how = ", stratified by class" if strata else ""
        if strata and len(strata) < len(sizes):
            how += " where classes are known"
        parts.append(f"A sample of {count} of {total} rows{how}: {each}.")
    used = settings.get("neighbours", asked)
    if used != asked:
        parts.append(f"{used} neighbours instead of {asked}: there are only {count} points.")
    if "fast" in settings:
        parts.append("Fast: without a seed, so a new fit looks different.")
    return " ".join(parts)
