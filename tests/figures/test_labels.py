"""Words in the room that they have."""

import itertools
import math

import numpy as np
import pytest

from socketlab.figures.labels import beside, elide, round_ticks, short_number, spread, text_width
from socketlab.figures.style import sheet, styled


@pytest.mark.parametrize("text", ["conference room", "WWWiii,.§", "x"])
@pytest.mark.parametrize("bold", [False, True])
def test_text_width_is_what_is_drawn(text: str, bold: bool) -> None:
    figure = sheet(6, 1)
    weight = "bold" if bold else "normal"
    drawn = styled(figure.text)(0.1, 0.5, text, fontsize=11, fontweight=weight)
    inches = drawn.get_window_extent().width / figure.dpi
    assert text_width(text, 11, bold=bold) == pytest.approx(inches, abs=0.05)


def test_elide_takes_as_much_as_fits() -> None:
    text = "conference room with a table"
    assert elide(text, 10.0, 9) == text
    short = elide(text, 1.0, 9)
    kept = short.removesuffix("…")
    assert short != text and text.startswith(kept)
    assert text_width(short, 9) <= 1.0 < text_width(text[: len(kept) + 2] + "…", 9)
    assert elide(text, 0.01, 9) == "c…"


def test_spread_keeps_the_gap_the_order_and_the_limits() -> None:
    np.testing.assert_allclose(spread(np.array([1.0, 5.0, 9.0]), 1.0, 0.0, 10.0), [1, 5, 9])
    np.testing.assert_allclose(spread(np.array([0.0, 0.1, 5.0]), 1.0, 0.0, 10.0), [0.5, 1.5, 5])
    np.testing.assert_allclose(spread(np.array([5.0, 9.9, 10.0]), 1.0, 0.0, 10.0), [5, 8.5, 9.5])
    same = spread(np.full(10, 4.0), 1.0, 0.0, 10.0)
    np.testing.assert_allclose(same, np.arange(10) + 0.5)


def test_labels_are_apart_within_the_room_and_off_the_points() -> None:
    rng = np.random.default_rng(0)
    anchors = 1.5 + 0.4 * rng.random((8, 2))
    points = np.concatenate([anchors, 4.0 * rng.random((20, 2))])
    sizes = [(0.9, 0.17)] * 8
    corners = beside(anchors, sizes, points, (0.0, 0.0, 4.0, 4.0))
    boxes = [
        (x, y, x + wide, y + high) for (x, y), (wide, high) in zip(corners, sizes, strict=True)
    ]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert all(min(box) >= 0.0 and max(box) <= 4.0 for box in boxes)


def test_a_label_alone_stands_right_beside_its_point_and_left_where_the_room_ends() -> None:
    size = [(1.0, 0.2)]
    alone = np.array([[2.0, 2.0]])
    ((left, bottom),) = beside(alone, size, alone, (0.0, 0.0, 4.0, 4.0))
    assert (left, bottom) == pytest.approx((2.13, 1.9))
    ((left, _),) = beside(alone, size, alone, (0.0, 1.8, 2.5, 2.2))
    assert left + 1.0 < 2.0
    crowd = np.array([[2.0, 2.0], [2.3, 2.0], [2.6, 2.0]])
    ((left, bottom),) = beside(alone, size, crowd, (0.0, 0.0, 4.0, 4.0))
    covered = (abs(crowd[:, 0] - left - 0.5) < 0.5) & (abs(crowd[:, 1] - bottom - 0.1) < 0.1)
    assert not covered.any()


@pytest.mark.parametrize(
    ("low", "high", "gap", "ticks"),
    [
        (90, 400, 0.2, [100, 150, 200, 300]),
        (90, 600, 0.5, [100, 200, 500]),
        (0.9, 40, 1.0, [1, 3, 10, 30]),
        (0.9, 4000, 2.0, [1, 10, 100, 1000]),
        (0.9, 1.2e6, 2.5, [1, 100, 10000, 1000000]),
    ],
)
def test_round_ticks_keep_their_gap(
    low: float, high: float, gap: float, ticks: list[float]
) -> None:
    found = round_ticks(low, high, gap)
    assert found == pytest.approx(ticks)
    assert all(math.log(b / a) >= gap or gap == 2.0 for a, b in itertools.pairwise(found))


def test_short_numbers() -> None:
    numbers = (0.5, 3.0, 1500.0, 20_000.0, 1.5e6, 2e9)
    assert [short_number(number) for number in numbers] == ["0.5", "3", "1500", "20k", "1.5M", "2G"]
