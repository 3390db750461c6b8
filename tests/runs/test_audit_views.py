"""The audit of a transfer: the history of its labels, its images and partners, a lasso's rows."""

import numpy as np
import pytest
import torch

from socketlab.runs.audit_views import audit_points, audit_view
from socketlab.runs.experiment import Experiment
from socketlab.widgets.audit import Audit


def test_rows_are_the_adapted_images_with_their_truth(adapted: Experiment) -> None:
    trip = adapted.trip()
    view = audit_view(adapted, trip)
    assert view is not None
    views = adapted.views(trip.target, trip.protocol)
    assert tuple(view.frame["id"]) == views.target.images.ids
    truth = [views.evaluation.classes[k] for k in views.target_labels.labels.tolist()]
    assert view.frame["truth"].tolist() == truth
    assert view.last_labels == dict(zip(view.frame["id"], view.frame["last"], strict=True))


def test_pictures_and_partners_show_one_scene(adapted: Experiment) -> None:
    trip = adapted.trip()
    view = audit_view(adapted, trip)
    assert view is not None and view.partners is not None
    pairs = adapted.views(trip.target, trip.protocol).target_pairs
    assert pairs is not None
    for row in (0, 7, 20):
        place = pairs.target.ids.index(view.history.ids[row])
        np.testing.assert_array_equal(view.partners(row), pairs.source.raw[place].numpy())
        own = view.pictures(row)
        assert own is not None and own.shape[:2] == (32, 32)


def test_the_distance_is_that_of_the_partners_features(adapted: Experiment) -> None:
    trip = adapted.trip()
    view = audit_view(adapted, trip)
    points = audit_points(adapted, trip, view, 3000) if view else None
    assert view is not None and points is not None
    frame = points.frame
    mine = frame[frame["modality"] == "depth"].set_index("id")["distance after"]
    expected = mine[view.frame["id"]].to_numpy()
    np.testing.assert_allclose(view.frame["partner_distance"], expected, atol=1e-5)


def test_a_lasso_means_the_images_of_the_target(adapted: Experiment) -> None:
    """Also where it caught only their RGB halves."""
    trip = adapted.trip()
    view = audit_view(adapted, trip)
    points = audit_points(adapted, trip, view) if view else None
    assert view is not None and points is not None
    rgb = np.flatnonzero(points.frame["modality"] == "rgb")[[4, 9]]
    rows = view.rows_of(points, rgb)
    partners = points.frame["id"].iloc[points.partners(rgb)].tolist()
    assert [view.history.ids[row] for row in rows] == partners
    both = np.concatenate([rgb, points.partners(rgb)])
    assert sorted(view.rows_of(points, both)) == sorted(rows)
    audit = Audit(view.history, view.frame, view.pictures, view.partners)
    audit.show_rows(rows)
    assert audit.rows is not None and sorted(audit.rows) == sorted(rows)


def test_images_without_partners_are_audited_all_the_same(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trip = adapted.trip()
    views = adapted.views(trip.target, trip.protocol).replaced(target_pairs=None)
    monkeypatch.setattr(adapted, "views", lambda *_: views)
    view = audit_view(adapted, trip)
    assert view is not None and view.partners is None
    assert "partner_distance" not in view.frame
    assert audit_points(adapted, trip, view) is None
    assert "no partners" in capsys.readouterr().out


def test_some_images_may_lack_a_partner(
    adapted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = adapted.trip()
    views = adapted.views(trip.target, trip.protocol)
    assert views.target_pairs is not None
    fewer = views.target_pairs.rows(torch.arange(1, len(views.target_pairs)))
    lonely = views.target.images.ids.index(views.target_pairs.target.ids[0])
    monkeypatch.setattr(adapted, "views", lambda *_: views.replaced(target_pairs=fewer))
    view = audit_view(adapted, trip)
    assert view is not None and view.partners is not None
    assert view.partners(lonely) is None
    missing = view.frame["partner_distance"].isna()
    assert missing[missing].index.tolist() == [lonely]


def test_without_a_film_there_is_nothing_and_it_says_so(
    adapted: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit_view(adapted, adapted.trip("shot")) is None
    assert "film: 300" in capsys.readouterr().out
