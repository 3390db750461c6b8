"""Matrices from sensor to sensor."""

from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.sensors import sensor_matrices

SENSORS = ("kv1", "kv2", "realsense", "xtion")
METHODS = ("source_only", "socket", "oracle_labels")


def _cells(**changes: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": method,
                "source": source,
                "target": target,
                "accuracy": 0.1 * k + 0.01 * (row + column),
                "gained": float("nan") if method == "source_only" else 7.0 * (row - column),
            }
            for k, method in enumerate(METHODS, start=2)
            for row, source in enumerate(SENSORS)
            for column, target in enumerate(SENSORS)
        ]
    ).assign(**changes)


def _texts(figure: Figure, number: int) -> list[str]:
    return [text.get_text() for text in figure.axes[number].texts]


def test_a_matrix_per_method_with_points_below(check_figure: Callable[[Figure], Figure]) -> None:
    figure = check_figure(sensor_matrices(_cells(), names="from RGB to depth", title="T"))
    assert len(figure.axes) == 4, "and one scale"
    assert _texts(figure, 0)[:5] == ["20.0", "21.0", "22.0", "23.0", "21.0"]
    assert _texts(figure, 1)[:4] == ["30.0", "+0.0", "31.0", "\N{MINUS SIGN}7.0"]
    words = [text.get_text() for text in figure.texts]
    assert any("oracle_labels, upper" in word for word in words)
    assert any("Below it" in word for word in words)
    assert not any("Hatched" in word for word in words)


def test_all_matrices_share_one_scale() -> None:
    figure = sensor_matrices(_cells(accuracy=0.4))
    shades = {
        patch.get_facecolor()
        for axes in figure.axes[:3]
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    }
    assert len(shades) == 1


def test_missing_cells_are_hatched(check_figure: Callable[[Figure], Figure]) -> None:
    cells = _cells()
    gone = (cells["method"] == "socket") & (cells["source"] == "kv1") & (cells["target"] == "kv2")
    figure = check_figure(sensor_matrices(cells[~gone]))
    hatched = [[bool(patch.get_hatch()) for patch in axes.patches] for axes in figure.axes[:3]]
    assert [sum(row) for row in hatched] == [0, 1, 0]
    assert hatched[1][1]
    assert any("Hatched" in text.get_text() for text in figure.texts)


def test_small_and_long_ones_are_not_cut_off(check_figure: Callable[[Figure], Figure]) -> None:
    names = [f"socket_without_everything (pair_weight {k}, backbone resnet18)" for k in range(6)]
    cells = pd.DataFrame(
        [(name, s, t, 1.0, float("nan")) for name in names for s in "ab" for t in "ab"],
        columns=["method", "source", "target", "accuracy", "gained"],
    )
    check_figure(sensor_matrices(cells))
    check_figure(sensor_matrices(cells[cells["method"] == names[0]].assign(method="tent")))


def test_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="no column 'gained'"):
        sensor_matrices(_cells().drop(columns="gained"))
    with pytest.raises(ValueError, match="no cells"):
        sensor_matrices(_cells().iloc[:0])
    with pytest.raises(ValueError, match="source_only from kv1 to kv1 comes twice"):
        sensor_matrices(pd.concat([_cells(), _cells().iloc[:1]]))
    with pytest.raises(ValueError, match="Give shares"):
        sensor_matrices(_cells(accuracy=40.0))
