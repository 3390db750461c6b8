"""Which layers carry the gap, as a picture."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from socketlab.figures.layers import accuracy_by_layer, statistics_by_layer
from socketlab.figures.style import MUTED, RIGHT, WRONG

Check = Callable[[Figure], Any]
LONG = "features.17.conv.1.1"


def _names(count: int) -> list[str]:
    return [f"layer{k}.bn{k % 3}" for k in range(1, count)] + [LONG]


def _gaps(count: int = 4, moments: Sequence[str] = ("source", "before", "after")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (name, position, 8, moment, rng.random(), 2 * rng.random(), "")
        for moment in moments
        for position, name in enumerate(_names(count), start=1)
    ]
    columns = ["layer", "position", "channels", "moment", "mean_gap", "variance_gap", "note"]
    return pd.DataFrame(rows, columns=columns)


def _replaced(accuracies: Sequence[float], none: float = 0.4, every: float = 0.7) -> pd.DataFrame:
    names = ["none", *_names(len(accuracies)), "all"]
    return pd.DataFrame(
        {
            "layer": names,
            "position": range(len(names)),
            "scored": 96,
            "accuracy": [none, *accuracies, every],
            "note": "",
        }
    )


def _words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def _ticks(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def _points(axes: Any) -> tuple[Any, list[str]]:
    (points,) = (part for part in axes.collections if isinstance(part, PathCollection))
    return points.get_offsets(), [
        to_hex(colour).upper() for colour in np.asarray(points.get_facecolor())
    ]


@pytest.mark.parametrize("count", [1, 4, 53, 120])
def test_every_moment_is_a_line_over_the_layers_in_order(check_figure: Check, count: int) -> None:
    gaps = _gaps(count)
    figure = check_figure(statistics_by_layer(gaps.sample(frac=1.0, random_state=1)))
    assert len(figure.axes) == 2
    assert _ticks(figure.axes[1]) == _names(count) and not any(_ticks(figure.axes[0]))
    for axes, column in zip(figure.axes, ("mean_gap", "variance_gap"), strict=True):
        assert axes.get_ylim()[0] == 0
        drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
        names = (
            ("source", "source model, RGB"),
            ("before", "source model, target images"),
            ("after", "target model, target images"),
        )
        assert [*drawn] == [name for _, name in names]
        for moment, name in names:
            wanted = gaps[gaps["moment"] == moment][column]
            np.testing.assert_allclose(drawn[name], wanted)


def test_the_heading_says_how_much_is_left_and_where_it_is_widest() -> None:
    gaps = _gaps(3)
    gaps["mean_gap"] = [9.0, 9.0, 9.0, 0.5, 1.5, 1.0, 0.2, 0.1, 0.3]
    words = _words(statistics_by_layer(gaps))
    assert "averaged over layers: 1.00 before, 0.20 after adaptation" in words
    assert "widest before at layer2.bn2." in words
    words = _words(statistics_by_layer(_gaps(3, ("source", "before"))))
    assert "before adaptation; widest" in words and "after" not in words


def test_what_is_not_finite_is_a_gap_in_its_line_and_a_note(check_figure: Check) -> None:
    gaps = _gaps(4)
    lost = (gaps["moment"] == "after") & (gaps["position"] > 2)
    gaps.loc[lost, ["mean_gap", "variance_gap"]] = np.nan
    gaps.loc[lost, "note"] = "the model has diverged"
    figure = check_figure(statistics_by_layer(gaps))
    after = np.asarray(figure.axes[0].lines[2].get_ydata())
    assert np.isfinite(after).tolist() == [True, True, False, False]
    assert "Not drawn: layer3.bn0 and 1 more (after), the model has diverged." in _words(figure)
    gaps.loc[:, "mean_gap"] = np.nan
    assert "No gap could be measured." in _words(check_figure(statistics_by_layer(gaps)))


def test_points_stand_by_the_level_of_nothing_replaced(check_figure: Check) -> None:
    figure = check_figure(accuracy_by_layer(_replaced([0.5, 0.4, 0.3, 0.45])))
    (axes,) = figure.axes
    places, colours = _points(axes)
    np.testing.assert_allclose(places, [[0, 50], [1, 40], [2, 30], [3, 45]])
    assert colours == [RIGHT, MUTED.upper(), WRONG, RIGHT]
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([40, 70])
    assert [text.get_text() for text in axes.texts] == [
        "nothing replaced, 40 %",
        "all layers anew, 70 %",
    ]
    words = _words(figure)
    assert "layer1.bn1 brings most: 40 \N{RIGHTWARDS ARROW} 50 %; all layers: 70 %." in words
    assert "95 % interval over 96 images" in words
    (band,) = axes.patches
    # 1.96 sqrt(0.4 * 0.6 / 96) = 0.098
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((30.2, 49.8))


def test_where_no_layer_alone_helps_the_heading_says_so() -> None:
    words = _words(accuracy_by_layer(_replaced([0.2, 0.4], every=0.1)))
    assert "No layer replaced alone raises the accuracy of 40 %; all layers: 10 %." in words


def test_levels_that_are_near_have_names_apart(check_figure: Check) -> None:
    figure = check_figure(accuracy_by_layer(_replaced([0.1, 0.9], none=0.4, every=0.405)))
    low, high = sorted(text.xy[1] for text in figure.axes[0].texts)
    bottom, top = figure.axes[0].get_ylim()
    inches = (high - low) / (top - bottom) * 1.75
    assert inches == pytest.approx(0.19)


def test_both_share_the_layers(check_figure: Check) -> None:
    """A layer that is only in one of them has its place too."""
    gaps, replaced = _gaps(4), _replaced([0.5, 0.45, 0.3, 0.42])
    gaps = gaps[gaps["layer"] != LONG]
    replaced = replaced[replaced["layer"] != "layer2.bn2"]
    figure = check_figure(statistics_by_layer(gaps, replaced))
    assert len(figure.axes) == 3
    assert _ticks(figure.axes[2]) == _names(4)
    places, _ = _points(figure.axes[2])
    found = np.ma.filled(places, np.nan)
    np.testing.assert_allclose(found[:, 1], [50, np.nan, 30, 42])
    assert "brings most" in _words(figure) and "averaged over layers" in _words(figure)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_an_accuracy_that_is_lost_is_noted(check_figure: Check) -> None:
    replaced = _replaced([0.5, np.nan, 0.3])
    replaced.loc[2, "note"] = "the statistics to put in are not finite"
    figure = check_figure(accuracy_by_layer(replaced))
    assert "Not drawn: layer2.bn2, the statistics to put in are not finite." in _words(figure)
    replaced["accuracy"] = np.nan
    figure = check_figure(accuracy_by_layer(replaced))
    assert "No layer could be replaced." in _words(figure) and not figure.axes[0].texts
    assert "interval" not in _words(figure) and not figure.axes[0].patches


def test_a_frame_that_says_why_it_is_empty_is_that_sentence(check_figure: Check) -> None:
    empty = _replaced([0.5]).iloc[:0]
    empty.attrs["reason"] = "The 'vit' classifier has no BatchNorm."
    assert "has no BatchNorm" in _words(check_figure(accuracy_by_layer(empty)))
    figure = check_figure(statistics_by_layer(_gaps(), empty))
    assert len(figure.axes) == 2 and "has no BatchNorm" in _words(figure)
    gaps = _gaps().iloc[:0]
    gaps.attrs["reason"] = "There is no normalisation layer."
    assert "no normalisation layer" in _words(check_figure(statistics_by_layer(gaps)))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="no column 'mean_gap'"):
        statistics_by_layer(_gaps().drop(columns="mean_gap"))
    with pytest.raises(ValueError, match="Unknown moment 'later'"):
        statistics_by_layer(_gaps(2, ("before", "later")))
    with pytest.raises(ValueError, match="There is no moment 'before'"):
        statistics_by_layer(_gaps(2, ("source",)))
    with pytest.raises(ValueError, match=r"'before' of 'layer1\.bn1' comes twice"):
        statistics_by_layer(_gaps(2, ("before", "before")))
    with pytest.raises(ValueError, match=r"'layer1\.bn1' comes twice"):
        accuracy_by_layer(pd.concat([_replaced([0.1, 0.2]).iloc[1:2]] * 2))
    with pytest.raises(ValueError, match="no column 'accuracy'"):
        statistics_by_layer(_gaps(), _replaced([0.1]).drop(columns="accuracy"))
    for frame in (_replaced([0.1]).iloc[:1], _replaced([0.1]).iloc[:0]):
        with pytest.raises(ValueError, match="There is no layer to draw"):
            accuracy_by_layer(frame)
