"""The projection: one joint fit, honest sampling, repeatable, cached without pickles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from socketlab.gap import projection
from socketlab.gap.projection import Projection, describe, project
from socketlab.gap.projection_fits import Layout

Array = npt.NDArray[np.float32]


def _groups(n: int = 60, d: int = 70) -> dict[str, Array]:
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((4, d)) * 2
    rgb = centres[np.arange(n) % 4] + draw.standard_normal((n, d))
    return {
        "rgb": rgb.astype(np.float32),
        "depth": (rgb + 0.3 * draw.standard_normal((n, d)) + 1).astype(np.float32),
    }


def _joint(groups: dict[str, Array]) -> npt.NDArray[np.float64]:
    rows = np.concatenate(list(groups.values())).astype(np.float64)
    unit: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _order(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """All other rows by distance, nearest first: [n, n - 1]."""
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(distance, -1)
    return np.argsort(distance, axis=1)[:, 1:]


@pytest.fixture(scope="module")
def umap_fit() -> tuple[Projection, list[str]]:
    told: list[str] = []
    return project(_groups(), epochs=50, say=told.append), told


def test_umap_covers_every_row_and_says_why_one_waits(
    umap_fit: tuple[Projection, list[str]],
) -> None:
    fit, told = umap_fit
    assert {name: c.shape for name, c in fit.coordinates.items()} == {
        "rgb": (60, 2),
        "depth": (60, 2),
    }
    assert all(np.isfinite(c).all() for c in fit.coordinates.values())
    assert {name: rows.tolist() for name, rows in fit.kept.items()} == {
        "rgb": list(range(60)),
        "depth": list(range(60)),
    }
    assert fit.note == ""
    assert fit.seconds > 0
    assert told[-1] == "Laying out 120 points with UMAP."
    # With any other names or values, projections that are kept on disk would be fitted anew.
    assert fit.settings == {
        "method": "umap",
        "seed": 0,
        "most": 4000,
        "pca_dimensions": 50,
        "neighbours": 15,
        "epochs": 50,
        "umap-learn": version("umap-learn"),
        "scikit-learn": version("scikit-learn"),
    }


def test_umap_repeats_itself_in_silence_and_draws_no_global_numbers(
    umap_fit: tuple[Projection, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    again = project(_groups(), epochs=50)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    for name, coordinates in umap_fit[0].coordinates.items():
        np.testing.assert_array_equal(again.coordinates[name], coordinates)
    assert capfd.readouterr() == ("", "")
    other = project(_groups(), epochs=50, seed=1)
    assert not np.array_equal(other.coordinates["rgb"], again.coordinates["rgb"])


def test_umap_keeps_classes_together(umap_fit: tuple[Projection, list[str]]) -> None:
    plane = umap_fit[0].coordinates["rgb"].astype(np.float64)
    nearest = _order(plane)[:, 0]
    assert np.mean(nearest % 4 == np.arange(60) % 4) > 0.95


def test_quality_figures_match_their_definitions(umap_fit: tuple[Projection, list[str]]) -> None:
    fit = umap_fit[0]
    in_features = _order(_joint(_groups()))
    in_plane = _order(np.concatenate(list(fit.coordinates.values())).astype(np.float64))
    n, k = len(in_features), 15
    penalty, shared = 0, 0
    for i in range(n):
        rank = {int(row): place for place, row in enumerate(in_features[i], start=1)}
        penalty += sum(max(0, rank[int(j)] - k) for j in in_plane[i, :k])
        shared += len(set(in_features[i, :k]) & set(in_plane[i, :k]))
    trust = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty
    assert fit.trustworthiness == pytest.approx(trust, abs=1e-3)
    assert fit.neighbour_agreement == pytest.approx(shared / (n * k), abs=1e-3)


def test_pca_is_one_joint_fit() -> None:
    groups = _groups()
    fit = project({"rgb": groups["rgb"], "depth": torch.tensor(groups["depth"])}, method="pca")
    rows = _joint(groups)
    left, scale, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    plane = np.concatenate(list(fit.coordinates.values()))
    for axis in range(2):
        expected = left[:, axis] * scale[axis]
        sign = np.sign(expected @ plane[:, axis])
        np.testing.assert_allclose(plane[:, axis], sign * expected, atol=1e-4)
    assert plane.dtype == np.float32
    assert "neighbours" not in fit.settings


def test_the_sample_keeps_the_coordinates_of_its_rows_and_the_note_says_it() -> None:
    rows = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    groups = {"rgb": rows[:200], "depth": rows[200:], "nir": rows[100:300]}
    fit = project(groups, method="pca", most=70, paired=[("depth", "nir"), ("rgb", "depth")])
    assert {name: len(index) for name, index in fit.kept.items()} == dict.fromkeys(groups, 23)
    assert fit.note == "A sample of 69 of 600 rows: rgb 23 of 200, depth 23 of 200, nir 23 of 200."
    # Equal rows of two groups lie on one point.
    same = np.intersect1d(fit.kept["depth"] + 200, fit.kept["nir"] + 100)
    assert len(same)
    for row in same:
        np.testing.assert_allclose(
            fit.coordinates["depth"][fit.kept["depth"] == row - 200],
            fit.coordinates["nir"][fit.kept["nir"] == row - 100],
            atol=1e-5,
        )


def test_a_sample_by_class_is_said_and_classes_need_not_be_known_of_all_groups() -> None:
    rows = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
    classes = ["chair"] * 96 + ["lamp"] * 4
    fit = project(
        {"rgb": rows, "depth": rows + 1},
        method="pca",
        most=20,
        strata={"rgb": classes, "depth": classes},
    )
    assert fit.note == (
        "A sample of 20 of 200 rows, stratified by class: rgb 10 of 100, depth 10 of 100."
    )
    assert [sum(classes[row] == "lamp" for row in kept) for kept in fit.kept.values()] == [1, 1]
    some = project({"rgb": rows, "depth": rows + 1}, method="pca", most=20, strata={"rgb": classes})
    assert some.note.startswith(
        "A sample of 20 of 200 rows, stratified by class where classes are known: rgb 10"
    )
    assert project({"rgb": rows}, method="pca", strata={"rgb": classes}).note == ""


def test_few_points_reduce_the_neighbours_and_the_note_says_so(
    umap_fit: tuple[Projection, list[str]],
) -> None:
    groups = {name: rows[:6] for name, rows in _groups().items()}
    fit = project(groups, epochs=20)
    assert fit.settings["neighbours"] == 11
    assert fit.note == "11 neighbours instead of 15: there are only 12 points."
    with pytest.raises(ValueError, match="8 points are too few to lay out: pass 10"):
        project({name: rows[:4] for name, rows in groups.items()})


def _refuse_to_fit(*_: object, **__: object) -> Array:
    raise RuntimeError("fitted")


def test_the_cache_saves_the_second_fit_and_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, told = _groups(), list[str]()
    first = project(groups, method="pca", cache=tmp_path / "new" / "folder")
    monkeypatch.setattr(projection, "lay_out", _refuse_to_fit)
    second = project(groups, method="pca", cache=tmp_path / "new" / "folder", say=told.append)
    for name, coordinates in first.coordinates.items():
        np.testing.assert_array_equal(second.coordinates[name], coordinates)
    assert (second.trustworthiness, second.seconds) == (first.trustworthiness, first.seconds)
    assert second.neighbour_agreement == first.neighbour_agreement
    assert "read from the cache" in told[0]
    assert (first.cached, second.cached, second.start_seconds) == (False, True, 0.0)

    changed = {name: rows.copy() for name, rows in groups.items()}
    changed["depth"][5, 5] += 0.01
    renamed = {"rgb": groups["rgb"], "nir": groups["depth"]}
    calls: list[Callable[[], Projection]] = [
        lambda: project(changed, method="pca", cache=tmp_path / "new" / "folder"),
        lambda: project(renamed, method="pca", cache=tmp_path / "new" / "folder"),
        lambda: project(groups, method="pca", seed=1, cache=tmp_path / "new" / "folder"),
        lambda: project(groups, method="pca", most=50, cache=tmp_path / "new" / "folder"),
        lambda: project(groups, method="umap", cache=tmp_path / "new" / "folder"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="fitted"):
            call()


def test_the_cache_tells_a_fast_fit_from_a_seeded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umap_fit: tuple[Projection, list[str]]
) -> None:
    def lay_out(joint: Array, *_: object, **__: object) -> Layout:
        return Layout(joint[:, :2] + len(list(tmp_path.iterdir())), 0.0, 1.0)

    monkeypatch.setattr(projection, "lay_out", lay_out)
    groups = _groups()
    seeded = project(groups, cache=tmp_path)
    fast = project(groups, fast=True, cache=tmp_path)
    assert not np.array_equal(seeded.coordinates["rgb"], fast.coordinates["rgb"])
    for first, again in (
        (seeded, project(groups, cache=tmp_path)),
        (fast, project(groups, fast=True, cache=tmp_path)),
    ):
        assert again.cached
        np.testing.assert_array_equal(again.coordinates["rgb"], first.coordinates["rgb"])
    assert fast.note == again.note == "Fast: without a seed, so a new fit looks different."
    assert seeded.note == ""


def test_one_line_says_what_the_map_is_and_how_far_to_believe_it() -> None:
    made = Projection(
        coordinates={},
        kept={"rgb": np.arange(1200), "depth": np.arange(34)},
        method="tsne",
        settings={},
        trustworthiness=0.957,
        neighbour_agreement=0.404,
        seconds=3.44,
        note="",
        start_seconds=12.06,
    )
    start = (
        "t-SNE of 1,234 points (rgb 1,200, depth 34): trustworthiness 0.96, "
        "40% of neighbours kept; "
    )
    assert describe(made) == f"{start}laid out in 3.4 s after 12.1 s of importing and compiling."
    warm = replace(made, start_seconds=1e-6, note="A sample.")
    assert describe(warm) == f"{start}laid out in 3.4 s. A sample."
    stored = replace(made, start_seconds=0.0, cached=True)
    assert describe(stored) == f"{start}read from the cache, laid out in 3.4 s when it was made."


class _Trap:
    """Unpickling this creates a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_a_damaged_or_hostile_cache_file_is_replaced(tmp_path: Path) -> None:
    groups = _groups()
    first = project(groups, method="pca", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    trap = tmp_path.parent / f"{tmp_path.name}-sprung"

    def hostile() -> None:
        np.savez(file, plane=np.array([_Trap(trap)], dtype=object), quality=np.zeros(3))

    def misshapen() -> None:
        np.savez(file, plane=np.zeros((3, 2)), quality=np.zeros(3))

    for damage in (
        lambda: file.write_bytes(good[: len(good) // 2]),
        lambda: file.write_bytes(b""),
        lambda: np.savez(file, plane=np.zeros((120, 2))),
        misshapen,
        hostile,
    ):
        damage()
        told: list[str] = []
        again = project(groups, method="pca", cache=tmp_path, say=told.append)
        assert "fitting anew" in told[0]
        np.testing.assert_array_equal(again.coordinates["rgb"], first.coordinates["rgb"])
        assert [f.name for f in tmp_path.iterdir()] == [file.name]
    assert not trap.exists()


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        project(_groups(), method="pca", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_group_and_the_next_action() -> None:
    groups = _groups()
    bad = {name: rows.copy() for name, rows in groups.items()}
    bad["depth"][3, 2] = np.nan
    with pytest.raises(ValueError, match=r"Group 'depth' has 1 rows with NaN .* row 3"):
        project(bad)
    with pytest.raises(
        ValueError, match=r"Unknown projection 'som'\. Known: umap, pca, pacmap, ts"
    ):
        project(groups, method="som")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="No groups"):
        project({})
    with pytest.raises(ValueError, match="Groups differ in feature size"):
        project({"rgb": groups["rgb"], "depth": groups["depth"][:, :5]})
    with pytest.raises(ValueError, match="one column"):
        project({"rgb": groups["rgb"][:, :1]})
    with pytest.raises(ValueError, match="The joint set of 'rgb' is constant"):
        project({"rgb": np.ones((30, 4), dtype=np.float32)})
    with pytest.raises(ValueError, match=r"neighbours is 1\. Pass 2 or more"):
        project(groups, neighbours=1)
    with pytest.raises(ValueError, match=r"epochs is 0\. Pass 1 or more"):
        project(groups, epochs=0)
    with pytest.raises(ValueError, match="most is 1 for 2 groups"):
        project(groups, most=1)
    with pytest.raises(ValueError, match=r"Unknown group 'nir' in paired\. Known: rgb, depth"):
        project(groups, paired=[("rgb", "nir")])
    with pytest.raises(ValueError, match="'rgb' and 'depth' have 60 and 20"):
        project({"rgb": groups["rgb"], "depth": groups["depth"][:20]}, paired=[("rgb", "depth")])
    with pytest.raises(ValueError, match=r"strata of group 'rgb' has shape \(9,\) for 60 rows"):
        project(groups, strata={"rgb": [0] * 9})
    with pytest.raises(ValueError, match=r"fast is True for 'pca', but only 'umap'"):
        project(groups, method="pca", fast=True)


def test_the_package_imports_without_umap_and_scikit_learn() -> None:
    code = "import sys, socketlab.gap; print([m for m in ('umap', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
