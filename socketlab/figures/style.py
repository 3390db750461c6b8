"""The one look of all figures: colours, sizes, and placing in inches.

Figures are made without pyplot, so nothing has to be closed. Placing is in inches and not by an
automatic layout: it takes no time, and the same data give the same picture.
"""

import functools
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Modality = Literal["rgb", "depth", "nir"]
MODALITIES: Final[tuple[Modality, ...]] = ("rgb", "depth", "nir")

DPI: Final = 110
INK: Final = "#1B1F24"
MUTED: Final = "#5A626C"
FAINT: Final = "#DDE1E6"
PAPER: Final = "#FFFFFF"
PANEL: Final = "#F7F8FA"
RIGHT: Final = "#0072B2"
WRONG: Final = "#C44E00"

# Okabe and Ito, "Color Universal Design" (2008), without black; the yellow is darkened, since the
# original vanishes on a projector's white.
OKABE_ITO: Final[tuple[str, ...]] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#B8A500",
)
# Tol's "muted" scheme, for the classes beyond the first seven.
_MORE_CLASSES: Final[tuple[str, ...]] = (
    "#332288",
    "#882255",
    "#117733",
    "#999933",
    "#6B7078",
    "#44AA99",
    "#CC6677",
    "#AA4499",
    "#7A4B2A",
    "#2F4858",
)

MODALITY_COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {"rgb": "#D55E00", "depth": "#0072B2", "nir": "#009E73"}
)
MODALITY_MARKERS: Final[Mapping[str, str]] = MappingProxyType(
    {"rgb": "o", "depth": "^", "nir": "s"}
)
MODALITY_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"rgb": "RGB", "depth": "Depth", "nir": "NIR"}
)

# Methods of one family share a hue: statistics, information, neighbours, pairs, translation.
METHOD_COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "source": "#7A828C",
        "source_only": "#7A828C",
        "adabn": "#8CCBEE",
        "tent": "#56B4E9",
        "shot_im": "#F2C45A",
        "shot": "#E69F00",
        "distillation": "#009E73",
        "aad": "#CC79A7",
        "nrc": "#DDA6C4",
        "elr": "#B8A500",
        "socket": "#0072B2",
        "translated": "#F4B183",
        "tgkt": "#D55E00",
        "socket_translated": "#7B2D26",
        "oracle": "#B4BAC2",
    }
)

_SETTINGS: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titley": 1.0,  # a fixed place; finding one costs a fifth of the drawing
    "axes.labelsize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8A929C",
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "hatch.color": "#6B7280",
    "hatch.linewidth": 0.8,
    "savefig.bbox": None,
    "savefig.transparent": False,
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`function` under the settings of this module; the caller's settings are put back after."""

    @functools.wraps(function)
    def inside(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with matplotlib.rc_context(_SETTINGS):
            return function(*arguments, **named)

    return inside


@styled
def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file at its own resolution; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=figure.dpi,
        facecolor=figure.get_facecolor(),
        metadata={"Software": None},
    )
    return buffer.getvalue()


def sheet(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches on white."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes whose box is `width` x `height` inches, `left` and `top` inches from the top left."""
    whole_width, whole_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left / whole_width,
            1.0 - (top + height) / whole_height,
            width / whole_width,
            height / whole_height,
        )
    )


def write(
    figure: Figure,
    text: str,
    left: float,
    top: float,
    *,
    size: float = 10.0,
    bold: bool = False,
    colour: str = INK,
) -> None:
    """`text` with its upper left corner at (`left`, `top`) inches from the figure's top left.

    Lines are set on their baselines, since neighbouring words such as "after" and "before"
    would else stand at different heights.
    """
    width, height = figure.get_size_inches()
    for number, line in enumerate(text.split("\n")):
        baseline = top + (0.8 + 1.35 * number) * size / 72.0
        figure.text(
            left / width,
            1.0 - baseline / height,
            line,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color=colour,
            ha="left",
            va="baseline",
        )


def fold(text: str, width: float, size: float = 10.0) -> str:
    """`text` broken into lines that fit `width` inches in letters of `size` points.

    An average letter is taken as 0.62 of the size wide, which is on the safe side for DejaVu Sans.
    """
    letters = max(4, int(width * 72.0 / (0.62 * size)))
    return "\n".join(textwrap.wrap(text, letters)) or text


def signed(text: str) -> str:
    """`text` with a true minus sign, which is as wide as the plus."""
    return text.replace("-", "\N{MINUS SIGN}")


def lines_high(text: str, size: float) -> float:
    """The height in inches of `text` with its line breaks, in letters of `size` points."""
    return (text.count("\n") + 1) * size * 1.35 / 72.0


def method_colour(method: str) -> str:
    """The fixed colour of a method; a variant such as `socket_no_mixup` takes its parent's."""
    for name in sorted(METHOD_COLOURS, key=len, reverse=True):
        if method == name or method.startswith((f"{name}_", f"{name} (")):
            return METHOD_COLOURS[name]
    return "#8D7B68"


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour per class, in the order given; beyond seventeen classes the colours repeat.

    A class has its colour by its place in the alphabet, so that it is the same in every figure.
    """
    palette = OKABE_ITO + _MORE_CLASSES
    rank = {name: place for place, name in enumerate(sorted(set(classes)))}
    return {name: palette[rank[name] % len(palette)] for name in classes}


def lighten(colour: str, share: float) -> str:
    """`colour` (#rrggbb) mixed with `share` of white, 0 (unchanged) to 1 (white)."""
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(c + (255 - c) * share):02X}" for c in channels)
