"""The audit of pseudo-labels, against histories counted by hand and centroids in plain loops."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from socketlab.gap.audit import (
    SORTS,
    LabelHistory,
    audit_frame,
    choose,
    label_flow,
    sort_rows,
)

FloatArray = npt.NDArray[np.float64]
NAN = float("nan")

# Five images, three classes, epochs 0, 2, 3 (epoch 1 was not kept).
HISTORY = LabelHistory(
    ids=("p", "q", "r", "s", "t"),
    classes=("chair", "bed", "desk_lamp"),
    epochs=(0, 2, 3),
    pseudo_labels=np.array([[0, 1, 2, 0, 1], [1, 1, 2, 2, 1], [0, 1, 2, 2, 0]]),
    answers=np.array([[0, 0, 0, 0, 0], [1, 1, 2, 2, 1], [2, 1, 2, 2, 1]]),
    confidence=np.array(
        [[0.5, 0.6, NAN, 0.4, 0.8], [0.7, 0.6, 0.3, NAN, 0.9], [0.9, 0.3, 0.5, NAN, 1.0]]
    ),
    truth=np.array([0, 1, 0, 2, 1]),
)


def points(seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Features [5, 4] and probabilities [5, 3]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 4)), rng.dirichlet(np.ones(3), 5)


def distances(features: FloatArray, weights: FloatArray) -> list[list[float]]:
    """1 - cosine of each image to each class's centroid, in plain loops."""
    unit = []
    for row in features.tolist():
        row = [*row, 1.0]
        length = math.sqrt(sum(value * value for value in row))
        unit.append([value / length for value in row])
    found: list[list[float]] = [[] for _ in unit]
    for k in range(weights.shape[1]):
        total = sum(weights[i, k] for i in range(len(unit)))
        centre = [
            sum(weights[i, k] * unit[i][d] for i in range(len(unit))) / total
            for d in range(len(unit[0]))
        ]
        length = math.sqrt(sum(value * value for value in centre))
        for i, row in enumerate(unit):
            dot = sum(a * b for a, b in zip(row, centre, strict=True))
            found[i].append(1 - dot / length)
    return found


def test_a_row_per_image_counted_by_hand() -> None:
    frame = audit_frame(HISTORY)
    assert list(frame.index) == [0, 1, 2, 3, 4]
    assert list(frame["id"]) == ["p", "q", "r", "s", "t"]
    assert list(frame["first"]) == ["chair", "bed", "desk_lamp", "chair", "bed"]
    assert list(frame["last"]) == ["chair", "bed", "desk_lamp", "desk_lamp", "chair"]
    assert list(frame["answer"]) == ["desk_lamp", "bed", "desk_lamp", "desk_lamp", "bed"]
    assert list(frame["changes"]) == [2, 0, 0, 1, 1]
    assert list(frame["changed_at"].fillna(-1)) == [3, -1, -1, 2, 3]
    np.testing.assert_allclose(frame["confidence"], [0.9, 0.3, 0.5, NAN, 1])
    np.testing.assert_allclose(frame["mean_confidence"], [0.7, 0.5, 0.4, 0.4, 0.9])
    assert list(frame["truth"]) == ["chair", "bed", "chair", "desk_lamp", "bed"]
    assert list(frame["right"]) == [True, True, False, True, False]
    assert "margin" not in frame and "partner_distance" not in frame
    assert not {"truth", "right"} & set(audit_frame(replace(HISTORY, truth=None)))


def test_centroids_are_those_of_shot() -> None:
    features, probabilities = points()
    frame = audit_frame(HISTORY, features, probabilities, np.array([0.1, NAN, 0.3, 0.2, 0]))
    for row, found in enumerate(distances(features, probabilities)):
        first, second, _ = sorted(range(3), key=found.__getitem__)
        assert frame.loc[row, "nearest"] == HISTORY.classes[first]
        assert frame.loc[row, "second"] == HISTORY.classes[second]
        values = frame.loc[row, ["nearest_distance", "second_distance", "margin"]]
        expected = [found[first], found[second], found[second] - found[first]]
        np.testing.assert_allclose(values.to_numpy(dtype=float), expected, rtol=1e-9)
    np.testing.assert_allclose(frame["partner_distance"], [0.1, NAN, 0.3, 0.2, 0])


def test_a_second_round_forms_centroids_of_the_first_rounds_labels() -> None:
    features, probabilities = points(1)
    labels = np.argmin(distances(features, probabilities), axis=1)
    assert len(set(labels.tolist())) == 3
    expected = np.sort(distances(features, np.eye(3)[labels]), axis=1)
    frame = audit_frame(HISTORY, features, probabilities, rounds=2)
    np.testing.assert_allclose(frame["nearest_distance"], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(frame["second_distance"], expected[:, 1], atol=1e-9)


def test_images_and_classes_without_a_centroid_leave_the_others_as_they_are() -> None:
    features, probabilities = points()
    rest = np.array([0, 2, 4])
    expected = np.sort(distances(features[rest], probabilities[rest]), axis=1)
    features[1, 2], probabilities[3, 0] = np.inf, NAN
    frame = audit_frame(HISTORY, features, probabilities)
    np.testing.assert_allclose(frame.loc[rest, "nearest_distance"], expected[:, 0])
    np.testing.assert_allclose(frame.loc[rest, "margin"], expected[:, 1] - expected[:, 0])
    for name in ("nearest_distance", "second_distance", "margin"):
        assert frame[name].isna().tolist() == [False, True, False, True, False]
    assert list(frame.loc[[1, 3], "nearest"]) == ["", ""]

    hopeless = audit_frame(HISTORY, np.full((5, 4), NAN), probabilities)
    assert hopeless["margin"].isna().all()

    sure = np.tile([1.0, 0.0, 0.0], (5, 1))
    one = audit_frame(HISTORY, points()[0], sure)
    assert list(one["nearest"]) == ["chair"] * 5 and list(one["second"]) == [""] * 5
    assert one["nearest_distance"].notna().all() and one["margin"].isna().all()


def test_one_epoch_one_class_and_no_image() -> None:
    rows: dict[str, Any] = {
        name: getattr(HISTORY, name)[:1] for name in ("pseudo_labels", "answers", "confidence")
    }
    frame = audit_frame(replace(HISTORY, epochs=(7,), **rows))
    assert list(frame["changes"]) == [0] * 5 and frame["changed_at"].isna().all()
    assert list(frame["first"]) == list(frame["last"])

    zeros = np.zeros((3, 5), dtype=int)
    lonely = LabelHistory(HISTORY.ids, ("chair",), (0, 1, 2), zeros, zeros, np.ones((3, 5)))
    alone = audit_frame(lonely, points()[0], np.ones((5, 1)))
    assert list(alone["nearest"]) == ["chair"] * 5 and alone["margin"].isna().all()

    none = np.zeros((3, 0))
    empty = LabelHistory((), ("chair",), (0, 1, 2), none.astype(int), none.astype(int), none)
    assert len(audit_frame(empty, np.zeros((0, 4)), np.zeros((0, 1)))) == 0
    assert len(choose(audit_frame(empty), changed=1)) == 0
    flow = label_flow(empty)
    assert flow["changed"].isna().all() and list(flow["label/chair"]) == [0, 0, 0]


def test_flow_counted_by_hand() -> None:
    flow = label_flow(HISTORY)
    assert list(flow["epoch"]) == [0, 2, 3]
    np.testing.assert_allclose(flow["changed"], [NAN, 2 / 5, 2 / 5])
    np.testing.assert_allclose(flow["right"], [3 / 5, 3 / 5, 3 / 5])
    np.testing.assert_allclose(flow["answers_right"], [2 / 5, 3 / 5, 3 / 5])
    assert list(flow["label/chair"]) == [2, 0, 2]
    assert list(flow["label/bed"]) == [2, 3, 1]
    assert list(flow["label/desk_lamp"]) == [1, 2, 2]
    assert not {"right", "answers_right"} & set(label_flow(replace(HISTORY, truth=None)))


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"changed": 1}, [0, 3, 4]),
        ({"changed": 2}, [0]),
        ({"confidence_below": 0.5}, [1]),
        ({"confidence_below": 1.0}, [0, 1, 2]),
        ({"right": True}, [0, 1, 3]),
        ({"right": False}, [2, 4]),
        ({"label": "desk_lamp"}, [2, 3]),
        ({"label": "desk_lamp", "right": False}, [2]),
        ({"margin_below": 0.2}, [1, 3]),
        ({"margin_below": 0.2, "changed": 1, "right": True}, [3]),
        ({"changed": 3}, []),
    ],
)
def test_choose(filters: dict[str, Any], rows: list[int]) -> None:
    frame = audit_frame(HISTORY).assign(margin=[0.2, 0.1, NAN, 0.0, 0.4])
    found = choose(frame, **filters)
    assert found.dtype == np.int64 and found.tolist() == rows
    turned = choose(frame.iloc[::-1], **filters)  # the row numbers, in the frame's order
    assert turned.tolist() == rows[::-1]


def test_choose_says_which_column_is_lacking() -> None:
    frame = audit_frame(replace(HISTORY, truth=None))
    with pytest.raises(ValueError, match=r"no column 'right', only id, first.*Leave the filter"):
        choose(frame, right=True)
    with pytest.raises(ValueError, match="no column 'margin'"):
        choose(frame, margin_below=0.5)


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (None, [4, 3, 2, 1, 0]),
        ("most changes", [0, 4, 3, 2, 1]),
        ("latest change", [4, 0, 3, 2, 1]),
        ("least confident", [1, 2, 0, 4, 3]),
        ("smallest margin", [3, 1, 0, 4, 2]),
        ("farthest from its partner", [1, 2, 0, 4, 3]),
    ],
)
def test_sort_keeps_equals_in_order_and_puts_the_missing_last(
    by: str | None, rows: list[int]
) -> None:
    frame = audit_frame(HISTORY, partner_distance=np.array([0.1, 0.9, 0.5, NAN, 0.0]))
    frame = frame.assign(margin=[0.2, 0.1, NAN, 0.0, 0.4])
    assert sort_rows(frame, np.array([4, 3, 2, 1, 0]), by).tolist() == rows
    assert sort_rows(frame, np.array([2, 1]), by).tolist() == [row for row in rows if row in (1, 2)]
    assert by is None or by in SORTS


def test_sort_is_stable_for_many() -> None:
    frame = pd.DataFrame({"changes": np.arange(500) % 2})
    expected = [*range(1, 500, 2), *range(0, 500, 2)]
    assert sort_rows(frame, np.arange(500), "most changes").tolist() == expected


def test_sort_refuses_what_the_frame_does_not_know() -> None:
    frame = audit_frame(HISTORY)
    for by in ("colour", "smallest margin"):
        with pytest.raises(ValueError, match=rf"sort by '{by}'.*: most changes, latest change, "):
            sort_rows(frame, np.array([0]), by)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": (0, 2, 2)}, "from early to late"),
        ({"epochs": ()}, "one or more"),
        ({"classes": ("chair", "bed", "bed")}, "each once"),
        ({"classes": ()}, "one name or more"),
        ({"classes": ("chair", "bed")}, "pseudo_labels goes from 0 to 2, but there are 2 classes"),
        ({"ids": ("p", "q")}, r"pseudo_labels has shape \(3, 5\). Give .* = \(3, 2\)"),
        ({"answers": np.full((3, 5), -1)}, "answers goes from -1 to -1"),
        ({"answers": np.zeros((3, 5))}, "answers holds float64"),
        ({"confidence": np.zeros((2, 5))}, r"confidence has shape \(2, 5\)"),
        ({"confidence": np.full((3, 5), 80.0)}, "confidence goes from 80 to 80"),
        ({"confidence": np.full((3, 5), np.inf)}, "confidence goes from inf"),
        ({"confidence": np.full((3, 5), -0.1)}, "confidence goes from -0.1"),
        ({"truth": np.zeros(4, dtype=int)}, r"truth has shape \(4,\). Give \[images\] = \(5,\)"),
        ({"truth": np.full(5, 3)}, "truth goes from 3 to 3"),
    ],
)
def test_a_history_refuses(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(HISTORY, **changes)


def test_a_history_takes_what_is_only_rounding_or_no_number() -> None:
    assert len(replace(HISTORY, confidence=np.full((3, 5), 1.0005))) == 5
    assert audit_frame(replace(HISTORY, confidence=np.full((3, 5), NAN)))["confidence"].isna().all()


def test_the_frame_refuses_other_numbers_of_rows() -> None:
    features, probabilities = points()
    with pytest.raises(ValueError, match="Found no probabilities"):
        audit_frame(HISTORY, features)
    with pytest.raises(ValueError, match="Found no features"):
        audit_frame(HISTORY, None, probabilities)
    with pytest.raises(ValueError, match=r"features have shape \(4, 4\).*\[5, D\] and \(5, 3\)"):
        audit_frame(HISTORY, features[:4], probabilities)
    with pytest.raises(ValueError, match=r"probabilities \(5, 2\)"):
        audit_frame(HISTORY, features, probabilities[:, :2])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        audit_frame(HISTORY, features, probabilities * 5)
    with pytest.raises(ValueError, match=r"partner_distance has shape \(2,\)"):
        audit_frame(HISTORY, partner_distance=np.zeros(2))


def test_the_callers_arrays_are_not_changed() -> None:
    features, probabilities = points()
    before = features.copy(), probabilities.copy(), HISTORY.pseudo_labels.copy()
    frame = audit_frame(HISTORY, features, probabilities)
    sort_rows(frame, choose(frame), "smallest margin")
    after = features, probabilities, HISTORY.pseudo_labels
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    pd.testing.assert_frame_equal(frame, audit_frame(HISTORY, features, probabilities))
