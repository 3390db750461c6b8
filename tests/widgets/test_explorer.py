"""The explorer: linked maps that follow a selection, previews on demand, nothing when headless."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import IPython.display
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from socketlab.gap.points import PointTable
from socketlab.widgets.explorer import Explorer
from socketlab.widgets.linked_maps import MOST_LINES
from socketlab.widgets.thumbnails import SIDE, preview, thumbnail

HALF = 400


class Images:
    """RGB is red, depth is blue; row 2 has no picture. Counts what is read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def picture(self, row: int) -> npt.NDArray[np.uint8] | None:
        """A picture of one colour, half as high as wide."""
        self.read.append(row)
        if row == 2:
            return None
        colour = (255, 0, 0) if row < HALF else (0, 0, 255)
        return np.full((16, 32, 3), colour, dtype=np.uint8)


@pytest.fixture
def points() -> PointTable:
    """RGB in the first half, depth partners in the second; the distance grows with the row."""
    draw = np.random.default_rng(0)
    values: dict[str, Any] = {
        "id": [f"<b>{row}</b>" for row in range(2 * HALF)],
        "set": np.tile(["TI", "TR"], HALF),
        "modality": np.repeat(["rgb", "depth"], HALF),
        "partner": np.concatenate([np.arange(HALF) + HALF, np.arange(HALF)]),
        "class": np.tile(["", "lab", "", "bed_room"], HALF // 2),
    }
    for moment in ("before", "after"):
        values[f"x {moment}"], values[f"y {moment}"] = draw.normal(size=(2, 2 * HALF))
        values[f"distance {moment}"] = np.tile(np.linspace(0, 1, HALF), 2)
        values[f"prediction {moment}"] = "lab"
        values[f"confidence {moment}"] = 0.5
        values[f"right {moment}"] = np.tile(["", "right", "", "wrong"], HALF // 2)
    return PointTable(("before", "after"), pd.DataFrame(values), Images(), note="<i>0.9</i>")


def _maps(explorer: Explorer) -> list[Any]:
    assert explorer.widget is not None
    return [one.widget for one in explorer._maps._maps.values()]


def _control(explorer: Explorer, description: str) -> Any:
    rows = explorer.widget.children[:2]
    (found,) = [c for row in rows for c in row.children if c.description == description]
    return found


def _ends(widget: Any) -> list[list[float]]:
    return sorted(np.round(np.ravel(line.vertices), 9).tolist() for line in widget.annotations)


def test_headless_it_makes_no_widget(points: PointTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    for name in ("ipywidgets", "jscatter", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would fail
    seen: list[list[int]] = []
    explorer = Explorer(points, on_select=lambda rows: seen.append(rows.tolist()))
    explorer.show()
    explorer.selection = [5, 7]
    assert seen == [[5, 7]]
    assert "2 of 800 images selected" in explorer.figure().texts[0].get_text()
    assert "1 of 800 images selected" in explorer.figure([9]).texts[0].get_text()
    assert "2 pairs or images" in explorer.sheet().texts[0].get_text()


def test_it_is_displayed_when_somebody_watches(
    points: PointTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    found: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", found.append)
    explorer = Explorer(points)
    explorer.show()
    explorer.show()
    assert found == [explorer.widget] * 2
    html = explorer.widget.children[4].value
    assert "&lt;i&gt;0.9" in html


def test_building_reads_no_picture(points: PointTable) -> None:
    assert len(_maps(Explorer(points))) == 2
    assert isinstance(points.pictures, Images) and points.pictures.read == []


@pytest.mark.parametrize("colour_by", ["distance", "class", "prediction", "answer", "modality"])
def test_the_maps_have_the_colours_of_the_still_picture(points: PointTable, colour_by: str) -> None:
    from matplotlib.colors import to_rgba

    from socketlab.figures.explorer_colours import colouring

    explorer = Explorer(points)
    maps = _maps(explorer)
    _control(explorer, "Colour by").value = "answer"
    _control(explorer, "Colour by").value = colour_by
    colours = colouring(points, colour_by)
    for widget, moment in zip(maps, points.moments, strict=True):
        expected = [to_rgba(colours.colours[code]) for code in colours.codes[moment]]
        drawn = [tuple(widget.color[code]) for code in widget.points[:, 2].astype(int)]
        assert drawn == expected
        assert [tuple(c) for c in widget.color_selected] == [tuple(c) for c in widget.color]


def test_a_selection_from_python_reaches_all_maps_with_lines(points: PointTable) -> None:
    seen: list[list[int]] = []
    explorer = Explorer(points)
    explorer.on_select(lambda rows: seen.append(rows.tolist()))
    maps = _maps(explorer)
    explorer.selection = [3, HALF + 3, 7]
    assert seen == [[3, HALF + 3, 7]]
    x, y = maps[0].x_scale_domain, maps[0].y_scale_domain
    for widget, moment in zip(maps, points.moments, strict=True):
        assert widget.selection.tolist() == [3, HALF + 3, 7]
        places = points.coordinates(moment)
        scaled = np.stack([2 * (places[:, i] - low) / (high - low) - 1
                           for i, (low, high) in enumerate((x, y))], axis=1)  # fmt: skip
        ends = [[*scaled[row], *scaled[HALF + row]] for row in (3, 7)]
        assert _ends(widget) == sorted(np.round(ends, 9).tolist())
    assert "3 selected. Lines join the partners of 2 pairs." in explorer._status.value
    assert "&lt;b&gt;3&lt;/b&gt;" in explorer._below.value  # an id is text, never HTML
    assert "<b>3</b>" not in explorer._below.value
    explorer.selection = []
    assert maps[1].selection.tolist() == [] and maps[1].annotations == []
    assert explorer._below.value == ""


def test_a_lasso_in_one_map_selects_in_the_other(points: PointTable) -> None:
    seen: list[list[int]] = []
    explorer = Explorer(points, on_select=lambda rows: seen.append(rows.tolist()))
    first, second = _maps(explorer)
    first.selection = np.array([4, 9], dtype=np.uint32)  # as the browser does
    assert seen == [[4, 9]]
    assert list(second.selection) == [4, 9]
    assert explorer.selection.tolist() == [4, 9]
    second.selection = np.array([], dtype=np.uint32)
    assert seen == [[4, 9], []] and list(first.selection) == []


def test_hovering_is_linked(points: PointTable) -> None:
    first, second = _maps(Explorer(points))
    first.hovering = 12
    assert second.hovering == 12


def test_a_hover_is_answered_with_the_pair_and_what_is_known(points: PointTable) -> None:
    _, after = _maps(Explorer(points))
    sent: list[Any] = []
    after.send = sent.append
    asked = {"type": "tooltip", "index": 5, "properties": ["image"], "preview": "picture"}
    after._handle_custom_msg(asked, [])  # what a message of the browser calls
    (answer,) = sent
    assert (answer["type"], answer["index"]) == ("tooltip", 5)
    assert answer["properties"] == {
        "image": "<b>5</b> (RGB, TR)",  # set as text by the browser
        "class": "lab",
        "prediction": "lab, 50 %, right",
        "distance": "0.0125",
    }
    assert isinstance(points.pictures, Images) and points.pictures.read == [5, HALF + 5]
    assert set(after.tooltip_properties) == set(answer["properties"])
    image = _decoded(answer["preview"])
    assert image.shape == (SIDE, 2 * SIDE + 4, 3)
    assert image[SIDE // 2, SIDE // 2].tolist() == pytest.approx([254, 0, 0], abs=3)
    assert image[SIDE // 2, -SIDE // 2].tolist() == pytest.approx([0, 0, 254], abs=3)
    assert image[4, 4].min() > 200  # the picture is wide: above it the sheet is light


def _decoded(uri: str) -> npt.NDArray[np.uint8]:
    head, _, text = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_a_missing_picture_is_grey_with_words(points: PointTable) -> None:
    grey = thumbnail(None)
    assert grey.shape == (SIDE, SIDE, 3)
    assert np.ptp(grey.astype(int), axis=2).max() < 20  # hardly a colour
    assert not np.array_equal(grey, thumbnail(None, "no partner"))
    assert len(np.unique(grey.reshape(-1, 3), axis=0)) > 2  # it says something
    left = _decoded(preview(points, 2))[:, :SIDE].astype(int)
    assert np.abs(left - grey).mean() < 4
    explorer = Explorer(points)
    _maps(explorer)
    explorer.selection = [2]
    assert "1 pair or image" in explorer._below.value


def test_filters_hide_and_drop_from_the_selection(points: PointTable) -> None:
    explorer = Explorer(points)
    maps = _maps(explorer)
    explorer.selection = [0, 1, 2, 3]
    _control(explorer, "Set").value = "TR"
    expected = np.flatnonzero(points.frame["set"] == "TR")
    assert all(widget.filter.tolist() == expected.tolist() for widget in maps)
    assert explorer.selection.tolist() == [1, 3]
    _control(explorer, "Class").value = "bed_room"
    assert explorer.selection.tolist() == [3]
    assert "200 images shown, 1 selected" in explorer._status.value
    _control(explorer, "Set").value = "TI"
    assert "0 images shown" in explorer._status.value and "choose another" in explorer._status.value
    for name in ("Set", "Class"):
        _control(explorer, name).value = "all"
    assert all(widget.filter is None for widget in maps)
    assert "800 images shown" in explorer._status.value


def test_the_button_selects_the_farthest_pairs_that_are_shown(points: PointTable) -> None:
    explorer = Explorer(points)
    _maps(explorer)
    _control(explorer, "Farthest pairs").value = 2
    _control(explorer, "Select them").click()
    assert sorted(explorer.selection.tolist()) == [398, 399, 798, 799]
    _control(explorer, "Set").value = "TI"
    _control(explorer, "Select them").click()
    assert sorted(explorer.selection.tolist()) == [396, 398, 796, 798]
    _control(explorer, "Clear selection").click()
    assert explorer.selection.tolist() == []


def test_lines_and_pictures_have_an_upper_bound_that_is_said(points: PointTable) -> None:
    explorer = Explorer(points)
    maps = _maps(explorer)
    explorer.selection = range(HALF)
    assert all(len(widget.annotations) == MOST_LINES for widget in maps)
    assert f"Lines join the {MOST_LINES} farthest of {HALF} pairs." in explorer._status.value
    assert f"{HALF - 24} more are selected but not shown" in explorer._below.value
    assert f"{HALF - 100} more are selected but not shown" in explorer._below.value
    assert explorer._below.value.count("<tr") == 101
    assert explorer._below.value.count("<img") == 48


def test_the_moment_changes_what_the_table_says(points: PointTable) -> None:
    points.frame.loc[0, "prediction before"] = "office"
    explorer = Explorer(points)
    _maps(explorer)
    explorer.selection = [0]
    assert "office" not in explorer._below.value
    _control(explorer, "Distances and answers of").value = "before"
    assert "office" in explorer._below.value


def test_every_control_says_what_it_is_for(points: PointTable) -> None:
    explorer = Explorer(points)
    controls = [c for row in explorer.widget.children[:2] for c in row.children]
    assert len(controls) == 7
    assert all(c.description and c.tooltip for c in controls)


def test_bad_input_is_refused(points: PointTable) -> None:
    with pytest.raises(ValueError, match="cannot be coloured by 'colour'"):
        Explorer(points, colour_by="colour")
    explorer = Explorer(points)
    with pytest.raises(ValueError, match="Found row 800"):
        explorer.selection = [800]
    assert explorer.selection.tolist() == []
