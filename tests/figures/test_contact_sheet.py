"""The pictures behind points: the right ones in the right order, and grey where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.contact_sheet import contact_cards, contact_sheet, count_line, row_lines
from socketlab.figures.style import INK, RIGHT, WRONG
from socketlab.gap.points import PointTable

Check = Callable[[Figure], Any]
HALF = 30


class Images:
    """Row r is a picture filled with r, plus `plus`; row 2 has none."""

    def __init__(self, plus: int = 0) -> None:
        self.plus = plus

    def picture(self, row: int) -> npt.NDArray[np.uint8] | None:
        """A small picture."""
        return None if row == 2 else np.full((4, 6, 3), row + self.plus, dtype=np.uint8)


def _points(translated: bool = True) -> PointTable:
    """RGB in rows 0 to 29, depth partners in 30 to 59, a depth image alone in 60."""
    n = 2 * HALF + 1
    frame = pd.DataFrame(
        {
            "id": [f"a/{row}" for row in range(n)],
            "set": "TR",
            "modality": ["rgb"] * HALF + ["depth"] * (HALF + 1),
            "partner": [*range(HALF, 2 * HALF), *range(HALF), -1],
            "class": "bed_room",
            "x after": 0.0,
            "y after": 0.0,
            "distance after": [*np.tile(np.linspace(0.1, 3.0, HALF), 2), np.nan],
            "prediction after": ["bed_room"] * HALF + ["lab"] * (HALF + 1),
            "confidence after": 0.256,
            "right after": ["right"] * HALF + ["wrong"] * HALF + [""],
            "pseudo-label": [""] * HALF + ["home_office"] * (HALF + 1),
        }
    )
    return PointTable(("after",), frame, Images(), Images(100) if translated else None)


def test_the_farthest_pair_comes_first_with_all_its_pictures() -> None:
    cards, more = contact_cards(_points(), [60, 3, 38], "after")
    assert more == 0
    names = [[cell.name for cell in card.cells] for card in cards]
    assert names == [["RGB", "Depth", "Translation"]] * 3
    shown = [[int(c.picture[0, 0, 0]) for c in card.cells if c.picture is not None]
             for card in cards]  # fmt: skip
    # Row 8 lies farther than row 3; the lone depth image has no RGB and no distance.
    assert shown == [[8, 38, 138], [3, 33, 133], [60, 160]]
    assert cards[2].cells[0].picture is None and cards[2].cells[0].missing == "no partner"


def test_a_card_says_what_is_known_in_the_colour_of_the_verdict() -> None:
    (card,), _ = contact_cards(_points(), [3], "after")
    assert card.lines[0] == ("bed room, TR", INK)
    assert card.lines[1][0] == "a/3"
    assert card.lines[2] == ("RGB: bed room 26 % ✓", RIGHT)
    assert card.lines[3] == ("Depth: lab 26 % ✗", WRONG)
    assert card.lines[4] == ("pseudo-label: home office", INK)
    assert card.lines[5] == ("distance 0.4 after", INK)
    (lone,), _ = contact_cards(_points(), [60], "after")
    assert [text for text, _ in lone.lines][2:] == ["Depth: lab 26 %", "pseudo-label: home office"]


def test_no_more_than_asked_for_are_shown_and_the_rest_is_counted() -> None:
    cards, more = contact_cards(_points(), range(HALF), "after", most=24)
    assert (len(cards), more) == (24, 6)
    assert cards[0].lines[1][0] == "a/29"
    said = count_line(24, 6, "after")
    assert said.startswith("24 pairs or images by their distance after, the farthest first;")
    assert said.endswith("6 more are selected but not shown.")


def test_without_a_translator_there_is_no_place_for_it() -> None:
    (card,), _ = contact_cards(_points(translated=False), [3], "after")
    assert [cell.name for cell in card.cells] == ["RGB", "Depth"]
    (lone,), _ = contact_cards(_points(translated=False), [60], "after")
    assert [cell.name for cell in lone.cells] == ["Depth"]


def test_the_sheet_shows_the_pictures_of_the_cards(check_figure: Check) -> None:
    figure = check_figure(contact_sheet(_points(), range(HALF), "after"))
    shown = sorted(int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images)
    rows = [row for row in range(6, HALF)]  # the 24 farthest
    assert shown == sorted([*rows, *(r + 30 for r in rows), *(r + 130 for r in rows)])
    for image in figure.axes[0].images:  # 6 wide and 4 high, never stretched
        left, right, low, high = image.get_extent()
        assert (right - left) / (low - high) == pytest.approx(1.5)


def test_missing_pictures_are_grey_and_said_so(check_figure: Check) -> None:
    figure = check_figure(contact_sheet(_points(), [2, 60], "after"))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(words) == ["no partner", "no picture"]
    assert len(figure.axes[0].patches) == 6
    assert len(figure.axes[0].images) == 4


def test_nothing_selected_is_said(check_figure: Check) -> None:
    figure = check_figure(contact_sheet(_points(), [], "after"))
    assert figure.texts[0].get_text() == "Nothing is selected."
    with pytest.raises(ValueError, match="no moment 'before'"):
        contact_sheet(_points(), [1], "before")


def test_a_long_answer_keeps_its_share_and_its_mark() -> None:
    row = pd.Series(
        {"prediction now": "furniture_store_room", "confidence now": 0.64, "right now": "wrong"}
    )
    ((text, colour),) = row_lines(row, "now", "Depth")
    assert text == "Depth: furniture s… 64 % ✗" and colour == WRONG
