"""Every method against its own library, repeatable, and with its waiting time told apart."""

from __future__ import annotations

import logging
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from socketlab.gap import projection_fits
from socketlab.gap.projection import Method, project
from socketlab.gap.projection_fits import nearest

Array = npt.NDArray[np.float32]
LIBRARIES = {"umap": "umap", "pca": "sklearn", "pacmap": "pacmap", "tsne": "openTSNE"}


def _rows(n: int = 120, d: int = 70) -> Array:
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((4, d)) * 2
    rows: Array = (centres[np.arange(n) % 4] + draw.standard_normal((n, d))).astype(np.float32)
    return rows


def _components(rows: Array) -> Array:
    wide = rows.astype(np.float64)
    unit = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    reduced: Array = PCA(50, svd_solver="full").fit_transform(unit).astype(np.float32)
    return reduced


@pytest.fixture(params=list(LIBRARIES))
def method(request: pytest.FixtureRequest) -> Method:
    pytest.importorskip(LIBRARIES[request.param])
    return request.param  # type: ignore[no-any-return]


def test_the_same_input_and_seed_give_the_same_bits_and_draw_no_global_numbers(
    method: Method, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    plane = project({"x": _rows()}, method=method, epochs=50).coordinates["x"]
    again = project({"x": _rows()}, method=method, epochs=50).coordinates["x"]
    np.testing.assert_array_equal(plane, again)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert plane.shape == (120, 2) and plane.dtype == np.float32


def test_another_seed_gives_another_plane_but_for_pca(method: Method) -> None:
    first, second = (
        project({"x": _rows()}, method=method, epochs=50, seed=seed).coordinates["x"]
        for seed in (0, 1)
    )
    assert np.array_equal(first, second) == (method == "pca")


def test_classes_lie_together(method: Method) -> None:
    plane = project({"x": _rows()}, method=method).coordinates["x"].astype(np.float64)
    distance = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert np.mean(distance.argmin(axis=1) % 4 == np.arange(120) % 4) > 0.95


@pytest.mark.parametrize("n", [10, 11, 12, 13, 37])
def test_few_points_are_laid_out_with_fewer_neighbours_and_the_note_says_so(
    method: Method, n: int
) -> None:
    fit = project({"x": _rows(n)}, method=method, epochs=20)
    assert np.isfinite(fit.coordinates["x"]).all()
    used = {"umap": min(15, n - 1), "pca": None, "tsne": (n - 1) // 3}.get(
        method, {10: 2, 11: 2, 12: 3, 13: 3, 37: 10}[n]
    )
    own = {"umap": 15, "pca": None, "pacmap": 10, "tsne": 30}[method]
    assert fit.settings.get("neighbours") == used
    said = f"{used} neighbours instead of {own}: there are only {n} points."
    assert fit.note == ("" if used == own else said)


def test_equal_rows_are_laid_out_by_every_method(method: Method) -> None:
    rows = _rows()
    rows[:60] = rows[0]
    assert np.isfinite(project({"x": rows}, method=method, epochs=20).coordinates["x"]).all()


def test_umap_with_given_neighbours_lays_out_as_well_as_with_its_own_search() -> None:
    from umap import UMAP

    rows = _components(_rows())
    plane = UMAP(n_epochs=50, init="pca", random_state=0, n_jobs=1).fit_transform(rows)
    own_search = trustworthiness(rows, plane, n_neighbors=15)
    ours = project({"x": _rows()}, epochs=50)
    assert ours.trustworthiness == pytest.approx(own_search, abs=0.01)


def test_fast_umap_has_no_seed_and_is_as_trustworthy() -> None:
    np.random.seed(1)
    first, second = (project({"x": _rows()}, epochs=100, fast=True) for _ in range(2))
    assert not np.array_equal(first.coordinates["x"], second.coordinates["x"])
    seeded = project({"x": _rows()}, epochs=100)
    assert first.trustworthiness == pytest.approx(seeded.trustworthiness, abs=0.03)
    assert first.settings == {**seeded.settings, "fast": 1}
    assert first.note == "Fast: without a seed, so a new fit looks different."


@pytest.mark.parametrize(("fast", "expected"), [(False, (3, 1)), (True, (None, -1))])
def test_only_fast_umap_is_given_all_cores(
    monkeypatch: pytest.MonkeyPatch, fast: bool, expected: tuple[int | None, int]
) -> None:
    umap = pytest.importorskip("umap")
    asked: list[tuple[int | None, int]] = []

    class Reducer:
        def __init__(self, *, random_state: int | None, n_jobs: int, **_: object) -> None:
            asked.append((random_state, n_jobs))

        def fit_transform(self, rows: Array) -> Array:
            return rows[:, :2]

    monkeypatch.setattr(umap, "UMAP", Reducer)
    project({"x": _rows()}, fast=fast, seed=3)
    assert set(asked) == {expected}


def test_neighbours_given_to_umap_are_exact_and_start_with_the_row_itself() -> None:
    rows = np.concatenate([_rows(60), _rows(60)[:3]])
    found, distances = nearest(rows, 6)
    wide = rows.astype(np.float64)
    expected = np.sort(np.linalg.norm(wide[:, None] - wide[None], axis=2), axis=1)[:, :6]
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert (distances[:, 0] == 0).all()
    np.testing.assert_array_equal(found[3:60, 0], np.arange(3, 60))


def test_pacmap_is_the_librarys_own_where_its_search_is_exact() -> None:
    library = pytest.importorskip("pacmap")
    rows = _components(_rows())
    own = library.PaCMAP(n_neighbors=10, random_state=0).fit_transform(rows, init="pca")
    ours = project({"x": _rows()}, method="pacmap").coordinates["x"]
    np.testing.assert_allclose(ours, own, atol=1e-3)


def test_pacmap_pairs_no_row_with_itself_where_rows_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = pytest.importorskip("pacmap")
    pairs: list[Array] = []

    own = library.PaCMAP

    def recorded(**options: Any) -> Any:
        pairs.append(options["pair_neighbors"])
        return own(**options)

    monkeypatch.setattr(library, "PaCMAP", recorded)
    rows = _rows()
    rows[:100] = rows[0]
    project({"x": rows}, method="pacmap")
    assert pairs[-1].shape == (1200, 2)
    assert (pairs[-1][:, 0] != pairs[-1][:, 1]).all()
    assert logging.getLogger("pacmap").level == logging.NOTSET


def test_tsne_is_the_librarys_own_with_exact_neighbours() -> None:
    library = pytest.importorskip("openTSNE")
    rows = _components(_rows())
    for perplexity, asked in ((30, None), (12, 12)):
        own = library.TSNE(perplexity=perplexity, neighbors="exact", random_state=0).fit(rows)
        ours = project({"x": _rows()}, method="tsne", neighbours=asked)
        np.testing.assert_allclose(ours.coordinates["x"], np.asarray(own), atol=1e-3)
        assert ours.settings["openTSNE"] == version("openTSNE")


def test_the_first_fit_says_why_one_waits_and_its_start_is_timed_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def fit(joint: Array, _: object) -> Array:
        calls.append(len(joint))
        time.sleep(0.3 if len(calls) == 1 else 0.1)
        return joint[:, :2]

    monkeypatch.setattr(projection_fits, "_started", set())
    monkeypatch.setattr(projection_fits, "_FITS", {"pacmap": fit})
    monkeypatch.setattr(projection_fits, "_version", lambda _: "1")
    told: list[str] = []
    first = project({"x": _rows()}, method="pacmap", say=told.append)
    assert calls == [40, 120]
    assert first.start_seconds >= 0.3 > first.seconds >= 0.1
    second = project({"x": _rows()}, method="pacmap", say=told.append)
    assert calls == [40, 120, 120]
    assert second.start_seconds < 0.1 <= second.seconds
    assert told == [
        "Importing pacmap: up to a minute the first time ever, when it compiles, then less.",
        "Laying out 120 points with PaCMAP.",
        "Laying out 120 points with PaCMAP.",
    ]


def test_fast_umap_is_compiled_and_announced_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_fits, "_started", set())
    monkeypatch.setattr(projection_fits, "_FITS", {"umap": lambda joint, _: joint[:, :2]})
    told: list[str] = []
    for fast in (False, True, False, True):
        project({"x": _rows()}, fast=fast, say=told.append)
    assert [text for text in told if "compiling" in text] == [
        "Importing umap and compiling: 5 to 50 s the first time, by the machine.",
        "Importing umap and compiling it for all cores: up to 30 s the first time.",
    ]


@pytest.mark.parametrize(("method", "library"), [("pacmap", "pacmap"), ("tsne", "openTSNE")])
def test_a_missing_library_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, method: Method, library: str
) -> None:
    def missing(name: str) -> str:
        if name == library:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(projection_fits, "version", missing)
    install = r'.*pip install "socketlab\[maps\]"'
    with pytest.raises(ValueError, match=f"'{method}' needs {library}, .*not installed{install}"):
        project({"x": _rows()}, method=method)

    # Installed, but broken: None makes an import fail.
    monkeypatch.setattr(projection_fits, "version", lambda _: "1")
    monkeypatch.setattr(projection_fits, "_started", set())
    monkeypatch.setitem(sys.modules, library, None)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{library} is installed but cannot .*{install}"):
            project({"x": _rows()}, method=method)
