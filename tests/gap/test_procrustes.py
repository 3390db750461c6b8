"""Rotating one space onto another: what it undoes, what it cannot, and where it is measured."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import ortho_group

from socketlab.gap.neighbours import retrieval
from socketlab.gap.procrustes import Aligned, align

Array = npt.NDArray[np.float64]


def _rows(n: int, d: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((n, d))


def _rotation(d: int, seed: int = 0) -> Array:
    return np.asarray(ortho_group.rvs(d, random_state=seed))


def _distance(found: Aligned) -> float:
    return float((found.x - found.y).norm(dim=1).mean())


def test_a_random_rotation_is_undone_on_pairs_that_were_not_fitted() -> None:
    x = _rows(400, 16, 0)
    found = align(x, x @ _rotation(16))
    assert found.x.shape == (200, 16)
    assert _distance(found) < 1e-10
    assert (found.columns, found.kept_x, found.kept_y) == (16, 1.0, 1.0)


def test_rotation_and_offset_are_undone_up_to_the_offset_on_the_sphere() -> None:
    """Rows are scaled to length one first, so an offset bends the cloud a little."""
    x = _rows(400, 16, 0)
    found = align(x, (x + 0.1) @ _rotation(16))
    before = np.linalg.norm(_unit(x) - _unit((x + 0.1) @ _rotation(16)), axis=1).mean()
    assert before > 1.3
    assert _distance(found) < 0.15


def test_an_isometry_into_more_columns_is_undone() -> None:
    """12 columns, spread over 40: the cut to the common width must find where they went."""
    x = _rows(400, 12, 0) * np.linspace(1, 3, 12)
    found = align(x, x @ _rotation(40)[:12])
    assert (found.columns, found.x.shape, found.y.shape) == (12, (200, 12), (200, 12))
    assert _distance(found) < 1e-10
    assert found.kept_y == pytest.approx(1.0)


@pytest.mark.parametrize("width", [16, 40])
def test_strangers_are_not_helped_where_it_counts(width: int) -> None:
    x, y = _rows(400, 16, 0), _rows(400, width, 1)
    found = align(x, y)
    result = retrieval(found.x, found.y)
    assert result.x_to_y.recall_at_1 < 0.03  # chance is 0.005
    assert result.x_to_y.median_rank == pytest.approx(100, abs=25)
    # Where it was fitted, the same rotation does bring them closer than strangers are.
    again = align(np.tile(x[:100], (4, 1)), np.tile(y[:100], (4, 1)), columns=16)
    fitted = retrieval(again.x, again.y)
    assert fitted.x_to_y.median_rank < 0.75 * result.x_to_y.median_rank


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def test_it_is_the_best_rotation_of_the_fitting_half_and_no_other() -> None:
    """Against the textbook: R = UV' of the fitting half's cross-covariance, by hand."""
    x, y = _rows(120, 5, 0), _rows(120, 5, 1) + 0.5 * _rows(120, 5, 0)
    found = align(x, y, seed=3)
    fit = np.setdiff1d(np.arange(120), found.rows)
    assert found.fitted == len(fit) == 60
    unit_x, unit_y = _unit(x), _unit(y)
    mean_x, mean_y = unit_x[fit].mean(axis=0), unit_y[fit].mean(axis=0)
    u, _, v = np.linalg.svd((unit_y[fit] - mean_y).T @ (unit_x[fit] - mean_x))
    np.testing.assert_allclose(found.x, unit_x[found.rows] - mean_x, atol=1e-12)
    np.testing.assert_allclose(found.y, (unit_y[found.rows] - mean_y) @ (u @ v), atol=1e-12)


def test_rows_are_the_same_pairs_and_the_seed_draws_them() -> None:
    x = _rows(41, 4, 0)
    found = align(x, x, seed=1)
    assert (found.fitted, len(found.rows)) == (20, 21)
    assert (np.diff(found.rows) > 0).all()
    assert np.array_equal(align(x, x, seed=1).rows, found.rows)
    assert not np.array_equal(align(x, x, seed=2).rows, found.rows)


def test_few_pairs_get_few_columns_and_the_note_says_what_they_keep() -> None:
    x = _rows(80, 64, 0)
    found = align(x, x @ _rotation(64))
    assert (found.fitted, found.columns) == (40, 20)
    centre = _unit(x)[np.setdiff1d(np.arange(80), found.rows)].mean(axis=0)
    whole = _unit(x)[found.rows] - centre
    share = float(found.x.var(dim=0, correction=0).sum()) / whole.var(axis=0).sum()
    assert found.kept_x == pytest.approx(share)
    assert 0.2 < found.kept_x < 0.8
    for words in ("fitted on 40 pairs", "the other 40", "20 columns", f"{share:.0%}", "offset"):
        assert words in found.note


@pytest.mark.parametrize(
    ("x", "y", "columns", "words"),
    [
        (_rows(3, 4, 0), _rows(3, 4, 1), None, ["x has 3 rows", "this needs 4"]),
        (_rows(9, 4, 0), _rows(8, 4, 1), None, ["x has 9 rows and y has 8"]),
        (np.full((9, 4), np.nan), _rows(9, 4, 1), None, ["x has 9 rows with NaN"]),
        (_rows(9, 4, 0), np.ones((9, 4)), None, ["y is constant"]),
        (_rows(9, 4, 0), _rows(9, 3, 1), 4, ["columns is 4", "1 to 3", "4 pairs"]),
        (_rows(9, 4, 0), _rows(9, 3, 1), 0, ["columns is 0"]),
    ],
)
def test_bad_input(x: Array, y: Array, columns: int | None, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        align(x, y, columns=columns)
    for word in words:
        assert word in str(caught.value)
