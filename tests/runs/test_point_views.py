"""The points of an explorer: rows, partners, answers, distances and pictures, looked up by hand."""

import numpy as np
import pytest
import torch

from socketlab.gap.points import PointTable
from socketlab.models.translator import build_translator
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import GapFeatures, gap_features, map_features
from socketlab.runs.point_views import PaintedPictures, point_table


@pytest.fixture
def found(adapted: Experiment) -> GapFeatures:
    return gap_features(adapted, adapted.trip())


@pytest.fixture
def points(adapted: Experiment, found: GapFeatures) -> PointTable:
    projection = map_features(adapted, found, method="pca", points=90)
    return point_table(adapted, adapted.trip(), found, projection, {"nobody": "mug"})


def test_every_row_is_the_image_it_says(points: PointTable, found: GapFeatures) -> None:
    frame = points.frame
    assert set(frame["set"]) == {"TI", "TR"} and set(frame["modality"]) == {"rgb", "depth"}
    for row in range(0, len(frame), 5):
        entry, partner = frame.iloc[row], frame.iloc[frame["partner"].iloc[row]]
        pairs = found.pairs[entry["set"]]
        halves = (pairs.source, pairs.target)
        own, other = halves if entry["modality"] == "rgb" else halves[::-1]
        place = own.ids.index(entry["id"])
        assert partner["id"] == other.ids[place]
        x, y = (
            torch.nn.functional.normalize(half[place].double(), dim=0)
            for half in (
                found.features("after")[entry["set"]].rgb,
                found.features("after")[entry["set"]].other,
            )
        )
        assert entry["distance after"] == pytest.approx(float((x - y).norm()), abs=1e-5)
        outputs = found.outputs["after"][entry["set"]]
        half = outputs.rgb if entry["modality"] == "rgb" else outputs.other
        shares = half.logits[place].softmax(0)
        assert entry["prediction after"] == found.names[int(shares.argmax())]
        assert entry["confidence after"] == pytest.approx(float(shares.max()), abs=1e-5)


def test_right_and_wrong_are_known_of_tr_images_only(points: PointTable) -> None:
    frame = points.frame
    known = frame[frame["set"] == "TR"]
    expected = np.where(known["prediction before"] == known["class"], "right", "wrong")
    assert known["right before"].tolist() == expected.tolist()
    unknown = frame[frame["set"] == "TI"]
    assert set(unknown["right before"]) == {""} == set(unknown["class"])


def test_rgb_images_stay_and_the_others_move(points: PointTable) -> None:
    rgb = (points.frame["modality"] == "rgb").to_numpy()
    before, after = points.coordinates("before"), points.coordinates("after")
    np.testing.assert_array_equal(before[rgb], after[rgb])
    assert not np.allclose(before[~rgb], after[~rgb])


def test_pictures_are_the_stored_images(points: PointTable, found: GapFeatures) -> None:
    frame = points.frame
    row = int(np.flatnonzero((frame["set"] == "TR") & (frame["modality"] == "rgb"))[3])
    images = found.pairs["TR"].source
    stored = images.raw[images.ids.index(frame["id"].iloc[row])].numpy()
    np.testing.assert_array_equal(points.picture(row), stored)
    depth = points.picture(int(frame["partner"].iloc[row]))
    assert depth is not None and depth.shape == stored.shape and depth.dtype == np.uint8
    assert not np.array_equal(depth[..., 0], depth[..., 1])  # in colours
    assert points.translations is None  # the target model only repeats its channel


def test_a_translator_paints_the_other_modality_and_no_rgb(found: GapFeatures) -> None:
    pairs = found.pairs["TR"]
    translator = build_translator("pointwise")
    painted = PaintedPictures([(pairs.source, 0), (pairs.target, 2)], translator, 28, "replicate")
    assert painted.picture(0) is None
    shown = painted.picture(1)
    assert shown is not None and shown.shape == (28, 28, 3)
    unit = pairs.target.raw[2:3, 2:30, 2:30].float()
    low, high = pairs.target.format.low, pairs.target.format.high
    grey = ((unit.clamp(low, high) - low) / (high - low))[None]
    grey[pairs.target.raw[2:3, 2:30, 2:30][None] == 0] = 0
    with torch.no_grad():
        expected = (translator.eval()(grey)[0].clamp(0, 1) * 255).round()
    np.testing.assert_allclose(shown, expected.permute(1, 2, 0), atol=1)


def test_pseudo_labels_stand_at_the_images_that_have_one(
    adapted: Experiment, found: GapFeatures
) -> None:
    projection = map_features(adapted, found, method="pca", points=90)
    name = found.pairs["TR"].target.ids[projection.kept["TR rgb"][0]]
    frame = point_table(adapted, adapted.trip(), found, projection, {name: "mug"}).frame
    assert frame.loc[frame["pseudo-label"] == "mug", "id"].tolist() == [name]
