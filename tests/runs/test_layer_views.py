"""Layers of an experiment: which models, which images, how many of them, and the same numbers."""

import pytest
import torch

from socketlab.gap.layers import layer_names, layer_pair_features
from socketlab.gap.metrics import centroid_gap
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import gap_features
from socketlab.runs.layer_views import layer_frame, replaced_frame, statistics_frame


def test_every_stage_has_its_gap_before_and_after(adapted: Experiment) -> None:
    trip = adapted.trip()
    found = gap_features(adapted, trip)
    frame = layer_frame(adapted, trip, found, bootstrap=20)
    source, target = adapted.source_model(), adapted.target_model(trip)
    assert isinstance(source, Classifier) and isinstance(target, Classifier)
    names = layer_names(source)
    assert list(dict.fromkeys(frame["layer"])) == list(names)
    pairs = found.pairs["TR"]
    about = (names, adapted.parameters.crop_pixels, adapted.precision)
    for moment, model in (("before", source), ("after", target)):
        features = layer_pair_features(source, model, pairs, *about)
        mine = frame[(frame["moment"] == moment) & (frame["measure"] == "centroid gap")]
        for layer, value in zip(mine["layer"], mine["value"], strict=True):
            halves = features[layer]
            assert value == pytest.approx(centroid_gap(halves.rgb, halves.other), abs=1e-6)


def test_one_layer_can_be_asked_for(adapted: Experiment) -> None:
    trip = adapted.trip()
    frame = layer_frame(
        adapted, trip, gap_features(adapted, trip), ["stages.3.conv1"], "TI", bootstrap=20
    )
    assert set(frame["layer"]) == {"stages.3.conv1"}


def test_before_a_transfer_only_the_source_model_is_looked_at(adapted: Experiment) -> None:
    trip = adapted.trip("shot")
    found = gap_features(adapted, trip)
    assert set(layer_frame(adapted, trip, found, bootstrap=20)["moment"]) == {"before"}
    assert set(statistics_frame(adapted, trip, found)["moment"]) == {"source", "before"}


def test_statistics_are_those_of_every_layer(adapted: Experiment) -> None:
    trip = adapted.trip()
    frame = statistics_frame(adapted, trip, gap_features(adapted, trip))
    assert set(frame["moment"]) == {"source", "before", "after"}
    counts = frame.groupby("moment")["layer"].nunique()
    assert counts.nunique() == 1 and counts.iloc[0] > 10
    means = frame.groupby("moment")["mean_gap"].mean()
    assert means["source"] < means["before"]


def test_nothing_replaced_is_the_source_models_accuracy(adapted: Experiment) -> None:
    trip = adapted.trip()
    before = {n: v.clone() for n, v in adapted.source_model().state_dict().items()}
    frame = replaced_frame(adapted, trip).set_index("layer")
    accuracy = adapted.score(adapted.source_model(), trip).accuracy
    assert frame.loc["none", "accuracy"] == pytest.approx(accuracy)
    assert "all" in frame.index and len(frame) > 10
    after = adapted.source_model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_of_several_sources_the_first_is_looked_at(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = adapted.source_model()
    assert isinstance(one, Classifier)
    found = gap_features(adapted, adapted.trip("shot"))
    monkeypatch.setattr(adapted, "source_model", lambda *_: Mixture([one, one]))
    frame = statistics_frame(adapted, adapted.trip("shot"), found)
    assert "the first" in capsys.readouterr().out
    assert not frame.empty
