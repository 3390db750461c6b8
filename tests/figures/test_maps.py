"""The map of the feature space."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from socketlab.figures.maps import MapPanel, joint_map
from socketlab.figures.style import MODALITY_COLOURS

Check = Callable[[Figure], Any]
MODALITIES = {"rgb": "rgb", "depth": "depth"}


def _points(number: int = 90, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(1).normal(shift, 1.0, (number, 2))


def _panel(**changes: Any) -> MapPanel:
    coordinates = {"rgb": _points(), "depth": _points(shift=4.0)}
    values = {
        "title": "Before adaptation",
        "coordinates": coordinates,
        "colour_by": "modality",
        "modalities": MODALITIES,
        "pairs": ("rgb", "depth"),
        "note": "joint UMAP, trustworthiness 0.96",
    }
    return MapPanel(**{**values, **changes})


def _scattered(axes: Any) -> list[Any]:
    return [item for item in axes.collections if isinstance(item, PathCollection)]


def test_every_point_is_drawn_once_in_its_modalitys_colour(
    check_figure: Check,
) -> None:
    panel = _panel()
    figure = check_figure(joint_map([panel, _panel(title="After")]))
    for group, points in panel.coordinates.items():
        drawn = [
            item.get_offsets()
            for item in _scattered(figure.axes[0])
            if to_hex(item.get_facecolor()[0]).upper() == MODALITY_COLOURS[group]
        ]
        found = np.concatenate(drawn)
        assert sorted(map(tuple, found)) == sorted(map(tuple, points))


def test_at_most_sixty_lines_join_partners_only() -> None:
    panel = _panel()
    figure: Any = joint_map([panel])
    (lines,) = [i for i in figure.axes[0].collections if isinstance(i, LineCollection)]
    segments = lines.get_segments()
    assert len(segments) == 60
    partners = {tuple(point): tuple(panel.coordinates["depth"][i])
                for i, point in enumerate(panel.coordinates["rgb"])}  # fmt: skip
    assert all(partners[tuple(start)] == tuple(end) for start, end in segments)
    few: Any = joint_map([_panel(coordinates={"rgb": _points(5), "depth": _points(5)})])
    (lines,) = [i for i in few.axes[0].collections if isinstance(i, LineCollection)]
    assert len(lines.get_segments()) == 5


def test_classes_have_one_colour_in_all_panels(check_figure: Check) -> None:
    labels = {group: np.array(["kitchen", "home_office", "lab"] * 30) for group in MODALITIES}
    panels = [_panel(colour_by="class", labels=labels, pairs=None, title=t) for t in "ab"]
    figure = check_figure(joint_map(panels))
    for axes in figure.axes:
        colours = {to_hex(c) for item in _scattered(axes) for c in item.get_facecolor()}
        assert len(colours) == 3
    legends = [artist for artist in figure.artists if hasattr(artist, "get_texts")]
    words = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert words == ["RGB (90)", "Depth (90)", "home office", "kitchen", "lab"]


def test_two_groups_of_one_modality_differ(check_figure: Check) -> None:
    figure = check_figure(
        joint_map(
            [
                _panel(
                    coordinates={"TR rgb": _points(), "TI rgb": _points()},
                    modalities={"TR rgb": "rgb", "TI rgb": "rgb"},
                    pairs=None,
                )
            ]
        )
    )
    colours = {to_hex(c) for item in _scattered(figure.axes[0]) for c in item.get_facecolor()}
    assert len(colours) == 2


def test_shared_limits() -> None:
    near, far = _panel(), _panel(coordinates={"rgb": _points() * 9, "depth": _points() * 9})
    apart: Any = joint_map([near, far])
    assert apart.axes[0].get_xlim() != apart.axes[1].get_xlim()
    shared: Any = joint_map([near, far], shared_limits=True)
    assert shared.axes[0].get_xlim() == shared.axes[1].get_xlim()
    assert shared.axes[0].get_xlim()[1] >= 9 * _points()[:, 0].max()


def test_same_panels_same_picture() -> None:
    first, second = (joint_map([_panel()]) for _ in range(2))
    for one, other in zip(_scattered(first.axes[0]), _scattered(second.axes[0]), strict=True):
        np.testing.assert_array_equal(one.get_offsets(), other.get_offsets())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinates": {}}, "no groups"),
        ({"coordinates": {"rgb": np.zeros((4, 3))}}, r"\(4, 3\)"),
        ({"modalities": {"rgb": "rgb"}}, "'depth' has modality None. Known: rgb, depth, nir"),
        ({"colour_by": "class"}, "90 points and 0 labels"),
        ({"pairs": ("rgb", "nir")}, "90 and 0 points"),
    ],
)
def test_map_panel_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _panel(**changes)


def test_joint_map_refuses_no_panel() -> None:
    with pytest.raises(ValueError, match="no map panel"):
        joint_map([])
