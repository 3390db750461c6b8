"""What a translator paints, and what the source model sees in it: before and now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from socketlab.figures.images import draw_image
from socketlab.figures.labels import elide, text_width
from socketlab.figures.style import (
    FAINT,
    INK,
    MODALITY_COLOURS,
    MODALITY_NAMES,
    MUTED,
    class_colours,
    fold,
    lines_high,
    place,
    sheet,
    styled,
    write,
)

Array = npt.NDArray[Any]

_MOST_CLASSES: Final = 3
_LEFT: Final = 1.22  # inches, of the rows' names
_SPACE: Final = 0.09
_GROUP_SPACE: Final = 0.4
_ENTRY: Final = 0.29  # of one class: its name and its bar
_BAR: Final = 0.07
_SMALL: Final = 8.5  # points
_HEADINGS: Final[Mapping[bool, tuple[str, str]]] = {
    True: ("TI pairs", "not to be recognised, so no class is right"),
    False: ("TR images", "to be recognised"),
}


@dataclass(frozen=True)
class Translation:
    """One image of the target camera, and its translation at some moment of training.

    `input` [H, W] and `picture` [H, W, 3], what the translator paints now, are in [0, 1]. `truth`
    [H, W, 3] is the RGB partner of a TI pair, None for a TR image. `before` and `now` map classes
    to the probability that the source model gives them, on the raw input and on the picture.
    """

    name: str
    modality: str
    input: Array
    picture: Array
    truth: Array | None
    before: Mapping[str, float]
    now: Mapping[str, float]


@styled
def translation_sheet(
    shown: Sequence[Translation], *, title: str, colours: Mapping[str, str] | None = None
) -> Figure:
    """A column per image: input, translation, true RGB, and the source model's answers.

    TI pairs stand at the left, TR images at the right, each in the order given. Under the images
    are the three likeliest classes on the raw input ("before") and on the picture ("now"); a full
    bar is 100 %. `colours` gives every class its colour, so that it is the same on all sheets of a
    run; without, the classes that occur are coloured in the order of the alphabet. The row of the
    true RGB is left out where no image has one.
    Raises ValueError for no image, images of unlike sizes, a wrong shape, values or probabilities
    outside [0, 1], an unknown modality, or a class without a colour.
    """
    _check(shown)
    seen = sorted({name for one in shown for name in (*one.before, *one.now)})
    colours = class_colours(seen) if colours is None else colours
    without = [name for name in seen if name not in colours]
    if without:
        raise ValueError(
            f"Class {without[0]!r} has no colour. Give one for each of {len(seen)} classes, as "
            "style.class_colours does."
        )
    groups = [
        (_HEADINGS[has_truth], part)
        for has_truth in (True, False)
        if (part := [one for one in shown if (one.truth is not None) == has_truth])
    ]
    cell = 1.7 if len(shown) <= 6 else 1.45 if len(shown) <= 9 else 1.3
    high = cell * shown[0].input.shape[0] / shown[0].input.shape[1]
    wide = [len(part) * (cell + _SPACE) - _SPACE for _, part in groups]
    width = max(5.6, _LEFT + sum(wide) + _GROUP_SPACE * (len(groups) - 1) + 0.25)
    starts = [_LEFT + n * _GROUP_SPACE + sum(wide[:n]) for n in range(len(groups))]
    ends = [*(start - _GROUP_SPACE / 2 for start in starts[1:]), width - 0.15]
    title = fold(title, width - 0.4, 12.5)
    notes = [
        fold(heading[1], end - start, 9)
        for (heading, _), start, end in zip(groups, starts, ends, strict=True)
    ]
    top = 0.24 + lines_high(title, 12.5)
    rule = top + 0.24 + max(lines_high(note, 9) for note in notes)
    images = rule + 0.32
    rows = 3 if any(one.truth is not None for one in shown) else 2
    bars = images + rows * (high + _SPACE) + 0.08
    chart = _MOST_CLASSES * _ENTRY + 0.16
    figure = sheet(width, bars + 2 * chart)
    write(figure, title, 0.2, 0.14, size=12.5, bold=True)
    _name_rows(figure, shown, images, high, rows, bars, chart)
    for (heading, part), note, start, length in zip(groups, notes, starts, wide, strict=True):
        write(figure, heading[0], start, top, size=10.5, bold=True)
        write(figure, note, start, top + 0.2, size=9, colour=MUTED)
        _rectangle(figure, start, rule, length, 0.012, MUTED)
        for number, one in enumerate(part):
            left = start + number * (cell + _SPACE)
            write(figure, elide(one.name, cell, 9.5), left, rule + 0.1, size=9.5)
            for row, image in enumerate((one.input, one.picture, one.truth)[:rows]):
                axes = place(figure, left, images + row * (high + _SPACE), cell, high)
                draw_image(axes, None if image is None else _bytes(image), missing="no RGB partner")
            for row, answers in enumerate((one.before, one.now)):
                _answers(figure, answers, left, bars + row * chart, cell - 0.06, colours)
    return figure


def _check(shown: Sequence[Translation]) -> None:
    if not shown:
        raise ValueError("There is no image to show. Give one translation at least.")
    size = shown[0].input.shape
    for one in shown:
        if one.modality not in MODALITY_NAMES:
            raise ValueError(
                f"{one.name!r} has the unknown modality {one.modality!r}. Known: "
                f"{', '.join(MODALITY_NAMES)}."
            )
        if one.input.ndim != 2 or one.input.shape != size:
            raise ValueError(
                f"The input of {one.name!r} has shape {one.input.shape}, the first {size}. Give "
                "all as [H, W] of one size."
            )
        for what, image in (("picture", one.picture), ("truth", one.truth)):
            if image is not None and image.shape != (*size, 3):
                raise ValueError(
                    f"The {what} of {one.name!r} has shape {image.shape}. Give it as {(*size, 3)}, "
                    "the size of the input and three channels last."
                )
        for what, image in (("input", one.input), ("picture", one.picture), ("truth", one.truth)):
            if image is not None:
                _check_unit(f"The {what} of {one.name!r}", image)
        for what, answers in (("before", one.before), ("now", one.now)):
            if not answers:
                raise ValueError(f"{one.name!r} has no class {what}. Give one at least.")
            _check_unit(f"{what!r} of {one.name!r}", np.array(list(answers.values())))


def _check_unit(what: str, values: Array) -> None:
    # Written so that NaN, which compares as false, is refused.
    if not (values.min() >= -1e-6 and values.max() <= 1.0 + 1e-6):
        raise ValueError(
            f"{what} reaches {values.min():g} to {values.max():g}. Give values in [0, 1]."
        )


def _bytes(image: Array) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _name_rows(
    figure: Figure,
    shown: Sequence[Translation],
    images: float,
    high: float,
    rows: int,
    bars: float,
    chart: float,
) -> None:
    modalities = sorted({one.modality for one in shown})
    inputs = " and ".join(MODALITY_NAMES[modality] for modality in modalities)
    colour = MODALITY_COLOURS[modalities[0]] if len(modalities) == 1 else INK
    for row, (name, name_colour) in enumerate(
        ((inputs, colour), ("Translation", INK), ("True RGB", MODALITY_COLOURS["rgb"]))[:rows]
    ):
        middle = images + row * (high + _SPACE) + high / 2
        write(figure, name, 0.2, middle - 0.08, size=10.5, bold=True, colour=name_colour)
    for row, (name, note) in enumerate(
        (("Before", "the source\nmodel on the\nraw input"), ("Now", "on the\ntranslation"))
    ):
        top = bars + row * chart
        write(figure, name, 0.2, top, size=10.5, bold=True)
        write(figure, note, 0.2, top + 0.2, size=_SMALL, colour=MUTED)


def _answers(
    figure: Figure,
    answers: Mapping[str, float],
    left: float,
    top: float,
    wide: float,
    colours: Mapping[str, str],
) -> None:
    """The likeliest classes, each a line of text with its bar below: text needs no bar's room."""
    likeliest = sorted(answers.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    for number, (name, probability) in enumerate(likeliest):
        line = top + number * _ENTRY
        share = f"{100 * probability:.0f} %"
        share_left = left + wide - text_width(share, _SMALL)
        label = elide(name.replace("_", " "), share_left - left - 0.06, _SMALL)
        write(figure, label, left, line, size=_SMALL)
        write(figure, share, share_left, line, size=_SMALL)
        _rectangle(figure, left, line + 0.145, wide, _BAR, FAINT)
        drawn = _rectangle(figure, left, line + 0.145, wide * probability, _BAR, colours[name])
        drawn.set_gid(name)


def _rectangle(
    figure: Figure, left: float, top: float, wide: float, high: float, colour: str
) -> Rectangle:
    width, height = figure.get_size_inches()
    rectangle = Rectangle(
        (left / width, 1.0 - (top + high) / height),
        wide / width,
        high / height,
        facecolor=colour,
        linewidth=0.0,
        transform=figure.transFigure,
    )
    figure.add_artist(rectangle)
    return rectangle
