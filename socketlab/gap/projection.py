"""Features of several groups in one plane: one joint fit, cached, with its own quality figures.

Points are comparable only within one joint fit, so all groups (RGB, depth before, depth after)
go in together. The recipe for UMAP is the one that was fastest at equal trustworthiness:
principal components to 50 dimensions first, `init="pca"`, 200 epochs, a seed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from socketlab.gap.pairs import Features, normalise, refuse_collapsed
from socketlab.gap.projection_cache import cache_file, read_cache, write_cache
from socketlab.gap.projection_sampling import keep_rows

Method: TypeAlias = Literal["umap", "pca"]
Coordinates: TypeAlias = npt.NDArray[np.float32]
Say: TypeAlias = Callable[[str], None]

PCA_DIMENSIONS = 50
QUALITY_POINTS = 1000
QUALITY_NEIGHBOURS = 15
LEAST_POINTS = 10


@dataclass(frozen=True, eq=False)
class Projection:
    """Where every kept row lies in the plane, and how far the plane can be believed.

    `coordinates[name]` is [n, 2] and belongs to the rows `kept[name]` of that group.
    `trustworthiness` in [0, 1]: neighbours in the plane are neighbours in feature space (at most
    1000 points). `neighbour_agreement` in [0, 1]: share of the 15 nearest neighbours in feature
    space, among all kept rows, that are still among the 15 nearest in the plane (for at most 1000
    points). `seconds` is what the fit took when it was made, import and compilation included.
    `note` says what was left out or changed; empty if nothing.
    """

    coordinates: dict[str, Coordinates]
    kept: dict[str, npt.NDArray[np.int64]]
    method: Method
    settings: dict[str, int | str]
    trustworthiness: float
    neighbour_agreement: float
    seconds: float
    note: str


def project(
    groups: Mapping[str, Features],
    *,
    method: Method = "umap",
    seed: int = 0,
    neighbours: int = 15,
    epochs: int = 200,
    most: int = 4000,
    paired: Sequence[tuple[str, str]] = (),
    cache: Path | None = None,
    say: Say | None = None,
) -> Projection:
    """Lay the groups' rows, [n, d] each with one d, out in the plane by ONE joint fit.

    Rows are L2-normalised. Where the groups hold more than `most` rows, a seeded sample in
    proportion to the groups' sizes is kept, and `note` says so; groups named in `paired` keep the
    same rows, so that partners stay partners. `neighbours` and `epochs` are UMAP's; `neighbours`
    is reduced (said in `note`) where there are fewer points. The same input and seed give the same
    coordinates on one machine. With a folder `cache`, a fit with the same features and settings is
    read back instead of repeated. `say` is told why one waits.

    Raises ValueError on an unknown method, no groups, a group with NaN, zero rows or another
    width, fewer than two columns, constant features, `paired` groups of unequal length, or fewer
    than 10 points.
    Source: McInnes et al., arXiv 1802.03426; trustworthiness: Venna and Kaski, 2001.
    """
    tell = say if say is not None else _nothing
    _check_settings(method, seed=seed, neighbours=neighbours, epochs=epochs, most=most)
    features = _unit_groups(groups)
    kept = keep_rows({n: len(f) for n, f in features.items()}, most=most, paired=paired, seed=seed)
    count = sum(len(rows) for rows in kept.values())
    if count < LEAST_POINTS:
        raise ValueError(f"{count} points are too few to lay out: pass {LEAST_POINTS} or more.")
    settings: dict[str, int | str] = {"method": method, "seed": seed, "most": most}
    settings |= {"pca_dimensions": min(PCA_DIMENSIONS, count - 1)}
    if method == "umap":
        settings |= {"neighbours": min(neighbours, count - 1), "epochs": epochs}
        settings |= {"umap-learn": version("umap-learn")}
    settings |= {"scikit-learn": version("scikit-learn")}

    file = cache_file(cache, features, kept, settings) if cache is not None else None
    stored = read_cache(file, kept, say=tell) if file is not None else None
    if stored is None:
        joint = np.concatenate([features[name][rows] for name, rows in kept.items()])
        started = time.perf_counter()
        plane = _fit(joint, settings, say=tell)
        seconds = time.perf_counter() - started
        quality = (*_quality(joint, plane, seed=seed), seconds)
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
        note=_note(features, kept, settings, neighbours=neighbours),
    )


def _nothing(_: str) -> None:
    pass


def _check_settings(method: str, **least_one: int) -> None:
    if method not in get_args(Method):
        raise ValueError(f"Unknown projection {method!r}. Known: {', '.join(get_args(Method))}.")
    for name, value in least_one.items():
        least = {"seed": 0, "neighbours": 2}.get(name, 1)
        if value < least:
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
    return {name: f.numpy().astype(np.float32) for name, f in features.items()}


def _fit(joint: Coordinates, settings: Mapping[str, int | str], *, say: Say) -> Coordinates:
    from sklearn.decomposition import PCA

    # The full solver: the randomised one, the default for large inputs, is less exact.
    dimensions = 2 if settings["method"] == "pca" else int(settings["pca_dimensions"])
    if settings["method"] == "pca" or joint.shape[1] > dimensions:
        joint = PCA(dimensions, svd_solver="full").fit_transform(joint).astype(np.float32)
    if settings["method"] == "pca":
        return joint
    if "umap" not in sys.modules:
        say("Importing umap and compiling: up to 20 s the first time.")
    say(f"Laying out {len(joint)} points with UMAP.")
    nearest = _nearest(joint, int(settings["neighbours"]))
    with warnings.catch_warnings():
        # umap says at import that its TensorFlow variant, which is not used here, is missing,
        # and when fitting that given neighbours rule out transforming new points: none are.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]", UserWarning)
        from umap import UMAP

        reducer = UMAP(
            n_neighbors=int(settings["neighbours"]),
            n_epochs=int(settings["epochs"]),
            init="pca",
            random_state=int(settings["seed"]),
            n_jobs=1,
            precomputed_knn=nearest,
        )
        return np.asarray(reducer.fit_transform(joint), dtype=np.float32)


def _nearest(rows: Coordinates, count: int) -> tuple[npt.NDArray[np.int32], Coordinates]:
    """The `count` nearest rows of each row, itself included, and their distances, [n, count].

    umap's own search calls Python once per couple below 4096 points (8 of 10 s at 4000) and
    compiles for most of a minute above.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count).fit(rows).kneighbors(rows, return_distance=False)
    # Measured anew: the search's matrix products leave a row at about 1e-8 from itself, and umap
    # takes the smallest distance that is not zero as each point's scale.
    columns = [np.linalg.norm(rows - rows[found[:, place]], axis=1) for place in range(count)]
    distances = np.stack(columns, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")
    return (
        np.take_along_axis(found, order, axis=1).astype(np.int32),
        np.take_along_axis(distances, order, axis=1).astype(np.float32),
    )


def _quality(joint: Coordinates, plane: Coordinates, *, seed: int) -> tuple[float, float]:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import NearestNeighbors

    points = np.random.default_rng(seed).permutation(len(joint))[:QUALITY_POINTS]
    # trustworthiness is defined for fewer neighbours than half the points.
    near = min(QUALITY_NEIGHBOURS, (len(points) - 1) // 2)
    trust = float(trustworthiness(joint[points], plane[points], n_neighbors=near))
    shares = []
    # One neighbour more than counted: among all kept rows a point also finds itself.
    found = [
        NearestNeighbors(n_neighbors=near + 1).fit(space).kneighbors(space[points])[1]
        for space in (joint, plane)
    ]
    for point, in_features, in_plane in zip(points, *found, strict=True):
        first = [row for row in in_features if row != point][:near]
        second = [row for row in in_plane if row != point][:near]
        shares.append(len(set(first) & set(second)) / near)
    return trust, float(np.mean(shares))


def _note(
    features: Mapping[str, npt.NDArray[np.float32]],
    kept: Mapping[str, npt.NDArray[np.int64]],
    settings: Mapping[str, int | str],
    *,
    neighbours: int,
) -> str:
    parts = []
    total, count = (sum(len(rows) for rows in table.values()) for table in (features, kept))
    if count < total:
        each = ", ".join(f"{name} {len(kept[name])} of {len(features[name])}" for name in kept)
        parts.append(f"A sample of {count} of {total} rows: {each}.")
    used = settings.get("neighbours", neighbours)
    if used != neighbours:
        parts.append(f"{used} neighbours instead of {neighbours}: there are only {count} points.")
    return " ".join(parts)
