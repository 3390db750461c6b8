"""The legend of maps: the marker of every modality, the colour of every class."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from socketlab.figures.labels import in_rows
from socketlab.figures.map_panel import MapPanel, group_colours
from socketlab.figures.style import MODALITY_MARKERS, MODALITY_NAMES, MUTED

ROW: float = 0.27
"""The height of a row of the legend in inches."""


def legend_rows(
    panels: Sequence[MapPanel], classes: Mapping[str, str], width: float
) -> list[list[Artist]]:
    """Markers first, then classes, in rows that fit `width` inches."""
    markers, swatches = _entries(panels, classes)
    return in_rows(markers, _wide, width) + in_rows(swatches, _wide, width)


def draw_legend(figure: Figure, rows: Sequence[Sequence[Artist]], left: float, top: float) -> None:
    """The rows below each other, from (`left`, `top`) inches from the figure's top left."""
    width, height = figure.get_size_inches()
    for row in rows:
        legend = figure.legend(
            handles=list(row),
            loc="upper left",
            bbox_to_anchor=((left - 0.06) / width, 1 - top / height),
            ncols=len(row),
            borderaxespad=0.0,
            handlelength=1.4,
            handleheight=0.8,
            handletextpad=0.4,
            columnspacing=1.3,
            fontsize=10.5,
        )
        figure.add_artist(legend)
        figure.legends.remove(legend)
        top += ROW


def _marker(modality: str, colour: str, label: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=MODALITY_MARKERS[modality], color=colour, markersize=8,
        markeredgecolor="white", markeredgewidth=0.6, label=label,
    )  # fmt: skip


def _entries(
    panels: Sequence[MapPanel], classes: Mapping[str, str]
) -> tuple[list[Artist], list[Artist]]:
    markers: dict[str, Artist] = {}
    for panel in panels:
        colours = group_colours(panel)
        for group, points in panel.coordinates.items():
            modality = panel.modalities[group]
            name = MODALITY_NAMES[modality] if group == modality else group
            by_class = panel.colour_by == "class"
            if by_class and any(part.colour_by == "modality" for part in panels):
                continue
            colour = MUTED if by_class else colours[group]
            markers.setdefault(name, _marker(modality, colour, f"{name} ({len(points):,})"))
    swatches: list[Artist] = [
        Patch(facecolor=colour, edgecolor="none", label=name.replace("_", " "))
        for name, colour in classes.items()
    ]
    lines: list[Artist] = []
    if any(panel.pairs for panel in panels):
        lines = [Line2D([], [], color="#3A4048", alpha=0.6, linewidth=1.2, label="partners")]
    return [*markers.values(), *lines], swatches


def _wide(handle: Artist) -> float:
    return 0.52 + 0.092 * len(str(handle.get_label()))
