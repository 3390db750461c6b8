"""Pictures and tables of points as HTML: small, made when they are asked for, and escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from socketlab.figures.contact_sheet import Card, count_line
from socketlab.figures.explorer_colours import Colouring
from socketlab.figures.style import FAINT, INK, MUTED
from socketlab.gap.points import Picture, PointTable

SIDE: Final = 104  # pixels, of a thumbnail; a tooltip must fit in half a map's height
MOST_TABLE_ROWS: Final = 100
_QUALITY: Final = 85  # of a JPEG: a pair takes about 5 kB
_GAP: Final = 4


def data_uri(picture: Picture) -> str:
    """uint8 [H, W, 3] as the address of a JPEG that holds itself."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def thumbnail(picture: Picture | None, missing: str = "no picture") -> Picture:
    """uint8 [SIDE, SIDE, 3] with the whole picture, never stretched; grey with words for None."""
    if picture is None:
        return _placeholder(missing)
    image = Image.fromarray(picture)
    share = SIDE / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    # An enlarged picture shows its pixels: it should not look sharper or softer than it is.
    how = Image.Resampling.NEAREST if share > 1 else Image.Resampling.BOX
    sheet = Image.new("RGB", (SIDE, SIDE), FAINT)
    sheet.paste(image.resize(size, how), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(sheet)


@lru_cache(maxsize=8)
def _placeholder(words: str) -> Picture:
    sheet = Image.new("RGB", (SIDE, SIDE), FAINT)
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(sheet).text((SIDE / 2, SIDE / 2), words, MUTED, font, anchor="mm")
    return np.asarray(sheet)


def preview(points: PointTable, row: int) -> str:
    """The row's image and, to its right, that of its partner, as one data URI."""
    partner = int(points.partner[row])
    missing = "no picture" if partner >= 0 else "no partner"
    halves = (thumbnail(points.picture(row)), thumbnail(points.picture(partner), missing))
    between = np.full((SIDE, _GAP, 3), 255, dtype=np.uint8)
    return data_uri(np.concatenate([halves[0], between, halves[1]], axis=1))


def sheet_html(cards: Sequence[Card], more: int, moment: str) -> str:
    """The contact sheet of selected pairs; the same as the still picture, in HTML."""
    found = []
    for card in cards:
        pictures = "".join(
            f'<figure style="margin:0"><figcaption style="color:{MUTED}">{html.escape(cell.name)}'
            f'</figcaption><img alt="{html.escape(cell.name)}" width="84" height="84" '
            f'src="{data_uri(thumbnail(cell.picture, cell.missing))}"></figure>'
            for cell in card.cells
        )
        lines = "".join(
            f'<div style="color:{colour};font-weight:{600 if number == 0 else 400};overflow:hidden;'
            f'text-overflow:ellipsis;white-space:nowrap" title="{html.escape(text)}">'
            f"{html.escape(text)}</div>"
            for number, (text, colour) in enumerate(card.lines)
        )
        width = 84 * len(card.cells) + 3 * (len(card.cells) - 1)
        found.append(
            f'<div style="width:{width}px"><div style="display:flex;gap:3px">{pictures}</div>'
            f"{lines}</div>"
        )
    return (
        f'<div style="font-size:12px;line-height:1.35;color:{INK};background:white;padding:8px">'
        f"<b>{html.escape(count_line(len(cards), more, moment))}</b>"
        f'<div style="display:flex;flex-wrap:wrap;gap:16px;margin-top:6px">{"".join(found)}</div>'
        "</div>"
    )


def legend_html(colours: Colouring) -> str:
    """What the colours mean: a swatch per name, or a scale from its least to its largest value."""
    entries = list(zip(colours.colours, colours.names, strict=True))
    parts = []
    if colours.scale is not None:
        ramp = ",".join(colours.colours[:-1])
        low, high = colours.scale
        parts.append(
            f'{low:.3g} <span style="display:inline-block;width:160px;height:11px;'
            f'background:linear-gradient(90deg,{ramp})"></span> {high:.3g}'
        )
        entries = entries[-1:] if colours.has_unknown else []
    for colour, name in entries:
        parts.append(
            '<span style="display:inline-block;width:11px;height:11px;border-radius:50%;'
            f'background:{colour}"></span> {html.escape(name)}'
        )
    spans = "".join(f'<span style="white-space:nowrap">{part}</span>' for part in parts)
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:4px 14px;font-size:13px;color:{INK};'
        f'background:white;padding:2px 6px">{spans}</div>'
    )
