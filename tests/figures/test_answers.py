"""Which answers a model gives over the epochs."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.answers import answers_by_epoch

Check = Callable[[Figure], Any]
CLASSES = ("chair", "desk_lamp", "sofa", "bed")
EVEN, COLLAPSED = (10, 10, 10, 10), (40, 0, 0, 0)


def _history(
    counts: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] = (), first: int = 0
) -> pd.DataFrame:
    """Counts and weights of one epoch after another."""
    rows = [(0.5, "loss/total", 3.0), (first, "predicted_entropy", -1.0)]
    for name, table in (("predicted", counts), ("mixing", weights)):
        for epoch, row in enumerate(table, first):
            rows += [(epoch, f"{name}/{k}", float(value)) for k, value in enumerate(row)]
    return pd.DataFrame(rows, columns=["epoch", "name", "value"])


def _bars(axes: Any) -> npt.NDArray[np.float64]:
    """Where each class's piece begins and ends at each epoch [K, epochs, 2]."""
    return np.array(
        [[(bar.get_y(), bar.get_y() + bar.get_height()) for bar in c] for c in axes.containers]
    )


def _colours(axes: Any) -> list[Any]:
    return [container[0].get_facecolor() for container in axes.containers]


def _labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def _legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def _words(figure: Figure) -> str:
    """What stands above the panels: the collapse in words, if any."""
    return " ".join(text.get_text() for text in figure.texts if text.get_fontweight() == "bold")


def test_bars_are_shares_stacked_in_the_order_of_the_classes(check_figure: Check) -> None:
    history = _history([(4, 1, 2, 1), (10, 20, 0, 10)], first=2).sample(frac=1.0, random_state=0)
    figure = check_figure(answers_by_epoch(history, CLASSES))
    bars, even, _ = figure.axes
    first, last = _bars(bars).swapaxes(0, 1)
    np.testing.assert_allclose(first, [(0, 0.5), (0.5, 0.625), (0.625, 0.875), (0.875, 1)])
    np.testing.assert_allclose(last, [(0, 0.25), (0.25, 0.75), (0.75, 0.75), (0.75, 1)])
    centres = [bar.get_x() + bar.get_width() / 2 for bar in bars.containers[0]]
    np.testing.assert_allclose(centres, [2, 3])
    assert bars.get_title(loc="left") == "Answers on 40 target images"
    (pieces,) = _bars(even).swapaxes(0, 1)
    np.testing.assert_allclose(pieces, [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)])
    assert _labels(even.yaxis) == ["chair  25 %", "desk lamp  50 %", "sofa  0 %", "bed  25 %"]
    np.testing.assert_allclose(even.get_yticks(), [0.125, 0.375, 0.625, 0.875])
    assert _colours(bars) == _colours(even)
    assert len(set(_colours(even))) == 4


def test_evenness_is_the_entropy_over_log_of_the_number_of_classes() -> None:
    evenness: Any = answers_by_epoch(_history([EVEN, (6, 2, 0, 0)]), CLASSES).axes[2]
    wanted = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    np.testing.assert_allclose(evenness.lines[0].get_xdata(), [0, 1])
    np.testing.assert_allclose(evenness.lines[0].get_ydata(), [1, wanted])
    assert _legend(evenness) == [f"1.00 → {wanted:.2f}"]


@pytest.mark.parametrize(
    ("counts", "words", "marked"),
    [
        ([EVEN, EVEN], "", []),
        ([EVEN, COLLAPSED, EVEN], "Collapse at epoch 1: answers fall on 1 of 4 classes", [1]),
        (
            [EVEN, COLLAPSED, COLLAPSED],
            "Collapse at epochs 1 to 2. At epoch 2, answers fall on 1 of 4 classes",
            [1, 2],
        ),
        (
            [COLLAPSED, EVEN, COLLAPSED],
            "Collapse at 2 of 3 epochs. At epoch 2, answers fall on 1 of 4 classes",
            [0, 2],
        ),
    ],
)
def test_a_collapse_is_said_in_words_and_marked(
    check_figure: Check, counts: list[Sequence[int]], words: str, marked: list[int]
) -> None:
    figure = check_figure(answers_by_epoch(_history(counts), CLASSES))
    assert _words(figure).removeprefix("\N{BLACK DOWN-POINTING TRIANGLE} ") == words
    (marks,) = figure.axes[0].collections
    assert [epoch for epoch, _ in marks.get_offsets().tolist()] == marked


def test_weights_of_several_sources_have_a_panel(check_figure: Check) -> None:
    history = _history([EVEN] * 3, [(0.5, 0.5), (0.4, 0.6), (0.1, 0.9)])
    figure = check_figure(answers_by_epoch(history, CLASSES, ["a/rgb", "realsense/rgb"]))
    panel = figure.axes[3]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [0.5, 0.4, 0.1])
    np.testing.assert_allclose(panel.lines[1].get_ydata(), [0.5, 0.6, 0.9])
    assert set(panel.lines[2].get_ydata()) == {0.5}
    assert _legend(panel) == ["a/rgb  0.50 → 0.10", "realsense/rgb  0.50 → 0.90"]
    assert panel.lines[0].get_linestyle() != panel.lines[1].get_linestyle()
    assert panel.get_xlim() == figure.axes[0].get_xlim()
    unnamed = answers_by_epoch(history, CLASSES).axes[3]
    assert _legend(unnamed)[1] == "source 1  0.50 → 0.90"
    one = answers_by_epoch(_history([EVEN]), CLASSES, ["a/rgb"])
    assert len(one.axes) == 3


@pytest.mark.parametrize("epochs", [1, 31])
def test_many_classes_fit_and_no_two_texts_overlap(check_figure: Check, epochs: int) -> None:
    names = [f"lecture_theatre_{k}" for k in range(17)]
    counts = [[200, 1] + [0] * 15] * epochs
    history = _history(counts, [[0.25] * 4] * epochs)
    sources = ["kv1/rgb", "kv2/rgb", "realsense/rgb", "xtion/rgb"]
    figure = check_figure(answers_by_epoch(history, names, sources))
    assert "of 17 classes" in _words(figure)
    bars, even, *lower = figure.axes
    for axis in (bars.xaxis, even.yaxis, *(axes.xaxis for axes in lower)):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert all(text.isdigit() for text in _labels(bars.xaxis))


def test_numbers_of_two_digits_are_not_in_the_order_of_letters() -> None:
    names = [str(k) for k in range(12)]
    even: Any = answers_by_epoch(_history([[*[0] * 10, 30, 10]]), names).axes[1]
    assert _labels(even.yaxis)[-2:] == ["10  75 %", "11  25 %"]
    assert _labels(even.yaxis)[2] == "2  0 %"


def test_nothing_measured_is_said(check_figure: Check) -> None:
    figure = check_figure(answers_by_epoch(_history([]), CLASSES, ["a/rgb", "b/rgb"]))
    assert figure.texts[0].get_text() == "No answers kept yet"


def test_answers_by_epoch_refuses() -> None:
    history = _history([EVEN, EVEN], [(0.5, 0.5)] * 2)
    with pytest.raises(ValueError, match="'value'"):
        answers_by_epoch(history.drop(columns="value"), CLASSES)
    with pytest.raises(ValueError, match="1 classes"):
        answers_by_epoch(history, ["chair"])
    with pytest.raises(ValueError, match=r"3 classes are named, .* has 4 .* differ in predicted/3"):
        answers_by_epoch(history, CLASSES[:3])
    with pytest.raises(ValueError, match=r"3 sources are named, .* differ in mixing/2"):
        answers_by_epoch(history, CLASSES, ["a", "b", "c"])
    with pytest.raises(ValueError, match="predicted/0 comes twice at epoch 0"):
        answers_by_epoch(pd.concat([history, history]), CLASSES)
    gap = (history["epoch"] == 1) & (history["name"] == "predicted/2")
    with pytest.raises(ValueError, match="Epoch 1 has no predicted/2"):
        answers_by_epoch(history[~gap], CLASSES)
    with pytest.raises(ValueError, match="Epoch 1 has answers on no image"):
        answers_by_epoch(_history([EVEN, (0, 0, 0, 0)]), CLASSES)
