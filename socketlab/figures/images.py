"""Pictures of samples: what each modality saw, and where the answer changed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from socketlab.figures.style import (
    MODALITIES,
    MODALITY_COLOURS,
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

Image = npt.NDArray[Any]

_INVALID: Final = "#D3D6DA"
_SYMBOLS: Final[Mapping[bool, str]] = {True: "✓", False: "✗"}


@styled
def pair_grid(columns: Sequence[Mapping[str, Image]], titles: Sequence[str]) -> Figure:
    """The images of some samples: a row per modality, a column per sample.

    `columns[j]` maps a modality to its image: `rgb` uint8 [H, W, 3], `depth` metres [H, W] with
    NaN where nothing was measured (drawn grey), `nir` uint8 [H, W]. `titles[j]` is the class of
    sample j. All depth images share one colour scale, from the 1st to the 99th percentile.
    Raises ValueError for no columns, unequal lengths, an unknown modality or a wrong shape.
    """
    if not columns or len(columns) != len(titles):
        raise ValueError(
            f"Found {len(columns)} columns and {len(titles)} titles. Give at least one column "
            "and a title for each."
        )
    for column in columns:
        for modality, image in column.items():
            _check_image(modality, image)
    rows = [modality for modality in MODALITIES if any(modality in column for column in columns)]
    first = next(iter(columns[0].values()))
    cell_width = 1.75 if len(columns) <= 6 else 1.4
    cell_height = cell_width * first.shape[0] / first.shape[1]
    space, left, right = 0.08, 0.75, 0.95
    headings = [fold(title.replace("_", " "), cell_width, 10.5) for title in titles]
    top = 0.2 + max(lines_high(heading, 10.5) for heading in headings)
    width = left + len(columns) * (cell_width + space) + right
    figure = sheet(width, top + len(rows) * (cell_height + space) + 0.12)
    scale = _depth_scale([column["depth"] for column in columns if "depth" in column])
    for row, modality in enumerate(rows):
        row_top = top + row * (cell_height + space)
        for index, column in enumerate(columns):
            box = (left + index * (cell_width + space), row_top, cell_width, cell_height)
            axes = place(figure, *box)
            drawn = draw_image(axes, column.get(modality), scale)
            if row == 0:
                axes.set_title(headings[index], loc="center", fontsize=10.5, pad=5)
            if index == 0:
                axes.set_ylabel(
                    MODALITY_NAMES[modality],
                    color=MODALITY_COLOURS[modality],
                    fontsize=12,
                    fontweight="bold",
                )
            if modality == "depth" and index == len(columns) - 1:
                bar_left = left + len(columns) * (cell_width + space) + 0.04
                _depth_bar(figure, (bar_left, row_top, 0.13, cell_height), scale, drawn)
    return figure


@styled
def changed_examples(
    images: Sequence[Image],
    true: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    confidence_before: Sequence[float] | None = None,
    confidence_after: Sequence[float] | None = None,
    *,
    most: int = 12,
) -> Figure:
    """The images whose answer changed between two models, with both answers.

    `images[i]` is uint8 [H, W, 3], uint8 [H, W] or depth in metres (floats [H, W]); `true`,
    `before` and `after` are class names; confidences are in [0, 1]. Samples are taken in the order
    given, at most `most` of them, so that the choice flatters no model; the heading counts all.
    Raises ValueError for unequal lengths.
    """
    lengths = {
        len(part)
        for part in (images, true, before, after, confidence_before, confidence_after)
        if part is not None
    }
    if len(lengths) != 1:
        raise ValueError(f"Found lists of lengths {sorted(lengths)}. Give one entry per image.")
    changed = [index for index in range(len(true)) if before[index] != after[index]]
    heading = _changed_heading(changed, true, before, after)
    if not changed:
        figure = sheet(6.0, 0.7)
        write(figure, heading, 0.2, 0.2, size=12, bold=True)
        return figure
    shown = changed[: max(1, most)]
    across = min(6, len(shown))
    down = math.ceil(len(shown) / across)
    first = images[shown[0]]
    cell_width, space = 1.9, 0.15
    cell_height = cell_width * first.shape[0] / first.shape[1]
    width = max(6.0, 0.3 + across * (cell_width + space))
    heading = fold(heading, width - 0.3, 12)
    if len(shown) < len(changed):
        heading += f"\nThe first {len(shown)} of them:"
    scale = _depth_scale([images[index] for index in shown])
    is_depth = first.ndim == 2 and first.dtype.kind == "f"
    top, words = 0.3 + lines_high(heading, 12) + (0.22 if is_depth else 0.0), 0.78
    figure = sheet(width, top + down * (cell_height + words) + 0.05)
    write(figure, heading, 0.2, 0.15, size=12, bold=True)
    if is_depth:
        key = f"Depth from {scale.vmin:.1f} m (yellow) to {scale.vmax:.1f} m (purple), grey: none"
        write(figure, key, 0.2, 0.18 + lines_high(heading, 12), size=9.5, colour=MUTED)
    for position, index in enumerate(shown):
        left = 0.2 + (position % across) * (cell_width + space)
        cell_top = top + (position // across) * (cell_height + words)
        axes = place(figure, left, cell_top, cell_width, cell_height)
        draw_image(axes, images[index], scale)
        line_top = cell_top + cell_height + 0.05
        write(figure, _short(f"is {true[index]}", 22), left, line_top, size=9.5, bold=True)
        for line, (when, answers, confidences) in enumerate(
            (("before", before, confidence_before), ("after", after, confidence_after)), start=1
        ):
            correct = answers[index] == true[index]
            share = "" if confidences is None else f" {100 * confidences[index]:.0f} %"
            answer = _short(answers[index], 25 - len(when) - len(share))
            text = f"{_SYMBOLS[correct]} {when} {answer}{share}"
            colour = RIGHT if correct else WRONG
            write(figure, text, left, line_top + 0.19 * line, size=8.5, colour=colour)
    return figure


def draw_image(
    axes: Axes, image: Image | None, scale: Normalize | None = None, *, missing: str = "no image"
) -> AxesImage | None:
    """One image that fills `axes`: uint8 [H, W, 3], uint8 [H, W], or depth as floats [H, W].

    Depth (metres, NaN grey) is coloured over `scale`. For None the word `missing` stands there.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if image is None:
        axes.set_facecolor("#F0F1F3")
        axes.text(0.5, 0.5, missing, color=MUTED, ha="center", va="center", fontsize=9.5)
        return None
    if image.dtype.kind == "f" and image.ndim == 2:
        masked = np.ma.masked_invalid(image)
        return axes.imshow(masked, cmap=_depth_colours(), norm=scale, aspect="auto")
    if image.ndim == 2:
        return axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    return axes.imshow(image, aspect="auto")


def painted(image: Image, low: float, high: float) -> npt.NDArray[np.uint8]:
    """An image as bytes [H, W, 3]: depth (floats, metres) in colours from `low` to `high`."""
    if image.dtype.kind == "f" and image.ndim == 2:
        shown = _depth_colours()(Normalize(low, high)(np.ma.masked_invalid(image)), bytes=True)
        return np.ascontiguousarray(shown[..., :3])
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _changed_heading(
    changed: Sequence[int], true: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> str:
    if not changed:
        return f"None of {len(true)} answers changed"
    corrected = sum(after[index] == true[index] for index in changed)
    broken = sum(before[index] == true[index] for index in changed)
    neither = len(changed) - corrected - broken
    return (
        f"{len(changed)} of {len(true)} answers changed: {corrected} corrected, {broken} broken, "
        f"{neither} wrong both times"
    )


def _check_image(modality: str, image: Image) -> None:
    if modality not in MODALITIES:
        raise ValueError(f"Unknown modality {modality!r}. Known: {', '.join(MODALITIES)}.")
    expected = "[H, W, 3]" if modality == "rgb" else "[H, W]"
    fits = image.ndim == 3 and image.shape[2] == 3 if modality == "rgb" else image.ndim == 2
    if not fits:
        raise ValueError(
            f"A {modality} image has shape {image.shape}. Give it as {expected}, pixels last to "
            "first as rows, columns, channels."
        )


def _depth_scale(images: Sequence[Image]) -> Normalize:
    """The colour scale over all valid depths; 0 to 1 m where there are none."""
    valid = [image[np.isfinite(image)] for image in images if image.dtype.kind == "f"]
    metres = np.concatenate(valid) if valid else np.zeros(0)
    if metres.size == 0:
        return Normalize(0.0, 1.0)
    low, high = (float(value) for value in np.percentile(metres, (1, 99)))
    return Normalize(low, high if high > low else low + 1e-3)


def _depth_colours() -> Colormap:
    return colormaps["viridis_r"].with_extremes(bad=_INVALID)


def _depth_bar(
    figure: Figure,
    box: tuple[float, float, float, float],
    scale: Normalize,
    drawn: AxesImage | None,
) -> None:
    axes = place(figure, *box)
    if drawn is None:
        drawn = AxesImage(axes, cmap=_depth_colours(), norm=scale)
    bar = figure.colorbar(drawn, cax=axes)
    bar.set_label("Depth (m), grey: none" if box[3] > 1.4 else "Depth (m)", fontsize=9)
    bar.outline.set_visible(False)


def _short(text: str, letters: int) -> str:
    text = text.replace("_", " ")
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"
