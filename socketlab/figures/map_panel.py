"""What a map of the feature space is made of, and which colours its groups get."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from socketlab.figures.style import (
    MODALITIES,
    MODALITY_COLOURS,
    Modality,
    class_colours,
    lighten,
)

Coordinates = npt.NDArray[Any]


@dataclass(frozen=True)
class MapPanel:
    """One map of some groups of samples, all projected together.

    `coordinates[group]` is [n, 2]; `modalities[group]` its modality; `labels[group]` its n class
    names, needed to colour by class. `pairs` names two groups whose rows are partners: lines are
    drawn between at most 60 of them. `note` is small text below the map.
    """

    title: str
    coordinates: Mapping[str, Coordinates]
    colour_by: Literal["modality", "class"]
    modalities: Mapping[str, Modality]
    labels: Mapping[str, npt.NDArray[Any]] | None = None
    pairs: tuple[str, str] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.coordinates:
            raise ValueError(f"Map {self.title!r} has no groups. Give at least one.")
        for group, points in self.coordinates.items():
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(
                    f"Group {group!r} has coordinates of shape {points.shape}. Give [n, 2]."
                )
            if self.modalities.get(group) not in MODALITIES:
                raise ValueError(
                    f"Group {group!r} has modality {self.modalities.get(group)!r}. Known: "
                    f"{', '.join(MODALITIES)}."
                )
            if self.colour_by == "class" and len((self.labels or {}).get(group, ())) != len(points):
                raise ValueError(
                    f"Group {group!r} has {len(points)} points and "
                    f"{len((self.labels or {}).get(group, ()))} labels. To colour by class, give "
                    "one label per point."
                )
        if self.pairs is not None:
            sizes = [len(self.coordinates.get(group, ())) for group in self.pairs]
            if sizes[0] != sizes[1] or sizes[0] == 0:
                raise ValueError(
                    f"The pairs of {self.pairs[0]!r} and {self.pairs[1]!r} have {sizes[0]} and "
                    f"{sizes[1]} points. Give two groups whose rows are partners."
                )


def map_classes(panels: Iterable[MapPanel]) -> dict[str, str]:
    """A colour for every class of the panels that colour by class."""
    names = {
        str(name)
        for panel in panels
        if panel.colour_by == "class"
        for labels in (panel.labels or {}).values()
        for name in np.unique(np.asarray(labels, dtype=str))
    }
    return class_colours(sorted(names))


def group_colours(panel: MapPanel) -> dict[str, str]:
    """The modality's colour; a second group of the same modality gets a lighter one."""
    seen: dict[str, int] = {}
    colours = {}
    for group in panel.coordinates:
        modality = panel.modalities[group]
        colours[group] = lighten(MODALITY_COLOURS[modality], min(0.75, 0.5 * seen.get(modality, 0)))
        seen[modality] = seen.get(modality, 0) + 1
    return colours
