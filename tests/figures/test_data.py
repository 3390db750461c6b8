"""Pictures of a data set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures.data import class_counts, depth_histogram

Check = Callable[[Figure], Any]
TABLE = {
    "cup": {"train": 5, "test": 1},
    "mug": {"train": 50, "test": 10},
    "home_office": {"train": 7},
    "chair": {"test": 3},
}


def test_bars_add_up_to_the_counts(check_figure: Check) -> None:
    figure = check_figure(class_counts(TABLE, ["cup", "mug"]))
    relevant, other = figure.axes
    assert [label.get_text() for label in relevant.get_yticklabels()] == ["mug", "cup"]
    assert [label.get_text() for label in other.get_yticklabels()] == ["home office", "chair"]
    for axes, totals in ((relevant, [60, 6]), (other, [7, 3])):
        for row, total in enumerate(totals):
            widths = [bar.get_width() for bar in axes.patches if round(bar.get_y() + 0.37) == row]
            assert sum(widths) == total
    words = [text.get_text() for text in figure.texts]
    assert words == [
        "Task-relevant: 2 classes, 66 images",
        "Task-irrelevant: 2 classes, 10 images",
    ]


def test_one_group_only(check_figure: Check) -> None:
    assert len(check_figure(class_counts({"cup": {"all": 3}}, ["cup"])).axes) == 1


def test_forty_classes(check_figure: Check) -> None:
    table = {f"a_rather_long_class_name_{i}": {"train": i} for i in range(40)}
    check_figure(class_counts(table, list(table)[:17]))


def test_class_counts_refuses() -> None:
    with pytest.raises(ValueError, match=r"'cpu' is not in the table\. Known: chair, cup"):
        class_counts(TABLE, ["cpu"])
    with pytest.raises(ValueError, match="empty"):
        class_counts({}, [])


def test_depth_heights_are_shares_of_valid_pixels(check_figure: Check) -> None:
    metres = np.random.default_rng(0).uniform(1.0, 3.0, (50, 40))
    metres[0] = np.nan
    figure = check_figure(depth_histogram(metres, 0.02, by={"kv1/depth": metres[:10]}))
    everything, group = (patch.get_data().values for patch in figure.axes[0].patches)
    valid = metres[np.isfinite(metres)]
    assert everything.sum() == pytest.approx(100 * np.mean(valid <= np.percentile(valid, 99.5)))
    assert group.sum() <= 100.0 + 1e-9
    words = " ".join(text.get_text() for text in figure.texts)
    assert "1,960 valid pixels, 2.0 % without a measurement" in words
    notes = [text.get_text() for text in figure.axes[0].texts]
    assert notes == [f"median {np.median(valid):.2f} m"]


def test_constant_depth(check_figure: Check) -> None:
    check_figure(depth_histogram(np.full(10, 2.0), 0.0))


def test_depth_histogram_refuses() -> None:
    with pytest.raises(ValueError, match=r"12\.3"):
        depth_histogram(np.ones(3), 12.3)
    with pytest.raises(ValueError, match="finite"):
        depth_histogram(np.full(3, np.nan), 1.0)
