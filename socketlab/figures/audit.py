"""The audit of pseudo-labels in pictures: image by image over the epochs."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.images import Image
from socketlab.figures.labels import elide, text_width
from socketlab.figures.style import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    RIGHT,
    WRONG,
    class_colours,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)
from socketlab.gap.audit import LabelHistory

Pictures = Sequence[Image | None] | Image | Mapping[int, Image] | Callable[[int], Image | None]
"""A thumbnail per row of the history, uint8 [H, W] or [H, W, 3]; any of them may be missing."""
Line = tuple[str, str, bool]

MOST_IMAGES: Final = 24
_ROW, _THUMBNAIL, _SIDE, _UPPER = 0.78, 0.64, 0.2, 2.05  # inches
_CELL, _CONFIDENCE = 0.28, 0.26  # inches high, one below the other
_NO_NUMBER: Final = "\N{MULTIPLICATION SIGN}"
_KEY: Final = (
    "Colours: the pseudo-label at each epoch kept. Bars: how sure the model is (full height: "
    f"100 %, {_NO_NUMBER}: no number)"
)
_JUDGED: Final = "; filled: the pseudo-label is right, hollow: wrong, known in hindsight"


@styled
def label_history(
    history: LabelHistory,
    rows: Sequence[int] | npt.NDArray[np.integer[Any]],
    pictures: Pictures | None = None,
    partners: Pictures | None = None,
    *,
    frame: pd.DataFrame | None = None,
) -> Figure:
    """The images `rows` of a history, a row each: what they were labelled as over the epochs.

    Thumbnail, its partner's where `partners` are given, the true class where it is known, a strip
    with the pseudo-label at each epoch kept, and below it the model's confidence (a full bar is 1;
    filled where the pseudo-label is right, hollow where wrong). With the `frame` that
    `gap.audit.audit_frame` made with features, the two nearest centroids and their cosine
    distances. The first 24 rows are drawn; the heading counts all. A missing picture is a grey
    field that says so; no row at all is said in words.
    Raises ValueError for a row that the history does not have, or a frame of another length.
    """
    chosen = [int(row) for row in rows]
    outside = [row for row in chosen if not 0 <= row < len(history)]
    if outside:
        raise ValueError(f"There is no row {outside[0]}. Give rows of 0 to {len(history) - 1}.")
    if frame is not None and len(frame) != len(history):
        raise ValueError(
            f"The frame has {len(frame)} rows, the history {len(history)} images. "
            "Give the frame that audit_frame made of this history."
        )
    if not chosen:
        return only_words("No image is chosen: loosen the filters")
    shown = chosen[:MOST_IMAGES]
    columns = [(_SIDE, pictures)]
    columns += [] if partners is None else [(_SIDE + _THUMBNAIL + 0.08, partners)]
    text_left = columns[-1][0] + _THUMBNAIL + 0.14
    strip_left, strip = text_left + 2.0, min(5.4, max(1.8, 0.36 * len(history.epochs)))
    right_left = strip_left + strip + 0.2
    width = right_left + 2.0
    key = _KEY + (_JUDGED if history.truth is not None else "")
    last_title = "Last epoch"
    if _has_centroids(frame):
        key, last_title = f"{key}. Distances to centroids are 1 - cosine", "Nearest centroids"
    key, top = fold(f"{key}.", width - 2 * _SIDE, 9), 0.73
    bottom = top + len(shown) * _ROW
    palette = class_colours(history.classes)
    seen = [history.classes[label] for label in np.unique(history.pseudo_labels[:, shown])]
    swatch = 0.5 + max(text_width(class_words(name), 9) for name in seen)
    across = max(1, int((width - _SIDE) / swatch))
    below = bottom + 0.6 + 0.2 * math.ceil(len(seen) / across)
    figure = sheet(width, below + 0.1 + lines_high(key, 9))

    heading = f"Pseudo-labels of {len(chosen):,} of {len(history):,} images"
    heading += f": the first {len(shown)}" if len(shown) < len(chosen) else ""
    write(figure, elide(heading, width - 0.4, 12, bold=True), _SIDE, 0.15, size=12, bold=True)
    titles = [
        (left, title) for (left, _), title in zip(columns, ("Image", "Partner"), strict=False)
    ]
    for left, title in [*titles, (strip_left, "Pseudo-label"), (right_left, last_title)]:
        write(figure, title, left, top - 0.26, size=9.5, bold=True, colour=MUTED)
    # One axes in inches over all: a dozen of them, one per thumbnail, take a second to draw.
    canvas = place(figure, 0, 0, *figure.get_size_inches())
    canvas.set(xlim=(0, width), ylim=(figure.get_figheight(), 0))
    canvas.set_axis_off()
    _strips(place(figure, strip_left, top, strip, bottom - top), history, shown, strip)
    for number, row in enumerate(shown):
        at = top + number * _ROW
        for left, images in columns:
            _thumbnail(canvas, images, row, left, at)
        parts = (text_left, _about(history, row)), (right_left, _at_the_end(history, row, frame))
        for left, lines in parts:
            for line, (text, colour, bold) in enumerate(lines):
                text = elide(text, 1.88, 8.5, bold=bold)
                write(figure, text, left, at + 0.2 * line, size=8.5, bold=bold, colour=colour)
    for number, name in enumerate(seen):
        line, place_in_line = divmod(number, across)
        left, at = _SIDE + place_in_line * swatch, bottom + 0.58 + 0.2 * line
        canvas.add_patch(Rectangle((left, at), 0.14, 0.12, color=palette[name]))
        write(figure, class_words(name), left + 0.2, at, size=9)
    write(figure, key, _SIDE, below, size=9, colour=MUTED)
    return figure


def only_words(text: str) -> Figure:
    figure = sheet(6.0, 0.7)
    write(figure, text, _SIDE, 0.2, size=11, colour=MUTED)
    return figure


def _thumbnail(canvas: Axes, pictures: Pictures | None, row: int, left: float, top: float) -> None:
    """The picture of a row in a square of its place, or a field that says there is none."""
    image = None
    if pictures is not None:
        with contextlib.suppress(LookupError, OSError):
            image = pictures(row) if callable(pictures) else pictures[row]
    if image is None or not _drawable(image):
        canvas.add_patch(Rectangle((left, top), _THUMBNAIL, _THUMBNAIL, color="#F0F1F3"))
        centre = (left + _THUMBNAIL / 2, top + _THUMBNAIL / 2)
        canvas.text(*centre, "no\npicture", color=MUTED, ha="center", va="center", fontsize=9)
        return
    high, wide = (_THUMBNAIL * length / max(image.shape[:2]) for length in image.shape[:2])
    extent = (left, left + wide, top + high, top)
    canvas.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")


def _drawable(image: Image) -> bool:
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    return fits and image.size > 0 and image.dtype == np.uint8


def class_words(name: str) -> str:
    return name.replace("_", " ")


def _about(history: LabelHistory, row: int) -> list[Line]:
    """Lines on an image and its label: text, colour, bold."""
    labels, judged = history.pseudo_labels[:, row], []
    if history.truth is not None:
        right = labels[-1] == history.truth[row]
        text = f"{'✓' if right else '✗'} is {class_words(history.classes[history.truth[row]])}"
        judged = [(text, RIGHT if right else WRONG, False)]
    changes, counted = np.flatnonzero(np.diff(labels)) + 1, "never changed"
    if len(changes):
        counted = f"{len(changes)} change{'s' * (len(changes) > 1)}"
        counted += f", last at epoch {history.epochs[changes[-1]]}"
    return [(history.ids[row], INK, True), *judged, (counted, MUTED, False)]


def _has_centroids(frame: pd.DataFrame | None) -> bool:
    return frame is not None and "margin" in frame


def _at_the_end(history: LabelHistory, row: int, frame: pd.DataFrame | None) -> list[Line]:
    """Lines on the last epoch: centroids where they are known, confidence and answer."""
    sure = history.confidence[-1, row]
    answer = class_words(history.classes[history.answers[-1, row]])
    share = "no confidence" if np.isnan(sure) else f"{100 * sure:.0f} % sure"
    lines = [(f"{share}: {answer}", MUTED, False)]
    if frame is None or not _has_centroids(frame):
        return lines
    found = frame.loc[row]
    centroids = [
        (
            f"{found[f'{name}_distance']:.3f}  {class_words(str(found[name]))}",
            INK,
            name == "nearest",
        )
        for name in ("nearest", "second")
        if found[name]
    ]
    return [*(centroids or [("features are not finite", MUTED, False)]), *lines]


def _strips(axes: Axes, history: LabelHistory, shown: Sequence[int], strip: float) -> None:
    """Labels and bars of confidence over `strip` inches; across epochs kept, down inches."""
    palette, count = list(class_colours(history.classes).values()), len(history.epochs)
    runs, bars = [], []
    for number, row in enumerate(shown):
        top = number * _ROW
        floor = top + _CELL + 0.04 + _CONFIDENCE
        levels = [floor, floor - _CONFIDENCE]
        axes.hlines(levels, 0, count, color=FAINT, linewidth=0.7, zorder=0)
        labels = history.pseudo_labels[:, row]
        starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], count], strict=True):
            name, colour = class_words(history.classes[labels[start]]), palette[labels[start]]
            runs.append(Rectangle((start, top), end - start, _CELL, fc=colour, ec=PAPER, lw=0.8))
            room = (end - start) * strip / count - 0.08
            if room > 0.4:
                middle = ((start + end) / 2, top + _CELL / 2)
                look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8}
                axes.text(*middle, elide(name, room, 8), color=_ink_on(colour), **look)
        for epoch, sure in enumerate(history.confidence[:, row].tolist()):
            if math.isnan(sure):
                axes.text(epoch + 0.5, floor - 0.08, _NO_NUMBER, color=MUTED, ha="center")
                continue
            right = history.truth is None or labels[epoch] == history.truth[row]
            corner, high = (epoch + 0.2, floor), -_CONFIDENCE * sure
            face = MUTED if right else PAPER
            bars.append(Rectangle(corner, 0.6, high, fc=face, ec=MUTED, lw=0.8))
    for boxes in (runs, bars):
        axes.add_collection(PatchCollection(boxes, match_original=True))
    axes.set(xlim=(0, count), ylim=(len(shown) * _ROW, 0), yticks=[], xlabel="Epoch")
    step = math.ceil(0.3 * count / strip)
    axes.set_xticks(np.arange(count)[::step] + 0.5, [str(e) for e in history.epochs[::step]])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _ink_on(colour: str) -> str:
    """Dark or white letters, whichever is easier to read on `colour`."""
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else PAPER
