"""Pictures of the audit: what is drawn is read back from the figure."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from socketlab.figures.audit import MOST_IMAGES, label_history
from socketlab.figures.label_flow import label_flow_figure
from socketlab.figures.style import MUTED, PAPER, RIGHT, WRONG, class_colours
from socketlab.gap.audit import LabelHistory, audit_frame

Check = Callable[[Figure], Any]
CLASSES = ("chair", "desk_lamp", "sofa", "bed")
COLOURS = [colour.lower() for colour in class_colours(CLASSES).values()]
NAN = float("nan")
HISTORY = LabelHistory(
    ids=("i0", "i1", "i2"),
    classes=CLASSES,
    epochs=(0, 2, 4, 9),
    pseudo_labels=np.array([[0, 1, 2], [0, 1, 3], [2, 1, 2], [2, 1, 2]]),
    answers=np.array([[0, 1, 2], [0, 1, 3], [2, 1, 2], [2, 3, 2]]),
    confidence=np.array([[0.5, 0.25, 1], [0.4, NAN, 0], [0.6, 0.5, 0.5], [0.8, 0.3, NAN]]),
    truth=np.array([2, 0, 2]),
)


def _random(images: int, classes: int, epochs: int) -> LabelHistory:
    """A history of names as long as they get, without a meaning."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, (epochs, images))
    return LabelHistory(
        ids=tuple(f"realsense/lecture_theatre/image_{k:06d}" for k in range(images)),
        classes=tuple(f"discussion_area_{k}" for k in range(classes)),
        epochs=tuple(range(100, 100 + epochs)),
        pseudo_labels=labels,
        answers=rng.integers(0, classes, (epochs, images)),
        confidence=rng.random((epochs, images)),
        truth=rng.integers(0, classes, images),
    )


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def _axes(figure: Figure) -> tuple[Any, Any]:
    """The one in inches with thumbnails, and the one of the strips."""
    canvas, strips = figure.axes
    return canvas, strips


def _boxes(collection: Any) -> list[tuple[str, float, float, float, float]]:
    """Colour, left, top, width and height of each box; across epochs kept, down inches."""
    colours = [to_hex(colour) for colour in collection.get_facecolor()]
    corners = [path.vertices for path in collection.get_paths()]
    boxes = [(*c.min(axis=0), *np.ptp(c, axis=0)) for c in corners]
    return [(colour, *box) for colour, box in zip(colours, boxes, strict=True)]


def test_strips_show_labels_in_runs_and_confidence_judged(check_figure: Check) -> None:
    figure = check_figure(label_history(HISTORY, [2, 0]))
    _, strips = _axes(figure)
    runs, bars = (_boxes(collection) for collection in strips.collections[-2:])
    drawn = [(colour, left, wide) for colour, left, _, wide, _ in runs]
    sofa, bed, chair = COLOURS[2], COLOURS[3], COLOURS[0]
    assert drawn == [(sofa, 0, 1), (bed, 1, 1), (sofa, 2, 2), (chair, 0, 2), (sofa, 2, 2)]
    assert {top for _, _, top, _, _ in runs[:3]} == {0.0}
    row = runs[3][2]
    assert row > 0 and strips.get_ylim() == (pytest.approx(2 * row), 0)

    heights = [high for *_, high in bars]
    assert np.divide(heights, heights[0]) == pytest.approx([1, 0, 0.5, 0.5, 0.4, 0.6, 0.8])
    filled = {to_hex(MUTED): True, to_hex(PAPER): False}
    assert [filled[colour] for colour, *_ in bars] == [True, False, True, False, False, True, True]
    floors = [top + high for _, _, top, _, high in bars]
    assert floors[3] == pytest.approx(floors[0] + row)
    centres = [left + wide / 2 for _, left, _, wide, _ in bars]
    assert centres == pytest.approx([0.5, 1.5, 2.5, 0.5, 1.5, 2.5, 3.5])
    marks = [text for text in strips.texts if text.get_text() == "\N{MULTIPLICATION SIGN}"]
    assert [mark.get_position()[0] for mark in marks] == [3.5]
    assert [label.get_text() for label in strips.get_xticklabels()] == ["0", "2", "4", "9"]


def test_words_beside_each_image(check_figure: Check) -> None:
    figure = check_figure(label_history(HISTORY, [0, 1, 2]))
    texts = _texts(figure)
    assert texts[0] == "Pseudo-labels of 3 of 3 images"
    start = texts.index("i0")
    assert texts[start : start + 12] == [
        *("i0", "✓ is sofa", "1 change, last at epoch 4", "80 % sure: sofa"),
        *("i1", "✗ is chair", "never changed", "30 % sure: bed"),
        *("i2", "✓ is sofa", "2 changes, last at epoch 4", "no confidence: sofa"),
    ]
    colours = {text.get_text(): text.get_color() for text in figure.texts}
    assert colours["✓ is sofa"] == RIGHT and colours["✗ is chair"] == WRONG
    assert "Last epoch" in texts and "Nearest centroids" not in texts
    assert "hollow" in " ".join(texts) and "cosine" not in " ".join(texts)


def test_without_truth_nothing_is_judged(check_figure: Check) -> None:
    figure = check_figure(label_history(replace(HISTORY, truth=None), [1, 0]))
    assert not any("✓" in text or "✗" in text or "hollow" in text for text in _texts(figure))
    bars = _boxes(_axes(figure)[1].collections[-1])
    assert {colour for colour, *_ in bars} == {to_hex(MUTED)}


def test_nearest_centroids_stand_beside(check_figure: Check) -> None:
    frame = audit_frame(HISTORY).assign(
        nearest=["desk_lamp", "sofa", ""],
        nearest_distance=[0.1234, 0.5, NAN],
        second=["bed", "", ""],
        second_distance=[0.75, NAN, NAN],
        margin=[0.6266, NAN, NAN],
    )
    texts = _texts(check_figure(label_history(HISTORY, [0, 1, 2], frame=frame)))
    found = [text for text in texts if text[:2] == "0." or "finite" in text]
    assert found == ["0.123  desk lamp", "0.750  bed", "0.500  sofa", "features are not finite"]
    assert "Nearest centroids" in texts and "1 - cosine" in " ".join(texts).replace("\n", " ")


def test_the_legend_names_the_classes_that_are_shown(check_figure: Check) -> None:
    figure = check_figure(label_history(HISTORY, [0]))
    canvas, _ = _axes(figure)
    (field, *swatches) = canvas.patches  # the field of the missing picture comes first
    assert [to_hex(swatch.get_facecolor()) for swatch in swatches] == [COLOURS[0], COLOURS[2]]
    assert field.get_width() == field.get_height() > swatches[0].get_width()
    texts = _texts(figure)
    assert "chair" in texts and "sofa" in texts and "bed" not in texts


def _pictures() -> list[npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (20, 40), dtype=np.uint8),
        rng.integers(0, 256, (40, 20, 3), dtype=np.uint8),
        rng.integers(0, 256, (30, 30), dtype=np.uint8),
    ]


def test_pictures_keep_their_shape_and_stand_in_their_row(check_figure: Check) -> None:
    images = _pictures()
    for given in (images, dict(enumerate(images)), images.__getitem__):
        canvas, _ = _axes(check_figure(label_history(HISTORY, [1, 0], given)))
        drawn = [np.asarray(image.get_array()) for image in canvas.images]
        np.testing.assert_array_equal(drawn[0], images[1])
        np.testing.assert_array_equal(drawn[1], images[0])
        (first, second) = [image.get_extent() for image in canvas.images]
        assert (first[2] - first[3]) / (first[1] - first[0]) == pytest.approx(2)
        assert (second[2] - second[3]) / (second[1] - second[0]) == pytest.approx(0.5)
        assert second[3] > first[2]  # one below the other
        assert first[2] - first[3] == pytest.approx(second[1] - second[0])  # the longer sides
        assert second[1] - second[0] == pytest.approx(0.64)
        assert not canvas.texts


def test_partners_have_a_column_of_their_own(check_figure: Check) -> None:
    images = _pictures()
    figure = check_figure(label_history(HISTORY, [0, 2], images, images[::-1]))
    canvas, _ = _axes(figure)
    assert {"Image", "Partner"} <= set(_texts(figure))
    shown = [np.asarray(image.get_array()).shape for image in canvas.images]
    assert shown == [(20, 40), (30, 30), (30, 30), (20, 40)]
    lefts = [image.get_extent()[0] for image in canvas.images]
    assert lefts[0] == lefts[2] < lefts[1] == lefts[3]
    assert "Partner" not in _texts(label_history(HISTORY, [0], images))


def _unreadable(row: int) -> npt.NDArray[Any]:
    raise OSError(f"No picture of {row}.")


@pytest.mark.parametrize(
    "pictures",
    [
        None,
        [],
        {},
        [None, None, None],
        _unreadable,
        np.zeros((3, 8, 8), dtype=np.float32),
        np.zeros((3, 8, 8, 4), dtype=np.uint8),
        np.zeros((3, 0, 8), dtype=np.uint8),
        np.zeros(3, dtype=np.uint8),
    ],
)
def test_a_missing_picture_is_a_field_that_says_so(check_figure: Check, pictures: Any) -> None:
    canvas, strips = _axes(check_figure(label_history(HISTORY, [0, 1], pictures)))
    assert [text.get_text() for text in canvas.texts] == ["no\npicture"] * 2
    assert not canvas.images
    assert len(_boxes(strips.collections[-2])) == 3


def test_more_rows_than_fit_are_counted(check_figure: Check) -> None:
    history = _random(40, 6, 3)
    figure = check_figure(label_history(history, range(30)))
    assert _texts(figure)[0] == "Pseudo-labels of 30 of 40 images: the first 24"
    bars = _boxes(_axes(figure)[1].collections[-1])
    assert len(bars) == MOST_IMAGES * 3
    share = (bars[0][4] / bars[1][4], history.confidence[0, 0] / history.confidence[1, 0])
    assert share[0] == pytest.approx(share[1])


def test_no_row_is_said(check_figure: Check) -> None:
    figure = check_figure(label_history(HISTORY, []))
    assert _texts(figure) == ["No image is chosen: loosen the filters"]


def test_label_history_refuses() -> None:
    for row in (3, -1):
        with pytest.raises(ValueError, match=rf"no row {row}\. Give rows of 0 to 2"):
            label_history(HISTORY, [0, row])
    with pytest.raises(ValueError, match="frame has 2 rows, the history 3 images"):
        label_history(HISTORY, [0], frame=audit_frame(HISTORY).iloc[:2])


@pytest.mark.parametrize("epochs", [1, 2, 15, 40])
@pytest.mark.parametrize("classes", [6, 17])
def test_long_names_and_many_epochs_fit(check_figure: Check, classes: int, epochs: int) -> None:
    history = _random(30, classes, epochs)
    rng = np.random.default_rng(1)
    frame = audit_frame(history, rng.normal(size=(30, 4)), rng.dirichlet(np.ones(classes), 30))
    figure = check_figure(label_history(history, range(5), partners=[], frame=frame))
    canvas, strips = _axes(figure)
    boxes = [label.get_window_extent() for label in strips.get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    texts = [text.get_window_extent() for text in figure.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(texts, 2))
    strip = strips.get_window_extent()
    assert not any(box.overlaps(strip) for box in texts)
    assert canvas.get_window_extent().contains(strip.x0, strip.y0)
    for text in strips.texts:  # the names stand within their runs
        box = text.get_window_extent()
        assert any(
            strips.transData.transform((left, 0))[0] <= box.x0
            and box.x1 <= strips.transData.transform((left + wide, 0))[0]
            for _, left, _, wide, _ in _boxes(strips.collections[-2])
        )
    check_figure(label_flow_figure(history))


def _stack(axes: Any) -> npt.NDArray[np.float64]:
    """Where each class's piece begins and ends at each place [K, places, 2]."""
    return np.array(
        [[(bar.get_y(), bar.get_y() + bar.get_height()) for bar in c] for c in axes.containers]
    )


def _legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_flow_shows_shares_by_epoch_and_classes(check_figure: Check) -> None:
    answers = HISTORY.answers.copy()
    answers[0, 1] = 0  # right, where the pseudo-label is wrong
    figure = check_figure(label_flow_figure(replace(HISTORY, answers=answers)))
    upper, lower = figure.axes
    lines = {line.get_label().split("  ")[0]: line.get_ydata() for line in upper.lines}
    np.testing.assert_allclose(lines["changed"], [NAN, 1 / 3, 2 / 3, 0])
    np.testing.assert_allclose(lines["labels right"], [1 / 3, 0, 2 / 3, 2 / 3])
    np.testing.assert_allclose(lines["answers right"], [2 / 3, 0, 2 / 3, 2 / 3])
    stack = _stack(lower)
    first, truth = stack[:, 0], stack[:, 4]
    thirds = np.array([(0, 1), (1, 2), (2, 3), (3, 3)]) / 3
    np.testing.assert_allclose(first, thirds, atol=1e-12)
    np.testing.assert_allclose(truth, np.array([(0, 1), (1, 1), (1, 3), (3, 3)]) / 3, atol=1e-12)
    assert [label.get_text() for label in lower.get_xticklabels()] == ["0", "2", "4", "9", "true"]
    assert _legend(lower) == [
        "bed  0 % (true 0 %)",
        "sofa  67 % (true 67 %)",
        "desk lamp  33 % (true 0 %)",
        "chair  0 % (true 33 %)",
    ]
    assert [to_hex(c[0].get_facecolor()) for c in lower.containers] == COLOURS
    assert upper.get_xlim() == lower.get_xlim()


def test_answers_have_a_line_only_where_they_differ() -> None:
    assert _legend(label_flow_figure(HISTORY).axes[0]) == [
        "changed  33 → 0 %",
        "labels right  33 → 67 %",
    ]
    other = replace(HISTORY, answers=np.zeros((4, 3), dtype=int))
    assert _legend(label_flow_figure(other).axes[0])[-1] == "answers right  33 → 33 %"


def test_flow_without_truth_of_one_epoch_and_of_nothing(check_figure: Check) -> None:
    rows: dict[str, Any] = {
        name: getattr(HISTORY, name)[:1] for name in ("pseudo_labels", "answers", "confidence")
    }
    one = replace(HISTORY, epochs=(5,), truth=None, **rows)
    upper, lower = check_figure(label_flow_figure(one)).axes
    assert _legend(upper) == ["changed: needs two epochs"]
    assert _legend(lower)[-1] == "chair  33 %"
    assert [label.get_text() for label in lower.get_xticklabels()] == ["5"]
    none = np.zeros((1, 0), dtype=int)
    empty = LabelHistory((), CLASSES, (0,), none, none, none.astype(float))
    assert _texts(check_figure(label_flow_figure(empty))) == ["The history holds no image"]
