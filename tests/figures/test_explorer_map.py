"""The still map of an explorer: the colours of every point, and lines between partners only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from socketlab.figures.explorer_colours import UNKNOWN, colouring, colourings
from socketlab.figures.explorer_map import explorer_map, square
from socketlab.figures.style import MODALITY_COLOURS, RIGHT, WRONG
from socketlab.gap.points import PointTable

Check = Callable[[Figure], Any]
HALF = 80


class NoImages:
    """No row has a picture."""

    def picture(self, row: int) -> None:
        """None."""


def _points(**columns: Any) -> PointTable:
    draw = np.random.default_rng(0)
    values: dict[str, Any] = {
        "id": [f"a/{row}" for row in range(2 * HALF)],
        "set": "TI",
        "modality": np.repeat(["rgb", "depth"], HALF),
        "partner": np.concatenate([np.arange(HALF) + HALF, np.arange(HALF)]),
        "class": np.tile(["lab", "bed_room", ""], 2 * HALF)[: 2 * HALF],
    }
    for number, moment in enumerate(("before", "after")):
        values[f"x {moment}"] = draw.normal(size=2 * HALF) + 5 * (1 - number)
        values[f"y {moment}"] = draw.normal(size=2 * HALF)
        values[f"distance {moment}"] = np.tile(draw.uniform(1 - number, 2 - number, HALF), 2)
        values[f"prediction {moment}"] = np.tile(["bed_room", "office"], HALF)
        values[f"confidence {moment}"] = 0.5
    frame = pd.DataFrame(values)
    for name, column in columns.items():
        frame[name] = column
    return PointTable(("before", "after"), frame, NoImages(), note="trustworthiness 0.96")


def _drawn(axes: Any) -> dict[tuple[float, float], str]:
    """The colour of each place on a map; every place must be drawn once."""
    found: dict[tuple[float, float], str] = {}
    for item in axes.collections:
        if isinstance(item, PathCollection):
            faces = [to_hex(face).upper() for face in item.get_facecolor()]
            for place, face in zip(item.get_offsets(), faces, strict=True):
                assert tuple(place) not in found
                found[tuple(place)] = face
    return found


def test_every_point_is_drawn_once_in_its_colour(check_figure: Check) -> None:
    points = _points()
    figure = check_figure(explorer_map(points))
    for axes, moment in zip(figure.axes, points.moments, strict=False):
        drawn = _drawn(axes)
        assert len(drawn) == 2 * HALF
        for place, modality in zip(
            points.coordinates(moment), points.frame["modality"], strict=True
        ):
            assert drawn[tuple(place)] == MODALITY_COLOURS[modality]


def test_both_maps_have_the_same_square_window() -> None:
    figure: Any = explorer_map(_points())
    windows = [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes[:2]]
    assert windows[0] == windows[1] == square(_points())
    (left, right), (low, high) = windows[0]
    assert right - left == pytest.approx(high - low)
    points = _points()
    for moment in points.moments:
        inside = (points.coordinates(moment) > (left, low)) & (
            points.coordinates(moment) < (right, high)
        )
        assert inside.all()


def test_lines_join_the_farthest_partners_of_the_selection(check_figure: Check) -> None:
    points = _points()
    figure = check_figure(explorer_map(points, "modality", range(30), most_lines=7))
    frame = points.frame
    far = sorted(range(30), key=lambda row: -frame["distance after"][row])[:7]
    for axes, moment in zip(figure.axes, points.moments, strict=False):
        (lines,) = [item for item in axes.collections if isinstance(item, LineCollection)]
        places = points.coordinates(moment)
        expected = [[*places[row], *places[frame["partner"][row]]] for row in far]
        found = [np.ravel(segment).tolist() for segment in lines.get_segments()]
        assert sorted(found) == sorted(expected)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "30 of 160 images selected, lines join the 7 of 30 pairs that are farthest" in words


def test_without_a_selection_there_is_no_line() -> None:
    figure: Any = explorer_map(_points())
    (lines,) = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    assert len(lines.get_segments()) == 0
    assert "nothing selected" in figure.texts[0].get_text()


def test_a_class_has_one_colour_whether_true_or_predicted() -> None:
    points = _points()
    true, said = colouring(points, "class"), colouring(points, "prediction")
    assert true.names == ("bed room", "lab", "no class")
    assert said.names == ("bed room", "office")
    assert true.colours[0] == said.colours[0] != said.colours[1] != true.colours[1]
    assert true.colours[2] == UNKNOWN
    by_row = [true.names[code] for code in true.codes["before"][:3]]
    assert by_row == ["lab", "bed room", "no class"]


def test_right_and_wrong_have_their_colours(check_figure: Check) -> None:
    points = _points(
        **{
            "pseudo-label": np.tile(["lab", "lab", "lab", ""], HALF // 2),
            "right after": np.tile(["right", "wrong", "", "right"], HALF // 2),
        }
    )
    label = colouring(points, "pseudo-label")
    verdicts = [label.names[code] for code in label.codes["after"][:4]]
    assert verdicts == ["right", "wrong", "no pseudo-label", "no pseudo-label"]
    assert label.colours == (RIGHT, WRONG, UNKNOWN)
    answer = colouring(points, "answer")
    assert [answer.names[code] for code in answer.codes["after"][:3]] == ["right", "wrong",
                                                                         "not known"]  # fmt: skip
    assert set(answer.codes["before"]) == {2}  # nobody said whether it was right before
    check_figure(explorer_map(points, "answer", [0]))


def test_distances_share_one_scale_of_all_moments(check_figure: Check) -> None:
    points = _points()
    values = np.stack([points.distance(moment) for moment in points.moments])
    colours = colouring(points, "distance")
    assert colours.scale == (values.min(), values.max())
    for number, moment in enumerate(points.moments):
        order = np.argsort(values[number])
        assert (np.diff(colours.codes[moment][order]) >= 0).all()
        for code, value in zip(colours.codes[moment], values[number], strict=True):
            low, high = map(float, colours.names[code].split(" to "))
            assert low - 0.006 <= value <= high + 0.006
    assert colours.codes["after"].max() < colours.codes["before"].max()
    check_figure(explorer_map(points, "distance"))


def test_points_without_a_distance_are_grey() -> None:
    frame = _points().frame
    gone = frame["distance after"].to_numpy().copy()
    gone[[3, 3 + HALF]] = np.nan
    colours = colouring(_points(**{"distance after": gone}), "distance")
    assert colours.colours[colours.codes["after"][3]] == UNKNOWN
    assert colours.has_unknown and not colouring(_points(), "distance").has_unknown


def test_equal_distances_do_not_break_the_scale() -> None:
    points = _points(**{"distance before": 0.5, "distance after": 0.5})
    assert set(colouring(points, "distance").codes["after"]) == {0}


def test_only_what_the_table_knows_is_offered() -> None:
    assert list(colourings(_points())) == ["modality", "class", "prediction", "distance"]
    nothing = {"class": "", "prediction before": "", "prediction after": ""}
    assert list(colourings(_points(**nothing, **{"pseudo-label": "lab"}))) == [
        "modality",
        "distance",
    ]
    with pytest.raises(ValueError, match=r"coloured by 'answer'\. Known: modality, class"):
        explorer_map(_points(), "answer")
    with pytest.raises(ValueError, match="Found row 160"):
        explorer_map(_points(), selection=[160])


def test_other_encoders_have_colours_of_their_own(check_figure: Check) -> None:
    points = _points(modality=np.repeat(["encoder one", "encoder two"], HALF))
    colours = colouring(points, "modality")
    assert colours.names == ("encoder one", "encoder two")
    assert len(set(colours.colours)) == 2
    check_figure(explorer_map(points))
