"""Made-up pairs: each setting moves what it says and nothing else, and the numbers notice."""

import numpy as np
import pytest

from socketlab.gap.measures import MEASURES
from socketlab.gap.toys import CASES, calibration_case, made_up_pairs, toy_frame


def test_without_any_setting_partners_coincide() -> None:
    x, y = made_up_pairs(noise=0, n=50, d=6)
    np.testing.assert_allclose(x, y, atol=1e-12)


def test_an_offset_shifts_every_row_alike_by_its_length() -> None:
    x, y = made_up_pairs(noise=0, offset=0.5, n=50, d=9)
    shift = y - x
    np.testing.assert_allclose(shift, np.tile(shift[0], (50, 1)), atol=1e-12)
    assert np.linalg.norm(shift[0]) == pytest.approx(0.5 * 3)


@pytest.mark.parametrize("d", [6, 7])
def test_a_turn_keeps_lengths_and_turns_planes_by_its_angle(d: int) -> None:
    x, y = made_up_pairs(noise=0, turn=60, n=400, d=d)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    rotation = np.linalg.lstsq(x, y, rcond=None)[0]
    # d // 2 planes turned by 60 degrees, and of an odd number of columns one left as it is.
    assert np.trace(rotation) == pytest.approx(2 * (d // 2) * 0.5 + d % 2)


def test_strangers_change_places_and_the_cloud_stays() -> None:
    x, y = made_up_pairs(noise=0, strangers=0.4, n=50, d=6)
    moved = ~np.isclose(x, y).all(axis=1)
    assert moved.sum() == 20
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(y, axis=0), atol=1e-12)


def test_noise_has_the_size_asked_for_and_settings_share_their_draws() -> None:
    x, y = made_up_pairs(noise=0.5, n=2000, d=8)
    assert float((y - x).std()) == pytest.approx(0.5, rel=0.03)
    same, other = made_up_pairs(noise=1.0, n=2000, d=8)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_allclose(other - x, 2 * (y - x), atol=1e-12)


def test_the_frame_has_every_measure_and_tells_the_cases_apart() -> None:
    clouds = {name: calibration_case(name, n=200, d=16) for name in CASES}
    frame = toy_frame(clouds)
    assert list(frame.columns) == list(CASES) and list(frame.index) == list(MEASURES)
    assert frame.loc["R@1"].round().tolist() == [1, 0, 1, 0]
    assert frame.loc["linear CKA", "pairs + random rotation"] > 0.95
    assert frame.loc["PAD", "pairs + constant offset"] > 1.5


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"strangers is 1\.5"):
        made_up_pairs(strangers=1.5)
    with pytest.raises(ValueError, match="d is 1"):
        made_up_pairs(d=1)
    with pytest.raises(ValueError, match="Unknown case"):
        calibration_case("nothing")
