"""The four clouds whose gap is known: every column of the calibration table."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from socketlab.gap import gap_table
from socketlab.gap.metrics import (
    centroid_gap,
    linear_cka,
    pair_gap,
    relative_modality_gap,
)
from socketlab.gap.neighbours import mutual_neighbours, neighbour_mixing, retrieval
from socketlab.gap.separability import proxy_a_distance
from socketlab.gap.toys import CASES, calibration_case

CALIBRATION = {  # centroid, residual, RMG, PAD, mixing, R@1, CKA
    "pairs + small noise": (0.01, 0.09, 0.04, 0.03, 1.00, 1.0, 0.92),
    "independent, same law": (0.05, 1.99, 0.50, 0.07, 1.00, 0.0, 0.06),
    "pairs + constant offset": (0.60, 0.05, 0.20, 1.99, 0.27, 1.0, 0.99),
    "pairs + random rotation": (0.05, 2.16, 0.52, 0.04, 1.00, 0.0, 1.00),
}
# PAD: two standard errors of 2000 guesses. Residual: the trace of a random rotation varies.
TOLERANCE = (0.008, 0.05, 0.008, 0.09, 0.03, 0.004, 0.008)


@pytest.mark.parametrize("name", CALIBRATION)
def test_calibration(name: str) -> None:
    x, y = calibration_case(name)
    found = (
        centroid_gap(x, y),
        pair_gap(x, y).residual,
        relative_modality_gap(x, y),
        proxy_a_distance(x, y),
        neighbour_mixing(x, y),
        retrieval(x, y).x_to_y.recall_at_1,
        linear_cka(x, y),
    )
    for value, expected, tolerance in zip(found, CALIBRATION[name], TOLERANCE, strict=True):
        assert value == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "with_partner"), [("pairs + small noise", 1.05), ("pairs + constant offset", 0.37)]
)
def test_leaving_the_partner_in_would_flatter_the_mixing(name: str, with_partner: float) -> None:
    rows = np.concatenate(calibration_case(name))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = NearestNeighbors(n_neighbors=20).fit(rows).kneighbors(return_distance=False)
    kept_in = 2 * np.mean((nearest < 1000) != (np.arange(2000) < 1000)[:, None])
    assert kept_in == pytest.approx(with_partner, abs=0.01)
    assert neighbour_mixing(rows[:1000], rows[1000:], neighbours=20) < kept_in - 0.03


def test_each_case_is_seen_by_the_measures_that_its_description_names() -> None:
    names = ("MMD^2", "MMD^2 p-value", "Frechet distance", "uniformity, y")
    tables = {
        case: {
            row.metric: row.value
            for row in gap_table(*calibration_case(case, n=400), measures=names, seeds=(0,))
        }
        for case in CASES
    }
    offset = tables["pairs + constant offset"]
    for case in set(CASES) - {"pairs + constant offset"}:
        table = tables[case]
        # The whole clouds lie where they did: only the offset moves them.
        assert abs(table["MMD^2"]) < 0.005 < 0.05 < offset["MMD^2"]
        assert table["MMD^2 p-value"] > 0.03 > 0.01 > offset["MMD^2 p-value"]
        assert table["Frechet distance"] < 0.12 < 0.35 < offset["Frechet distance"]
        assert table["uniformity, y"] == pytest.approx(-3.9, abs=0.05)
    # An offset crowds the rows around one direction.
    assert offset["uniformity, y"] > -3
    neighbours = {case: mutual_neighbours(*calibration_case(case, n=400)) for case in CASES}
    assert neighbours["pairs + random rotation"] == 1
    # Neither leaves the neighbourhoods as they are: an offset turns short rows more than long ones.
    for case in ("pairs + constant offset", "pairs + small noise"):
        assert 0.5 < neighbours[case] < 0.75
    assert neighbours["independent, same law"] < 0.06


def test_the_cases_are_what_they_are_called_at_any_size() -> None:
    cases = {case: calibration_case(case, n=3000, d=9, seed=4) for case in CASES}
    for x, y in cases.values():
        assert x.shape == y.shape == (3000, 9)
        assert np.array_equal(x, cases["pairs + small noise"][0])
    x, noisy = cases["pairs + small noise"]
    assert np.std(noisy - x) == pytest.approx(0.3, rel=0.05)
    shift = (cases["pairs + constant offset"][1] - x).mean(axis=0)
    assert np.linalg.norm(shift) == pytest.approx(0.75 * 3, rel=0.01)
    assert np.std(cases["pairs + constant offset"][1] - x - shift) == pytest.approx(0.05, rel=0.05)
    turned = cases["pairs + random rotation"][1]
    np.testing.assert_allclose(turned @ turned.T, x @ x.T, atol=1e-10)
    assert not np.allclose(turned, x)
    independent = cases["independent, same law"][1]
    assert abs(np.corrcoef(x.ravel(), independent.ravel())[0, 1]) < 0.03
    assert not np.array_equal(x, calibration_case(CASES[0], n=3000, d=9, seed=5)[0])


def test_unknown_cases_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown case 'noise'\. Known: pairs [+] small noise; "):
        calibration_case("noise")
    for n, d in ((1, 4), (4, 0)):
        with pytest.raises(ValueError, match=f"n is {n} and d is {d}"):
            calibration_case(CASES[0], n=n, d=d)
