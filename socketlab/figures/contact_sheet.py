"""The pictures behind selected points: pairs, translations, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.labels import elide
from socketlab.figures.style import (
    FAINT,
    INK,
    MODALITY_NAMES,
    MUTED,
    RIGHT,
    WRONG,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)
from socketlab.gap.points import Picture, PointTable

MOST_PAIRS: Final = 24
_LONGEST_ANSWER: Final = 12
_MARKS: Final = {"right": " ✓", "wrong": " ✗"}
_COLOURS: Final = {"right": RIGHT, "wrong": WRONG}
_LINE: Final = 0.175  # inches, of one line of text
_SMALL: Final = 8.5  # points


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a card: its name, and the picture or why there is none."""

    name: str
    picture: Picture | None
    missing: str = "no picture"


@dataclass(frozen=True, eq=False)
class Card:
    """One pair: its pictures, and lines of text with their colours."""

    cells: tuple[Cell, ...]
    lines: tuple[tuple[str, str], ...]


def contact_cards(
    points: PointTable, rows: Any, moment: str, most: int = MOST_PAIRS
) -> tuple[list[Card], int]:
    """The pairs that `rows` touch, the farthest at `moment` first, and how many are left out.

    At most `most` are given. All cards have the same cells: a modality each, and the translation
    if there is a translator (of the half that is not RGB, if there is one).

    Raises:
        ValueError: a row or the moment is not in the table.
    """
    pairs = points.far_first(rows, moment)
    modality = points.frame["modality"].to_numpy()
    shown = set(modality[pairs[pairs >= 0]])
    names = [name for name in points.modalities if name in shown]
    cards = [_card(points, pair, moment, names, modality) for pair in pairs[:most].tolist()]
    return cards, max(0, len(pairs) - most)


def _card(
    points: PointTable, pair: list[int], moment: str, names: Sequence[str], modality: Any
) -> Card:
    halves = {str(modality[row]): row for row in pair if row >= 0}
    cells = []
    for name in names:
        missing = "no picture" if name in halves else "no partner"
        cells.append(Cell(named(name), points.picture(halves.get(name, -1)), missing))
    if points.translations is not None:
        target = next((row for name, row in halves.items() if name != "rgb"), pair[0])
        cells.append(Cell("Translation", points.translation(target)))
    first = points.frame.iloc[pair[0]]
    known = (str(first["class"]).replace("_", " "), str(first["set"]))
    lines = [(", ".join(filter(None, known)), INK), (str(first["id"]), MUTED)]
    for name, row in halves.items():
        lines += row_lines(points.frame.iloc[row], moment, named(name))
    distance = float(first[f"distance {moment}"])
    if not math.isnan(distance):
        lines.append((f"distance {distance:.3g} {moment}", INK))
    return Card(tuple(cells), tuple(lines))


def row_lines(row: pd.Series[Any], moment: str, name: str) -> list[tuple[str, str]]:
    """What was predicted for an image at `moment`, as lines of text with a colour; may be none."""
    lines = []
    if row[f"prediction {moment}"]:
        verdict = str(row.get(f"right {moment}", ""))
        share = row[f"confidence {moment}"]
        confidence = "" if math.isnan(share) else f" {100 * share:.0f} %"
        said = str(row[f"prediction {moment}"]).replace("_", " ")
        if len(said) > _LONGEST_ANSWER:  # rather than lose the share and the mark
            said = f"{said[: _LONGEST_ANSWER - 1].rstrip()}…"
        text = f"{name}: {said}{confidence}{_MARKS.get(verdict, '')}"
        lines.append((text, _COLOURS.get(verdict, INK)))
    if row.get("pseudo-label", ""):
        lines.append((f"pseudo-label: {str(row['pseudo-label']).replace('_', ' ')}", INK))
    return lines


def named(modality: str) -> str:
    """The name of a modality for people; an encoder keeps its own."""
    return MODALITY_NAMES.get(modality, modality)


def count_line(cards: int, more: int, moment: str) -> str:
    """How many pairs are shown, of how many, and in which order."""
    if cards == 0:
        return "Nothing is selected."
    if cards == 1 and not more:
        return "1 pair or image."
    rest = f"; {more:,} more are selected but not shown" if more else ""
    return f"{cards:,} pairs or images by their distance {moment}, the farthest first{rest}."


@styled
def contact_sheet(
    points: PointTable, rows: Any, moment: str, *, most: int = MOST_PAIRS, width: float = 11.0
) -> Figure:
    """The pictures of the pairs that `rows` touch, with what is said of them at `moment`.

    At most `most` pairs, the farthest first; the heading says how many more there are. A missing
    picture is grey. `width` in inches.

    Raises:
        ValueError: a row or the moment is not in the table.
    """
    cards, more = contact_cards(points, rows, moment, most)
    heading = fold(count_line(len(cards), more, moment), width - 0.4, 11.0)
    head = 0.2 + lines_high(heading, 11.0) + 0.1
    if not cards:
        figure = sheet(width, head + 0.1)
        write(figure, heading, 0.2, 0.18, size=11.0, bold=True)
        return figure
    across = max(1, 12 // len(cards[0].cells))
    space = 0.25
    card = (width - 0.4 - (across - 1) * space) / across
    cell = (card - 0.05 * (len(cards[0].cells) - 1)) / len(cards[0].cells)
    high = cell * _aspect(cards)
    step = 0.2 + high + 0.06 + _LINE * max(len(one.lines) for one in cards) + 0.18
    figure = sheet(width, head + math.ceil(len(cards) / across) * step)
    write(figure, heading, 0.2, 0.18, size=11.0, bold=True)
    # One page of inches for all pictures: axes for each would take most of the time.
    page = place(figure, 0.0, 0.0, width, figure.get_figheight())
    page.set_axis_off()
    for number, one in enumerate(cards):
        left = 0.2 + (number % across) * (card + space)
        top = head + (number // across) * step
        for place_of, part in enumerate(one.cells):
            _draw(figure, page, part, left + place_of * (cell + 0.05), top, cell, high)
        for line, (text, colour) in enumerate(one.lines):
            at = top + 0.2 + high + 0.06 + line * _LINE
            bold = line == 0
            text = elide(text, card, _SMALL, bold=bold)
            write(figure, text, left, at, size=_SMALL, bold=bold, colour=colour)
    page.set(xlim=(0.0, width), ylim=(figure.get_figheight(), 0.0))
    return figure


def _aspect(cards: Sequence[Card]) -> float:
    """Height over width of the first picture; square if there is none."""
    shapes = [p.picture.shape for one in cards for p in one.cells if p.picture is not None]
    return float(np.clip(shapes[0][0] / shapes[0][1], 0.5, 2.0)) if shapes else 1.0


def _draw(
    figure: Figure, page: Axes, cell: Cell, left: float, top: float, wide: float, high: float
) -> None:
    write(figure, elide(cell.name, wide, _SMALL), left, top + 0.03, size=_SMALL, colour=MUTED)
    below = top + 0.2
    page.add_patch(Rectangle((left, below), wide, high, facecolor=FAINT, linewidth=0.0))
    if cell.picture is None:
        middle = (left + wide / 2, below + high / 2)
        page.text(*middle, cell.missing, ha="center", va="center", fontsize=_SMALL, color=MUTED)
        return
    # As large as fits, and never stretched.
    share = min(wide / cell.picture.shape[1], high / cell.picture.shape[0])
    half_wide, half_high = share * cell.picture.shape[1] / 2, share * cell.picture.shape[0] / 2
    x, y = left + wide / 2, below + high / 2
    extent = (x - half_wide, x + half_wide, y + half_high, y - half_high)
    page.imshow(cell.picture, extent=extent, aspect="auto", zorder=2)
