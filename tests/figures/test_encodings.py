"""The sheet of encodings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures.encodings import encoding_sheet

Check = Callable[[Figure], Any]


def image(value: int, *channels: int) -> np.ndarray:
    return np.full((12, 16, *channels), value, np.uint8)


def test_a_row_for_each_sample_and_a_column_for_each_way(check_figure: Check) -> None:
    rows = [
        {"RGB": image(1, 3), "depth replicate": image(2), "depth hha": image(3, 3)},
        {"RGB": image(4, 3), "depth replicate": image(5), "depth hha": image(6, 3)},
    ]
    figure = check_figure(encoding_sheet(rows, ["bed", "living_room"], ["hha: no camera."]))
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert [int(pixels.max()) for pixels in shown] == [1, 4, 2, 5, 3, 6]  # column by column
    assert all(pixels.shape == (12, 16, 3) for pixels in shown)
    titles = [axes.get_title(loc="center") for axes in figure.axes]
    assert titles == ["RGB", "", "depth\nreplicate", "", "depth\nhha", ""]
    words = [text.get_text() for text in figure.texts]
    assert words[0] == "bed" and "hha: no camera." in words
    assert {"living", "room"} <= set(" ".join(words).split())


def test_long_notes_and_missing_images_fit(check_figure: Check) -> None:
    note = "Encoding 'hha' of 'cam/depth' needs the camera's intrinsics, and so on. " * 4
    figure = check_figure(
        encoding_sheet([{"RGB": image(1, 3)}, {"nir x": image(2)}], ["a"] * 2, [note])
    )
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["no image", "no image"]


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        ([], [], "0 rows, 0 titles and 0 kinds"),
        ([{}], ["a"], "1 rows, 1 titles and 0 kinds"),
        ([{"RGB": image(1, 3)}], ["a", "b"], "1 rows, 2 titles"),
        ([{"RGB": image(1, 4)}], ["a"], r"'RGB' is uint8 \[12, 16, 4\]\. Give uint8 \[H, W, 3\]"),
        ([{"x": image(1) / 2.0}], ["a"], r"'x' is float64"),
    ],
)
def test_it_refuses(rows: Any, titles: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoding_sheet(rows, titles)
