"""Which classes are taken for which."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from socketlab.figures.style import MUTED, fold, lines_high, place, sheet, styled, write

Matrix = npt.NDArray[Any]


@styled
def confusion(matrices: Mapping[str, Matrix], classes: Sequence[str]) -> Figure:
    """Confusion matrices side by side, each row as percentages of the true class.

    `matrices` maps a title to counts [K, K] with the true class down and the answer across;
    `classes` names the K. The heading of each gives accuracy = trace / sum, and balanced accuracy
    = mean over the classes that have samples of the share answered rightly. A class without
    samples is a grey row.
    Raises ValueError for no matrix, a shape that is not [K, K], or a negative count.
    """
    if not matrices:
        raise ValueError("Found no confusion matrix. Give at least one.")
    count = len(classes)
    for title, matrix in matrices.items():
        if matrix.shape != (count, count):
            raise ValueError(
                f"Confusion matrix {title!r} has shape {matrix.shape} with {count} classes. "
                f"Give it as ({count}, {count})."
            )
        if (matrix < 0).any():
            raise ValueError(f"Confusion matrix {title!r} has a negative count. Give counts.")
    across = min(len(matrices), 3 if count <= 12 else 2)
    down = math.ceil(len(matrices) / across)
    cell = 0.5 if count <= 8 else (0.36 if count <= 14 else 0.31)
    side = max(2.6, cell * count)
    names = [name.replace("_", " ") for name in classes]
    words = 0.078 * max(len(name) for name in names) + 0.15
    gap, left, right = 0.35, 0.4 + words, 0.95
    headings = {title: _heading(title, matrix, side) for title, matrix in matrices.items()}
    head = 0.22 + max(lines_high(n, 11) + lines_high(m, 10) for n, m in headings.values())
    foot = words + 0.4
    figure = sheet(left + across * (side + gap) + right - gap, down * (head + side + foot))
    image: AxesImage | None = None
    for position, (title, matrix) in enumerate(matrices.items()):
        column, row = position % across, position // across
        top = row * (head + side + foot) + head
        axes = place(figure, left + column * (side + gap), top, side, side)
        image = _heat_map(axes, matrix, cell)
        name, measures = headings[title]
        at, above = left + column * (side + gap), top - head + 0.12
        write(figure, name, at, above, size=11, bold=True)
        write(figure, measures, at, above + lines_high(name, 11) + 0.02, size=10)
        ticks = np.arange(count)
        axes.set_xticks(ticks, names, rotation=90)
        axes.set_yticks(ticks, names if column == 0 else [""] * count)
        axes.set_xlabel("Answer")
        if column == 0:
            axes.set_ylabel("True class")
        if position == across - 1 and image is not None:
            bar = place(figure, left + across * (side + gap) - gap + 0.15, top, 0.13, side)
            colour_bar = figure.colorbar(image, cax=bar)
            colour_bar.set_label("Share of the true class (%)")
            colour_bar.outline.set_visible(False)
    return figure


def _heading(title: str, matrix: Matrix, side: float) -> tuple[str, str]:
    total = float(matrix.sum())
    rows = matrix.sum(axis=1)
    if total == 0.0:
        return fold(title, side, 11), "no samples"
    accuracy = float(np.trace(matrix)) / total
    recall = np.diag(matrix)[rows > 0] / rows[rows > 0]
    measures = f"accuracy {100 * accuracy:.1f} %, balanced {100 * float(recall.mean()):.1f} %"
    return fold(title, side, 11), fold(measures, side + 0.3, 10)


def _heat_map(axes: Axes, matrix: Matrix, cell: float) -> AxesImage:
    rows = matrix.sum(axis=1, keepdims=True).astype(np.float64)
    shares = np.divide(
        100.0 * matrix, rows, out=np.full(matrix.shape, np.nan, np.float64), where=rows > 0
    )
    colours = colormaps["Blues"].with_extremes(bad="#DADDE1")
    image = axes.imshow(
        np.ma.masked_invalid(shares), cmap=colours, norm=Normalize(0, 100), aspect="auto"
    )
    size = 10.5 if cell >= 0.5 else (8.5 if cell >= 0.36 else 7.5)
    for (row, column), share in np.ndenumerate(shares):
        if not np.isfinite(share) or matrix[row, column] == 0:
            continue
        axes.text(
            column,
            row,
            f"{share:.0f}",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if row == column else "normal",
            color="white" if share > 55 else "#1B1F24",
        )
    count = len(matrix)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    return image
