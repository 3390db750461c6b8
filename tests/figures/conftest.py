"""What every figure has to satisfy: it draws, and no text is cut off."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from socketlab.figures.style import to_png


def cut_off(figure: Figure) -> list[str]:
    """The texts of a figure that reach beyond its edge by more than a pixel."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    found = []
    for text in _drawn(figure):
        box = text.get_window_extent(canvas.get_renderer())
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(text.get_text())
    return found


def _drawn(figure: Figure) -> list[Text]:
    """The texts that are drawn: tick labels outside the view are made but not drawn."""
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(limits)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - 1e-9 <= float(tick.get_loc()) <= high + 1e-9:
                    hidden |= {id(tick.label1), id(tick.label2)}
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text)
        and id(text) not in hidden
        and text.get_visible()
        and text.get_text().strip()
    ]


def _check(figure: Figure) -> Figure:
    assert to_png(figure).startswith(b"\x89PNG")
    assert cut_off(figure) == []
    return figure


@pytest.fixture
def check_figure() -> Callable[[Figure], Figure]:
    """Draws a figure, checks it, and hands it back."""
    return _check


@pytest.fixture
def find_cut_off() -> Callable[[Figure], list[str]]:
    """The texts of a figure that its edge cuts off."""
    return cut_off
