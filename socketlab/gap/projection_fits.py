"""One joint fit by each method: principal components, UMAP, PaCMAP or t-SNE, with the time it took.

All but `pca` see the first 50 principal components and exact nearest neighbours, so that maps
differ by the method alone. Given its seed, a fit repeats itself bit for bit on one machine with one
number of threads; only the fast variant of UMAP, which has none, does not.
"""

from __future__ import annotations

import importlib
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Method: TypeAlias = Literal["umap", "pca", "pacmap", "tsne"]
Rows: TypeAlias = npt.NDArray[np.float32]
Settings: TypeAlias = Mapping[str, int | str]

METHOD_NAMES: Final[Mapping[Method, str]] = {
    "umap": "UMAP",
    "pca": "PCA",
    "pacmap": "PaCMAP",
    "tsne": "t-SNE",
}
# What each method's authors set; for t-SNE it is the perplexity.
NEIGHBOURS: Final[Mapping[Method, int]] = {"umap": 15, "pacmap": 10, "tsne": 30}
PCA_DIMENSIONS: Final = 50

_LIBRARIES: Final[Mapping[Method, str]] = {
    "umap": "umap-learn",
    "pacmap": "pacmap",
    "tsne": "openTSNE",
}
_WAITS: Final[Mapping[str, str]] = {
    "umap": "Importing umap and compiling: 5 to 50 s the first time, by the machine.",
    "umap fast": "Importing umap and compiling it for all cores: up to 30 s the first time.",
    "pca": "Importing scikit-learn: a few seconds the first time.",
    "pacmap": "Importing pacmap: up to a minute the first time ever, when it compiles, then less.",
    "tsne": "Importing openTSNE: a few seconds, more the first time ever.",
}
_started: set[str] = set()


@dataclass(frozen=True, eq=False)
class Layout:
    """Points in the plane, [n, 2], and seconds: `start_seconds` for importing and compiling (next
    to nothing when that was done before in this process), `seconds` for the layout itself."""

    plane: Rows
    start_seconds: float
    seconds: float


def fit_settings(
    method: Method, count: int, *, neighbours: int | None, epochs: int, fast: bool
) -> dict[str, int | str]:
    """All that decides the layout of `count` points besides the points and the seed.

    `neighbours`, None for "pca" alone, is reduced to what `count` points allow. Raises ValueError
    where `fast` is asked of another method than UMAP, or the library is missing.
    """
    if fast and method != "umap":
        raise ValueError(f"fast is True for {method!r}, but only 'umap' is faster without a seed.")
    settings: dict[str, int | str] = {"pca_dimensions": min(PCA_DIMENSIONS, count - 1)}
    if neighbours is not None and method != "pca":
        # PaCMAP takes 1 + 1/2 + 2 times as many partners of three kinds, all different; a
        # perplexity needs three times as many neighbours.
        most = {"umap": count - 1, "pacmap": (2 * count - 3) // 7, "tsne": (count - 1) // 3}
        settings["neighbours"] = min(neighbours, most[method])
        settings[_LIBRARIES[method]] = _version(method)
    if method == "umap":
        settings["epochs"] = epochs
    if fast:
        settings["fast"] = 1
    return settings | {"scikit-learn": version("scikit-learn")}


def lay_out(
    joint: Rows, method: Method, settings: Settings, *, say: Callable[[str], None]
) -> Layout:
    """Fit the rows [n, d]; the first fit of a process by this method says why one waits.

    What is imported and compiled is brought about by a fit of 40 random points beforehand, so that
    its time can be told apart. Raises ValueError where an optional library cannot be imported.
    """
    fit = _FITS[method]
    variant = f"{method} fast" if "fast" in settings else method
    begun = time.perf_counter()
    if variant not in _started:
        say(_WAITS[variant])
        toy = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
        fit(toy, {**settings, "neighbours": 5, "pca_dimensions": 4})
        _started.add(variant)
    ready = time.perf_counter()
    say(f"Laying out {len(joint)} points with {METHOD_NAMES[method]}.")
    plane = fit(joint, settings)
    return Layout(plane, start_seconds=ready - begun, seconds=time.perf_counter() - ready)


def nearest(rows: Rows, count: int) -> tuple[npt.NDArray[np.int32], Rows]:
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


def _components(joint: Rows, dimensions: int) -> Rows:
    from sklearn.decomposition import PCA

    # The full solver: the randomised one, the default for large inputs, is less exact.
    plane = PCA(dimensions, svd_solver="full").fit_transform(joint)
    return np.asarray(plane, dtype=np.float32)


def _reduced(joint: Rows, settings: Settings) -> Rows:
    dimensions = int(settings["pca_dimensions"])
    return _components(joint, dimensions) if joint.shape[1] > dimensions else joint


def _pca(joint: Rows, _: Settings) -> Rows:
    return _components(joint, 2)


def _umap(joint: Rows, settings: Settings) -> Rows:
    """The recipe that was fastest at equal trustworthiness: 50 components, init="pca", 200 epochs.

    Source: McInnes et al., arXiv 1802.03426.
    """
    rows, neighbours = _reduced(joint, settings), int(settings["neighbours"])
    fast = "fast" in settings
    with warnings.catch_warnings():
        # umap says at import that its TensorFlow variant, which is not used here, is missing,
        # and when fitting that given neighbours rule out transforming new points: none are.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]", UserWarning)
        from umap import UMAP

        reducer = UMAP(
            n_neighbors=neighbours,
            n_epochs=int(settings["epochs"]),
            init="pca",
            # With a seed umap moves one point after another, on one core.
            random_state=None if fast else int(settings["seed"]),
            n_jobs=-1 if fast else 1,
            precomputed_knn=nearest(rows, neighbours),
        )
        return np.asarray(reducer.fit_transform(rows), dtype=np.float32)


def _pacmap(joint: Rows, settings: Settings) -> Rows:
    """Wang et al., Understanding How Dimension Reduction Tools Work, JMLR 22 (2021)."""
    from sklearn.neighbors import NearestNeighbors

    library = _import("pacmap")
    rows, neighbours = _reduced(joint, settings), int(settings["neighbours"])
    # PaCMAP's own rule on exact neighbours: of the nearest the closest by d^2 / (s_i s_j), s being
    # the mean distance to the 4th to 6th. Its approximate search takes equal rows for the row
    # itself, and changes the number of threads of the whole process.
    search = NearestNeighbors(n_neighbors=min(neighbours + 50, len(rows) - 1)).fit(rows)
    distances, found = search.kneighbors()
    scale = np.maximum(distances[:, 3:6].mean(axis=1), 1e-10)
    scaled = (distances**2 / scale[:, None] / scale[found]).astype(np.float32)
    pairs = library.sample_neighbors_pair(rows, scaled, found.astype(np.int32), neighbours)
    # It reports every seed as a warning.
    log = logging.getLogger("pacmap")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        reducer = library.PaCMAP(
            n_neighbors=neighbours, pair_neighbors=pairs, random_state=int(settings["seed"])
        )
        return np.asarray(reducer.fit_transform(rows, init="pca"), dtype=np.float32)
    finally:
        log.setLevel(level)


def _tsne(joint: Rows, settings: Settings) -> Rows:
    """Van der Maaten and Hinton, JMLR 9 (2008), started from principal components: Kobak and
    Berens, Nature Communications 10 (2019)."""
    reducer = _import("openTSNE").TSNE(
        perplexity=int(settings["neighbours"]),
        neighbors="exact",
        random_state=int(settings["seed"]),
    )
    return np.asarray(reducer.fit(_reduced(joint, settings)), dtype=np.float32)


_FITS: Final[Mapping[Method, Callable[[Rows, Settings], Rows]]] = {
    "umap": _umap,
    "pca": _pca,
    "pacmap": _pacmap,
    "tsne": _tsne,
}


def _version(method: Method) -> str:
    library = _LIBRARIES[method]
    try:
        return version(library)
    except PackageNotFoundError as missing:
        raise ValueError(
            f"A map by {method!r} needs {library}, which is not installed. "
            'Install it (pip install "socketlab[maps]"), or pass method="umap".'
        ) from missing


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise ValueError(
            f"{module} is installed but cannot be imported ({problem}). Install it anew "
            '(pip install "socketlab[maps]"), or pass method="umap".'
        ) from problem
