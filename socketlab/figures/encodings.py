"""What a network is shown: the same few images under every encoding, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from socketlab.figures.style import MUTED, PANEL, fold, lines_high, place, sheet, styled, write

Image = npt.NDArray[Any]

_CELL: Final = 1.3  # inches
_SPACE: Final = 0.07
_LEFT: Final = 1.15
_HEADING: Final = 10.0
_NOTE: Final = 9.0


@styled
def encoding_sheet(
    rows: Sequence[Mapping[str, Image]], titles: Sequence[str], notes: Sequence[str] = ()
) -> Figure:
    """A row per sample, a column per way to show it, as exactly the bytes that a network gets.

    `rows[i]` maps the name of a way ("RGB", "depth replicate", ...) to uint8 [H, W, 3] or
    [H, W]; the columns are in the order in which the names first come, and a sample may lack some.
    `titles[i]` is the class of sample i. `notes` are sentences below, one a line, such as why an
    encoding is missing.
    Raises ValueError for no rows, no images, unequal lengths or an image of another shape or type.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names or len(rows) != len(titles):
        raise ValueError(
            f"Found {len(rows)} rows, {len(titles)} titles and {len(names)} kinds of image. Give "
            "at least one row with an image, and a title for each."
        )
    for name, image in ((name, image) for row in rows for name, image in row.items()):
        colours = image.ndim == 3 and image.shape[2] == 3
        if image.dtype != np.uint8 or not (colours or image.ndim == 2):
            raise ValueError(
                f"Image {name!r} is {image.dtype} {list(image.shape)}. Give uint8 [H, W, 3] or "
                "[H, W]."
            )
    first = next(image for row in rows for image in row.values())
    high = _CELL * first.shape[0] / first.shape[1]
    headings = [name.replace(" ", "\n") for name in names]
    top = 0.2 + max(lines_high(heading, _HEADING) for heading in headings)
    width = _LEFT + len(names) * (_CELL + _SPACE) + 0.1
    words = [fold(note, width - 0.3, _NOTE) for note in notes]
    below = sum(lines_high(word, _NOTE) + 0.05 for word in words)
    body = len(rows) * (high + _SPACE)
    figure = sheet(width, top + body + below + 0.15)
    for column, (name, heading) in enumerate(zip(names, headings, strict=True)):
        for index, row in enumerate(rows):
            left = _LEFT + column * (_CELL + _SPACE)
            axes = place(figure, left, top + index * (high + _SPACE), _CELL, high)
            _draw(axes, row.get(name))
            if index == 0:
                axes.set_title(heading, loc="center", fontsize=_HEADING, pad=5)
    for index, title in enumerate(titles):
        label = fold(title.replace("_", " "), _LEFT - 0.2, _HEADING)
        middle = top + index * (high + _SPACE) + (high - lines_high(label, _HEADING)) / 2
        write(figure, label, 0.12, middle, size=_HEADING, bold=True)
    line = top + body + 0.05
    for word in words:
        write(figure, word, 0.12, line, size=_NOTE, colour=MUTED)
        line += lines_high(word, _NOTE) + 0.05
    return figure


def _draw(axes: Axes, image: Image | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if image is None:
        axes.set_facecolor(PANEL)
        axes.text(
            0.5, 0.5, "no image", transform=axes.transAxes,
            color=MUTED, ha="center", va="center", fontsize=_NOTE,
        )  # fmt: skip
        return
    shown = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    axes.imshow(shown, aspect="auto", interpolation="nearest")
