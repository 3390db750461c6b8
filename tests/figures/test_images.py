"""Pictures of samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures.images import changed_examples, pair_grid

Check = Callable[[Figure], Any]


def _sample(shift: float = 0.0) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[0:24, 0:32]
    depth = 1.0 + shift + rows / 10.0
    depth[:4, :4] = np.nan
    rgb = np.stack([rows * 8, columns * 7, rows + columns], axis=-1).astype(np.uint8)
    return {"rgb": rgb, "depth": depth, "nir": rgb[..., 0]}


def test_pair_grid_shows_every_image_unchanged(check_figure: Check) -> None:
    samples = [_sample(), _sample(1.0)]
    figure = check_figure(pair_grid(samples, ["kitchen", "conference_room"]))
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 6
    expected = [sample[m] for m in ("rgb", "depth", "nir") for sample in samples]
    for found, wanted in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(np.ma.filled(found.astype(float), np.nan), wanted)
    assert figure.axes[1].get_title(loc="center") == "conference room"


def test_depth_images_share_one_scale_and_invalid_pixels_are_masked() -> None:
    figure: Any = pair_grid([_sample(), _sample(3.0)], ["a", "b"])
    depths = [axes.images[0] for axes in figure.axes if axes.images][2:4]
    assert depths[0].norm.vmin == depths[1].norm.vmin
    both = np.concatenate([_sample()["depth"].ravel(), _sample(3.0)["depth"].ravel()])
    assert depths[0].norm.vmax == pytest.approx(np.nanpercentile(both, 99))
    assert depths[0].get_array().mask.sum() == 16


def test_a_missing_modality_is_said(check_figure: Check) -> None:
    figure = check_figure(pair_grid([_sample(), {"rgb": _sample()["rgb"]}], ["a", "b"]))
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["no image", "no image"]


def test_all_invalid_depth_does_not_fail(check_figure: Check) -> None:
    check_figure(pair_grid([{"depth": np.full((8, 8), np.nan)}], ["a"]))


@pytest.mark.parametrize(
    ("columns", "titles", "message"),
    [
        ([], [], "0 columns"),
        ([{"rgb": np.zeros((4, 4, 3), np.uint8)}], ["a", "b"], "2 titles"),
        ([{"deph": np.zeros((4, 4))}], ["a"], "Unknown modality 'deph'. Known: rgb, depth, nir"),
        ([{"rgb": np.zeros((3, 4, 4), np.uint8)}], ["a"], r"\(3, 4, 4\).*\[H, W, 3\]"),
        ([{"depth": np.zeros((4, 4, 1))}], ["a"], r"\[H, W\]"),
    ],
)
def test_pair_grid_refuses(columns: Any, titles: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_grid(columns, titles)


def test_changed_examples_counts_and_marks(check_figure: Check) -> None:
    images = [_sample()["depth"]] * 5
    figure = check_figure(
        changed_examples(
            images,
            true=["a", "b", "c", "d", "e"],
            before=["x", "b", "y", "d", "x"],
            after=["a", "x", "z", "d", "e"],
            confidence_before=[0.1, 0.2, 0.3, 0.4, 0.5],
            confidence_after=[0.6, 0.7, 0.8, 0.9, 1.0],
        )
    )
    words = [text.get_text() for text in figure.texts]
    assert "4 of 5 answers changed: 2 corrected, 1 broken, 1 wrong both times" in " ".join(words)
    assert "✗ before x 10 %" in words
    assert "✓ after a 60 %" in words
    assert "✓ before b 20 %" in words
    assert not any(" d" in word and "after" in word for word in words), "d did not change"
    colours = {t.get_color() for t in figure.texts if t.get_text().startswith("✓")}
    assert colours.isdisjoint(t.get_color() for t in figure.texts if t.get_text().startswith("✗"))


def test_changed_examples_keeps_the_order_and_says_that_there_are_more(
    check_figure: Check,
) -> None:
    number = 30
    figure = check_figure(
        changed_examples(
            [_sample()["rgb"]] * number,
            [f"class_{i}" for i in range(number)],
            ["wrong"] * number,
            [f"class_{i}" for i in range(number)],
            most=7,
        )
    )
    words = [text.get_text() for text in figure.texts]
    assert [w for w in words if w.startswith("is ")] == [f"is class {i}" for i in range(7)]
    assert "The first 7 of them:" in words


def test_nothing_changed(check_figure: Check) -> None:
    figure = check_figure(changed_examples([_sample()["rgb"]], ["a"], ["b"], ["b"]))
    assert figure.texts[0].get_text() == "None of 1 answers changed"


def test_changed_examples_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        changed_examples([_sample()["rgb"]], ["a"], ["b", "c"], ["b"])
