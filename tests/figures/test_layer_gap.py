"""The gap by layer: layers in order, before and after, gaps where a number is NaN."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.layer_gap import COLUMNS, gap_by_layer

Check = Callable[[Figure], Figure]
LAYERS = ["stages.2", "stages.6", "bottleneck"]  # not in the order of the alphabet


def frame() -> pd.DataFrame:
    rows = [
        (layer, moment, measure, place + shift, place + shift - 0.1, place + shift + 0.1)
        for moment, shift in (("before", 1.0), ("after", 0.5))
        for measure in ("centroid gap", "RMG")
        for place, layer in enumerate(LAYERS)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_lines_follow_the_layers_in_their_order(check_figure: Check) -> None:
    figure = check_figure(gap_by_layer(frame()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["centroid gap", "RMG"]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == LAYERS
        values = [list(np.asarray(line.get_ydata())) for line in axes.lines]
        assert values == [[1.0, 2.0, 3.0], [0.5, 1.5, 2.5]]
        assert axes.get_ylim()[1] > 3.1


def test_a_measure_that_stopped_leaves_a_gap(check_figure: Check) -> None:
    found = frame()
    stopped = (found["layer"] == "stages.6") & (found["moment"] == "after")
    found.loc[stopped, ["value", "low", "high"]] = np.nan
    axes = check_figure(gap_by_layer(found)).axes[0]
    assert np.isnan(np.asarray(axes.lines[1].get_ydata(), float)).tolist() == [False, True, False]


def test_a_measure_without_any_number_is_drawn_empty(check_figure: Check) -> None:
    found = frame()
    found[["value", "low", "high"]] = np.nan
    assert len(check_figure(gap_by_layer(found)).axes) == 2


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'moment'"):
        gap_by_layer(frame().drop(columns="moment"))
    with pytest.raises(ValueError, match="no row"):
        gap_by_layer(frame().iloc[:0])
