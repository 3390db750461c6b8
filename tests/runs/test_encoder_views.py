"""The table, the map and the pictures of two encoders, and what goes on when one of them stops."""

import numpy as np
import pytest
import torch

from socketlab.data.modality import PixelFormat
from socketlab.data.views import ImagePairs, Images
from socketlab.gap.metrics import centroid_gap
from socketlab.gap.procrustes import align
from socketlab.runs.encoder_views import PairPictures, gap_frame, gap_points, gap_rows
from socketlab.runs.two_encoders import EncodedPairs

N = 40


@pytest.fixture
def pairs() -> ImagePairs:
    """Forty pairs: pair k is the colour (k, 2 k, 3 k) and the 16-bit grey 257 k."""
    ids = tuple(f"pair-{row}" for row in range(N))
    steps = torch.arange(N, dtype=torch.int32)
    colour = torch.stack([steps, 2 * steps, 3 * steps], dim=1).byte()[:, None, None]
    grey = torch.from_numpy((257 * np.arange(N)).astype(np.uint16))[:, None, None]
    return ImagePairs(
        Images(colour.expand(N, 4, 4, 3), PixelFormat("rgb", 0, 255, None), ids),
        Images(grey.expand(N, 4, 4), PixelFormat("depth", 0, 65535, None), ids),
        ids,
    )


def _encoded(width: int = 8, noise: float = 0.2) -> EncodedPairs:
    first = torch.randn(N, 8)
    second = first[:, :width] + noise * torch.randn(N, width)
    return EncodedPairs(first, second, np.arange(N), ("rgb", "other"))


def test_every_measure_is_there_with_the_value_of_its_function() -> None:
    found = _encoded()
    frame = gap_frame(gap_rows(found))
    assert {"centroid gap", "RMG", "R@1", "linear CKA", "mutual neighbours"} <= set(frame.index)
    assert frame.loc["centroid gap", "value"] == f"{centroid_gap(found.first, found.second):.3f}"
    low, high = str(frame.loc["R@1", "95 % interval"]).split(" to ")
    assert float(low) <= float(str(frame.loc["R@1", "value"])) <= float(high)


def test_other_widths_stop_distances_and_nothing_else() -> None:
    frame = gap_frame(gap_rows(_encoded(width=5)))
    for name in ("centroid gap", "RMG", "R@1", "PAD"):
        assert (frame.loc[name, "value"], frame.loc[name, "95 % interval"]) == ("\N{EN DASH}", "")
        assert "x has 8 columns and y has 5" in str(frame.loc[name, "note"])
    for name in ("linear CKA", "mutual neighbours"):
        assert 0 < float(str(frame.loc[name, "value"])) < 1


def test_not_a_number_stops_measures_and_map_and_both_say_so(
    pairs: ImagePairs, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _encoded()
    found.second[7] = torch.nan
    frame = gap_frame(gap_rows(found))
    assert "NaN" in str(frame.loc["centroid gap", "note"])
    assert frame.loc["uniformity, x", "value"] != ""
    assert gap_points(found, pairs, most=100) is None
    assert "No map: Group 'other' has 1 rows with NaN" in capsys.readouterr().out


def test_points_are_the_pairs_with_their_distances_and_pictures(pairs: ImagePairs) -> None:
    found = _encoded()
    points = gap_points(found, pairs, most=100)
    assert points is not None
    assert points.moments == ("as is",)
    assert points.modalities == ("rgb", "other")
    assert points.partner.tolist() == [*range(N, 2 * N), *range(N)]
    x, y = (half / half.norm(dim=1, keepdim=True) for half in (found.first, found.second))
    distance = (x - y).norm(dim=1)
    np.testing.assert_allclose(points.distance("as is"), torch.cat([distance, distance]), rtol=1e-5)
    (row, partner), *_ = points.farthest(1, "as is").tolist()
    assert row == int(distance.argmax())
    assert points.frame["id"][row] == points.frame["id"][partner] == f"pair-{row}"
    assert "trustworthiness" in points.note
    first, second = points.picture(row), points.picture(partner)
    assert first is not None
    assert second is not None
    assert first[0, 0].tolist() == [row, 2 * row, 3 * row]
    assert second[0, 0].tolist() == [row] * 3


def test_a_sample_keeps_partners_and_pictures_together(pairs: ImagePairs) -> None:
    points = gap_points(_encoded(), pairs, most=30, seed=2)
    assert points is not None
    assert len(points) == 30
    for row in range(15):
        picture = points.picture(row)
        assert picture is not None
        assert points.frame["id"][row] == f"pair-{picture[0, 0, 0]}"
        assert points.frame["id"][row + 15] == points.frame["id"][row]
    assert "30 of 80" in points.note


def test_spaces_of_other_widths_share_the_map_of_the_rotated_half(pairs: ImagePairs) -> None:
    found = _encoded(width=5)
    points = gap_points(found, pairs, most=100, seed=3)
    expected = align(found.first, found.second, seed=3)
    assert points is not None
    assert points.moments == ("rotated",)
    assert points.frame["id"].tolist() == [f"pair-{row}" for row in expected.rows] * 2
    assert expected.note in points.note


def test_a_picture_of_one_channel_is_grey(pairs: ImagePairs) -> None:
    shown = PairPictures(pairs, [3, 9])
    assert shown.picture(1).shape == shown.picture(3).shape == (4, 4, 3)
    assert shown.picture(3)[0, 0].tolist() == [9, 9, 9]
    assert shown.picture(3).dtype == np.uint8
