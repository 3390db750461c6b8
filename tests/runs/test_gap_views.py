"""What the gap notebook is given: whose features, which classes, one map, rows that say enough."""

from typing import Any

import numpy as np
import pytest
import torch

from socketlab.figures import joint_map
from socketlab.gap.features import PairFeatures
from socketlab.gap.measures import MEASURES, MINIMAL
from socketlab.gap.table import GapRow
from socketlab.runs import gap_views
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import (
    gap_features,
    gap_frame,
    gap_rows,
    honest,
    map_features,
    map_panels,
)
from socketlab.training.inference import predict


def test_before_is_the_source_model_and_after_the_target_model(adapted: Experiment) -> None:
    trip = adapted.trip()
    found = gap_features(adapted, trip)
    assert found.moments == ("before", "after") and set(found.pairs) == {"TI", "TR"}
    source_model, target_model = adapted.source_model(), adapted.target_model(trip)
    assert target_model is not None
    crop = adapted.parameters.crop_pixels
    for name, pairs in found.pairs.items():
        rgb = predict(source_model, pairs.source, crop, adapted.precision).features
        for moment, model in (("before", source_model), ("after", target_model)):
            other = predict(model, pairs.target, crop, adapted.precision).features
            torch.testing.assert_close(found.features(moment)[name].rgb, rgb)
            torch.testing.assert_close(found.features(moment)[name].other, other)


def test_classes_are_those_of_the_labelled_images_and_ti_has_none(adapted: Experiment) -> None:
    trip = adapted.trip()
    found = gap_features(adapted, trip, sets=("TI", "TR", "adapted"))
    assert set(found.classes) == {"TR", "adapted"}
    samples = adapted.store.samples.set_index("id")["class"]
    for name, classes in found.classes.items():
        assert classes.tolist() == samples[list(found.pairs[name].target.ids)].tolist()


def test_before_a_transfer_there_is_no_after(adapted: Experiment) -> None:
    found = gap_features(adapted, adapted.trip("shot"))
    assert found.moments == ("before",)
    rows = gap_rows(found.features("before"), None)
    frame = gap_frame(rows, None)
    assert [c for c in frame.columns if "after" in c] == []
    assert list(frame.index) == list(MEASURES)


def test_the_map_keeps_partners_together_at_every_moment(adapted: Experiment) -> None:
    found = gap_features(adapted, adapted.trip())
    projection = map_features(adapted, found, method="pca", points=60)
    for name in ("TI", "TR"):
        kept = [projection.kept[f"{name} {half}"] for half in ("rgb", "before", "after")]
        np.testing.assert_array_equal(kept[0], kept[1])
        np.testing.assert_array_equal(kept[0], kept[2])
    assert "stratified" in projection.note


def test_both_moments_are_drawn_on_one_map(adapted: Experiment) -> None:
    found = gap_features(adapted, adapted.trip())
    projection = map_features(adapted, found, method="pca", points=100)
    before, after = map_panels(found, projection, "TR", by_class=True)
    np.testing.assert_array_equal(before.coordinates["RGB"], after.coordinates["RGB"])
    assert not np.allclose(before.coordinates["depth"], after.coordinates["depth"])
    assert before.labels is not None and set(before.labels["RGB"]) <= set(found.names)
    assert "PCA" in before.note and "trustworthiness" in before.note
    assert joint_map([before, after], shared_limits=True).axes


def test_a_measure_that_stopped_says_why_in_its_cell() -> None:
    good = GapRow("RMG", 0.25, 0.2, 0.3, 3, 10, "0: partners coincide", "exact")
    nan = float("nan")
    bad = GapRow("linear CKA", nan, nan, nan, 3, 0, "1: same", "stopped: y is constant")
    frame = gap_frame({"TR": [good, bad]}, {"TR": [good, good]})
    assert frame["TR pairs, before"].to_dict() == {
        "RMG": "0.250 [0.200, 0.300]",
        "linear CKA": "stopped: y is constant",
    }


def test_the_honest_set_is_the_minimal_one_with_the_accuracy(adapted: Experiment) -> None:
    found = gap_features(adapted, adapted.trip())
    rows = gap_rows(found.features("after"), 0.5)
    assert [row.metric for row in honest(rows["TR"])] == [*MINIMAL, "accuracy"]
    assert honest(rows["TR"])[-1].value == 0.5
    assert [row.metric for row in honest(rows["TI"])] == [*MINIMAL]


def test_without_any_pairs_it_says_what_to_do(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = adapted.views().replaced(pairs=None, evaluation_pairs=None)
    monkeypatch.setattr(adapted, "views", lambda *_: views)
    with pytest.raises(ValueError, match=r"no pairs with a/rgb.*Use a data set with pairs"):
        gap_features(adapted, adapted.trip())


def test_it_is_measured_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def table(x: torch.Tensor, y: torch.Tensor, **about: Any) -> list[GapRow]:
        found.extend([x.device.type, y.device.type])
        return []

    monkeypatch.setattr(gap_views, "gap_table", table)
    pairs = PairFeatures(torch.rand(4, 3), torch.rand(4, 3))
    gap_rows({"TI": pairs}, None, "meta")
    gap_rows({"TI": pairs}, None)
    assert found == ["meta", "meta", "cpu", "cpu"]
