"""Methods beside each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.compare import comparison_bars
from socketlab.figures.style import WRONG

Check = Callable[[Figure], Any]
MEANS = {"source_only": 0.41, "socket": 0.61, "tent": 0.47, "oracle_labels": 0.83}


def _rows(**changes: Any) -> pd.DataFrame:
    rows = [
        {
            "method": method,
            "source": "kv1/rgb",
            "target": "kv1/depth",
            "protocol": "demo",
            "seed": seed,
            "accuracy": mean + (seed - 1) * 0.02,
            "balanced_accuracy": mean - 0.1,
            "chosen_by": "last",
        }
        for method, mean in MEANS.items()
        for seed in range(3)
    ]
    return pd.DataFrame(rows).assign(**changes)


def _labels(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def _words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_bars_are_means_in_order_with_a_dot_per_seed(
    check_figure: Check,
) -> None:
    axes = check_figure(comparison_bars(_rows())).axes[0]
    assert _labels(axes) == ["oracle_labels\nupper reference", "socket", "tent", "source_only"]
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [83.0, 61.0, 47.0, 41.0])
    dots = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets()) == 3])
    np.testing.assert_allclose(dots[3:6, 0], [59.0, 61.0, 63.0])
    words = [text.get_text() for text in axes.texts]
    assert "61.0  (+20.0)" in words
    assert "source_only" in words
    assert [bar.get_hatch() for bar in axes.patches] == ["///", None, None, None]


def test_the_spread_is_one_standard_deviation() -> None:
    axes: Any = comparison_bars(_rows()).axes[0]
    lines = [c.get_segments()[0] for c in axes.collections if hasattr(c, "get_segments")]
    np.testing.assert_allclose(lines[1][:, 0], [59.0, 63.0])


@pytest.mark.parametrize("level", [0.1, 0.7])
def test_no_number_is_lost_beyond_the_axis(check_figure: Check, level: float) -> None:
    rows = _rows()
    rows["accuracy"] = level + 0.05 * (rows["seed"] == 0) * (rows["method"] != "socket")
    tent = rows["method"] == "tent"
    rows.loc[tent, "accuracy"] = np.array([level - 0.1, level + 0.29, level + 0.29])
    axes = check_figure(comparison_bars(rows)).axes[0]
    numbers = [text for text in axes.texts if text.get_text() != "source_only"]
    assert len(numbers) == len(MEANS)
    assert all(text.xy[0] <= axes.get_xlim()[1] for text in numbers)
    assert axes.get_xlim()[1] <= 100


def test_balanced_accuracy() -> None:
    axes: Any = comparison_bars(_rows(), metric="balanced_accuracy").axes[0]
    assert axes.patches[1].get_width() == pytest.approx(51.0)


def test_choices_sources_and_targets(check_figure: Check) -> None:
    rows = _rows()
    socket = rows[rows["method"] == "socket"]
    rows = pd.concat(
        [
            rows,
            socket.assign(chosen_by="entropy"),
            socket.assign(chosen_by="oracle", accuracy=0.7),
            rows.assign(source="xtion/rgb", accuracy=rows["accuracy"] / 2),
            rows[rows["seed"] == 0].assign(target="kv2/depth"),
        ]
    )
    figure = check_figure(comparison_bars(rows))
    assert len(figure.axes) == 2
    labels = _labels(figure.axes[0])
    assert "socket from kv1/rgb, last epoch" in labels
    assert "socket from kv1/rgb, by entropy" in labels
    assert "socket from kv1/rgb, best epoch\nupper reference" in labels
    assert "socket from xtion/rgb" in labels
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "30.5  (+10.0)" in words, "gained over source_only of the same source"


def test_a_loss_is_written_with_a_minus_sign(check_figure: Check) -> None:
    rows = _rows()
    rows.loc[rows["method"] == "tent", "accuracy"] = 0.31
    axes = check_figure(comparison_bars(rows)).axes[0]
    assert "31.0  (\N{MINUS SIGN}10.0)" in [text.get_text() for text in axes.texts]


def test_without_source_only_nothing_is_gained(check_figure: Check) -> None:
    rows = _rows()
    axes = check_figure(comparison_bars(rows[rows["method"] == "socket"])).axes[0]
    assert [text.get_text() for text in axes.texts] == ["61.0"]


def test_a_bar_says_how_many_of_its_seeds_collapsed(check_figure: Check) -> None:
    rows = _rows(note="")
    rows.loc[(rows["method"] == "tent") & (rows["seed"] < 2), "note"] = "answers fall on 2 of 6"
    figure = check_figure(comparison_bars(rows))
    axes = figure.axes[0]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "oracle_labels\nupper reference",
        "socket",
        "tent\ncollapsed: 2 of 3 seeds",
        "source_only",
    ]
    assert [label.get_color() == WRONG for label in labels] == [False, False, True, False]
    assert "Collapsed: the answers fall on under half of the classes." in _words(figure)
    assert "Collapsed" not in _words(comparison_bars(_rows(note="")))


def test_one_seed_is_collapsed_or_it_is_not(check_figure: Check) -> None:
    rows = _rows(note="answers fall on 1 of 6")
    figure = check_figure(comparison_bars(rows[rows["seed"] == 0]))
    assert _labels(figure.axes[0])[0] == "oracle_labels\nupper reference, collapsed"
    assert _labels(figure.axes[0])[1] == "socket\ncollapsed"


def test_comparison_refuses() -> None:
    with pytest.raises(ValueError, match="'chosen_by'"):
        comparison_bars(_rows().drop(columns="chosen_by"))
    with pytest.raises(ValueError, match="no rows"):
        comparison_bars(_rows().iloc[:0])
    with pytest.raises(ValueError, match="63 to 63"):
        comparison_bars(_rows(accuracy=63.0))
