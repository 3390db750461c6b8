"""Made-up pairs of features as maps, to be held beside their numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from socketlab.figures.map_panel import MapPanel
from socketlab.figures.maps import joint_map
from socketlab.gap.projection import project

Cloud = npt.NDArray[Any]


def toy_maps(clouds: Mapping[str, tuple[Cloud, Cloud]], side: float = 2.9) -> Figure:
    """A map of each pair of clouds (x, y), [n, d] each, by principal components of both together.

    Each map has axes of its own. Raises ValueError without a pair of clouds, and as `project`.
    """
    return joint_map([_panel(name, *halves) for name, halves in clouds.items()], side=side)


def _panel(name: str, x: Cloud, y: Cloud) -> MapPanel:
    halves = {"first": np.asarray(x), "second": np.asarray(y)}
    found = project(halves, method="pca", most=2 * len(x), paired=[("first", "second")])
    return MapPanel(
        title=name,
        coordinates={"RGB": found.coordinates["first"], "other": found.coordinates["second"]},
        colour_by="modality",
        modalities={"RGB": "rgb", "other": "depth"},
        pairs=("RGB", "other"),
        note=f"Principal components, neighbours kept {found.neighbour_agreement:.0%}",
    )
