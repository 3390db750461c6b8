"""What a translator paints, beside what the source model sees in it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.style import MODALITY_COLOURS, class_colours
from socketlab.figures.translations import Translation, translation_sheet

Check = Callable[[Figure], Any]
BEFORE = {"mug": 0.1, "lamp": 0.625, "conference_room": 0.25, "vase": 0.025}
NOW = {"vase": 0.75, "mug": 0.125, "lamp": 0.0625, "conference_room": 0.0625}


def _one(number: int, *, pair: bool, size: tuple[int, int] = (12, 12), **other: Any) -> Translation:
    rng = np.random.default_rng(number)
    parts = {
        "name": f"image {number}",
        "modality": "depth",
        "input": rng.random(size),
        "picture": rng.random((*size, 3)),
        "truth": rng.random((*size, 3)) if pair else None,
        "before": BEFORE,
        "now": NOW,
    }
    return Translation(**(parts | other))


def _images(figure: Figure) -> list[Any]:
    return [axes.images[0].get_array() if axes.images else None for axes in figure.axes]


def _words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def _place(figure: Figure, word: str) -> tuple[float, float]:
    (found,) = [text for text in figure.texts if text.get_text() == word]
    return found.get_position()


def _bars(figure: Figure) -> list[Rectangle]:
    return [bar for bar in figure.artists if isinstance(bar, Rectangle) and bar.get_gid()]


def _bytes(image: Any) -> Any:
    return np.floor(255.0 * np.asarray(image) + 0.5).astype(int)


def test_columns_are_grouped_and_hold_the_images(check_figure: Check) -> None:
    shown = [_one(0, pair=False), _one(1, pair=True), _one(2, pair=False), _one(3, pair=True)]
    figure = check_figure(translation_sheet(shown, title="Epoch 3"))
    found = _images(figure)
    for column, one in enumerate((shown[1], shown[3], shown[0], shown[2])):
        for image, wanted in zip(
            found[3 * column : 3 * column + 3], (one.input, one.picture, one.truth), strict=True
        ):
            assert (image is None) == (wanted is None)
            if wanted is not None:
                np.testing.assert_array_equal(image, _bytes(wanted))
    names = [_place(figure, f"image {number}")[0] for number in (1, 3, 0, 2)]
    assert names == sorted(names)
    assert _place(figure, "TI pairs")[0] == names[0]
    assert _place(figure, "TR images")[0] == names[2]
    words = " ".join(_words(figure))
    assert "not to be recognised, so no class is right" in words
    assert words.count("to be recognised") == 2
    empty = [axes.texts[0].get_text() for axes in figure.axes if axes.texts]
    assert empty == ["no RGB partner"] * 2


def test_images_stand_below_each_other_in_one_column(check_figure: Check) -> None:
    figure = check_figure(translation_sheet([_one(0, pair=True)], title="Epoch 3"))
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.x0, 6) for box in boxes}) == 1
    tops = [box.y1 for box in boxes]
    assert tops == sorted(tops, reverse=True)
    rows = [_place(figure, name)[1] for name in ("Depth", "Translation", "True RGB")]
    for row, box in zip(rows, boxes, strict=True):
        assert box.y0 < row < box.y1
    (label,) = [text for text in figure.texts if text.get_text() == "Depth"]
    assert label.get_color() == MODALITY_COLOURS["depth"]


def test_without_pairs_there_is_no_row_of_true_rgb(check_figure: Check) -> None:
    figure = check_figure(translation_sheet([_one(0, pair=False)], title="Epoch 3"))
    assert len(figure.axes) == 2
    assert "True RGB" not in _words(figure)
    assert "TI pairs" not in _words(figure)


def test_bars_are_the_three_likeliest_classes(check_figure: Check) -> None:
    colours = {name: f"#{k}{k}{k}{k}{k}{k}" for k, name in enumerate(BEFORE, start=1)}
    figure = check_figure(translation_sheet([_one(0, pair=True)], title="Epoch 3", colours=colours))
    bars = _bars(figure)
    assert [bar.get_gid() for bar in bars] == [
        *("lamp", "conference_room", "mug"),
        *("vase", "mug", "lamp"),
    ]
    widths = np.array([bar.get_width() for bar in bars])
    np.testing.assert_allclose(widths / widths[0], np.array([10, 4, 1.6, 12, 2, 1]) / 10)
    tracks = [bar for bar in figure.artists if isinstance(bar, Rectangle) and not bar.get_gid()]
    whole = {round(track.get_width() * 0.625, 9) for track in tracks}
    assert round(widths[0], 9) in whole, "a full bar is 100 %"
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [
        colours[str(bar.get_gid())] for bar in bars
    ]
    heights = [bar.get_y() for bar in bars]
    assert heights == sorted(heights, reverse=True)
    words = _words(figure)
    assert [word for word in words if word.endswith(" %")] == [
        *("62 %", "25 %", "10 %"),
        *("75 %", "12 %", "6 %"),
    ]
    assert "conference room" in words


def test_without_colours_a_class_has_one_colour_everywhere() -> None:
    shown = [_one(0, pair=True), _one(1, pair=False, now={"bowl": 1.0})]
    wanted = class_colours(["bowl", "conference_room", "lamp", "mug", "vase"])
    bars = _bars(translation_sheet(shown, title="Epoch 3"))
    assert {str(bar.get_gid()): to_hex(bar.get_facecolor()).upper() for bar in bars} == wanted
    assert sum(bar.get_gid() == "bowl" for bar in bars) == 1


@pytest.mark.parametrize(
    ("count", "size"), [(1, (224, 224)), (2, (40, 40)), (7, (60, 80)), (12, (40, 40))]
)
def test_nothing_overlaps_however_long_the_names(
    check_figure: Check, count: int, size: tuple[int, int]
) -> None:
    names = ["a_lecture_theatre_without_windows", "W" * 40, "indoor_balcony"]
    answers = dict(zip(names, (1.0, 0.0, 0.0), strict=True))
    shown = [
        _one(k, pair=k % 3 == 0, size=size, name="a very long name of an image", now=answers)
        for k in range(count)
    ]
    title = "Translator residual, epoch 7 of 20: PSNR 23.1 dB, SSIM 0.71 on held-out TI pairs"
    figure = check_figure(translation_sheet(shown, title=title))
    renderer: Any = figure.canvas
    boxes = [text.get_window_extent(renderer.get_renderer()) for text in figure.texts]
    for index, box in enumerate(boxes):
        for other in boxes[index + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            up = min(box.y1, other.y1) - max(box.y0, other.y0)
            # Neighbouring lines share the room of their accents and descenders.
            assert across < 1 or up < 4, "two texts overlap"
    images = [axes.get_position() for axes in figure.axes]
    assert all(box.x1 <= 1.0 for box in images)
    height, width = size
    inches = figure.get_size_inches()
    shape = (images[0].height * inches[1]) / (images[0].width * inches[0])
    assert shape == pytest.approx(height / width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "radar"}, "'radar'. Known: rgb, depth, nir"),
        ({"input": np.zeros((12, 12, 1))}, r"input of 'image 1'.*\(12, 12, 1\)"),
        ({"input": np.zeros((10, 12))}, r"\(10, 12\), the first \(12, 12\)"),
        ({"picture": np.zeros((3, 12, 12))}, r"picture of 'image 1'.*\(3, 12, 12\)"),
        ({"truth": np.zeros((12, 12))}, r"truth of 'image 1'.*\(12, 12\)"),
        ({"picture": np.full((12, 12, 3), 255.0)}, "picture of 'image 1' reaches 255 to 255"),
        ({"input": np.full((12, 12), np.nan)}, "input of 'image 1' reaches nan"),
        ({"truth": np.full((12, 12, 3), -0.5)}, "truth of 'image 1' reaches -0.5"),
        ({"now": {"mug": 90.0}}, "'now' of 'image 1' reaches 90"),
        ({"before": {}}, "'image 1' has no class before"),
    ],
)
def test_translation_sheet_refuses(change: dict[str, Any], message: str) -> None:
    shown = [_one(0, pair=True), replace(_one(1, pair=True), **change)]
    with pytest.raises(ValueError, match=message):
        translation_sheet(shown, title="Epoch 3")


def test_translation_sheet_refuses_nothing_and_a_class_without_colour() -> None:
    with pytest.raises(ValueError, match="no image"):
        translation_sheet([], title="Epoch 3")
    with pytest.raises(ValueError, match="'conference_room' has no colour"):
        translation_sheet([_one(0, pair=True)], title="", colours={"mug": "#000000"})
