"""Confusion matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures.confusion import confusion

Check = Callable[[Figure], Any]


def test_rows_are_percentages_and_the_heading_gives_both_accuracies(
    check_figure: Check,
) -> None:
    counts = np.array([[30, 10], [5, 5]])
    figure = check_figure(confusion({"socket": counts}, ["mug", "cup"]))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, [[75.0, 25.0], [50.0, 50.0]])
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers == ["75", "25", "50", "50"]
    words = [text.get_text() for text in figure.texts]
    assert words == ["socket", "accuracy 70.0 %, balanced 62.5 %"]


def test_a_class_without_samples_counts_for_nothing(
    check_figure: Check,
) -> None:
    counts = np.array([[4, 0, 0], [0, 0, 0], [2, 0, 2]])
    figure = check_figure(confusion({"a": counts}, ["x", "y", "z"]))
    assert figure.axes[0].images[0].get_array().mask[1].all()
    assert " ".join(t.get_text() for t in figure.texts).endswith("accuracy 75.0 %, balanced 75.0 %")


def test_an_empty_matrix_is_said(check_figure: Check) -> None:
    figure = check_figure(confusion({"a": np.zeros((2, 2), int)}, ["x", "y"]))
    assert figure.texts[1].get_text() == "no samples"


@pytest.mark.parametrize(("count", "matrices"), [(17, 2), (6, 5), (10, 3)])
def test_many_classes_and_matrices(check_figure: Check, count: int, matrices: int) -> None:
    draw = np.random.default_rng(0)
    tables = {f"method number {i}": draw.integers(0, 9, (count, count)) for i in range(matrices)}
    check_figure(confusion(tables, [f"conference_room_{i}" for i in range(count)]))


def test_confusion_refuses() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) with 2 classes"):
        confusion({"a": np.zeros((2, 3))}, ["x", "y"])
    with pytest.raises(ValueError, match="negative"):
        confusion({"a": -np.ones((2, 2))}, ["x", "y"])
    with pytest.raises(ValueError, match="no confusion matrix"):
        confusion({}, ["x"])
