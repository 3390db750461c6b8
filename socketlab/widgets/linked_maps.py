"""Maps of the same points side by side in a notebook: jupyter-scatter, linked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba

from socketlab.figures.contact_sheet import named
from socketlab.figures.explorer_colours import Colouring
from socketlab.figures.explorer_map import square
from socketlab.figures.style import INK, PANEL
from socketlab.gap.points import PointTable, Rows
from socketlab.widgets.thumbnails import SIDE, preview

MOST_LINES: Final = 300
_TOLD: Final = ("image", "class", "prediction", "distance")
_LONGEST_ID: Final = 30
_FEW_LINES: Final = 30
_OPACITY: Final = 0.55


class LinkedMaps:
    """A map per moment; what is selected or hovered in one is so in all.

    A preview is made when the browser asks for it, so that no image is read for the others.

    Args:
        points: what is drawn.
        height: of the maps in pixels.
        on_select: called with the row numbers that a person, or `select`, selects.
    """

    def __init__(self, points: PointTable, height: int, on_select: Callable[[Rows], None]) -> None:
        with warnings.catch_warnings():
            # jscatter 1.0 reads its fonts with an argument that pandas 3 is about to drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            import jscatter

        self._line = jscatter.Line
        self._points = points
        self._on_select = on_select
        self._maps = {m: self._map(jscatter.Scatter, m) for m in points.moments}
        titled = [(one, moment.capitalize()) for moment, one in self._maps.items()]
        self.widget: Any = jscatter.compose(
            titled, sync_selection=True, sync_hover=True, row_height=height
        )
        for moment, one in self._maps.items():
            # The map answers a hover from a column with the previews of all points. Its own
            # handler of messages hides `on_msg`, so this is the only place to make one alone.
            one.widget._handle_tooltip = self._answer(one.widget, moment)
            one.widget.observe(self._selected, names="selection")

    def _map(self, scatter: Any, moment: str) -> Any:
        places = self._points.coordinates(moment)
        frame = pd.DataFrame({"x": places[:, 0], "y": places[:, 1]})
        frame["colour"] = "0"
        # The map wants what a hover says as columns; the values come from `_answer`.
        frame[["picture", *_TOLD]] = False
        x, y = square(self._points)
        size = float(np.clip(15_000 / len(frame), 2.5, 7))
        one = scatter(
            data=frame, x="x", y="y", x_scale=x, y_scale=y, color_by="colour", color_map=[INK],
            size=size, opacity=0.85, opacity_unselected=0.12, axes=False, legend=False,
            background_color=PANEL, lasso_color=INK, reticle=False,
        )  # fmt: skip
        one.order(by=np.random.default_rng(0).permutation(len(frame)))
        one.tooltip(
            enable=True, properties=list(_TOLD), preview="picture", preview_type="image",
            preview_image_height=SIDE - 8, preview_image_size="contain", histograms=False,
            preview_image_position="center", size="small",
        )  # fmt: skip
        return one

    def _answer(self, widget: Any, moment: str) -> Callable[[Any], None]:
        def answer(event: Any) -> None:
            row = int(event["index"])
            told = told_of(self._points, row, moment)
            picture = preview(self._points, row)
            widget.send({"type": "tooltip", "index": row, "preview": picture, "properties": told})

        return answer

    def _selected(self, change: Any) -> None:
        rows = np.asarray([] if change["new"] is None else change["new"], dtype=np.int64)
        self._on_select(rows)

    def colour(self, colours: Colouring) -> None:
        """Colour the points of every map; selected ones keep their colour, others fade."""
        for moment, one in self._maps.items():
            # The map drops the colours that no point has, so they are dropped before.
            used, codes = np.unique(colours.codes[moment], return_inverse=True)
            palette = [to_rgba(colours.colours[code]) for code in used]
            names = pd.Index([str(code) for code in used])
            one.color(by=pd.Categorical.from_codes(codes.astype(int), names), map=palette)
            one.widget.color_selected = palette

    def select(self, rows: Rows) -> None:
        """Select `rows` in every map."""
        for one in self._maps.values():
            one.widget.selection = rows.astype(np.uint32)

    def join(self, pairs: Rows) -> int:
        """Lines between the partners of the first `MOST_LINES` pairs; how many were drawn."""
        joined = pairs[pairs[:, 1] >= 0][:MOST_LINES]
        # Many lines in full ink would hide what they join.
        opacity = _OPACITY * math.sqrt(_FEW_LINES / max(len(joined), _FEW_LINES))
        colour = to_rgba(INK, opacity)
        for moment, one in self._maps.items():
            places = self._points.coordinates(moment)[joined]
            one.annotations([self._line(ends.tolist(), line_color=colour) for ends in places])
        return len(joined)

    def show_only(self, rows: Rows | None) -> None:
        """Hide all points but `rows`; None shows all."""
        for one in self._maps.values():
            one.filter(rows)


def told_of(points: PointTable, row: int, moment: str) -> dict[str, str]:
    """What a hover says of a row: image, class, prediction with confidence, distance."""
    found = points.frame.iloc[row]
    name = str(found["id"])
    if len(name) > _LONGEST_ID:
        name = f"…{name[1 - _LONGEST_ID :]}"  # the end tells images apart, folders begin alike
    share, distance = found[f"confidence {moment}"], found[f"distance {moment}"]
    said = [
        str(found[f"prediction {moment}"]).replace("_", " "),
        str(found.get(f"right {moment}", "")),
    ]
    said.insert(1, "" if math.isnan(share) else f"{100 * share:.0f} %")
    return {
        "image": f"{name} ({named(str(found['modality']))}, {found['set']})",
        "class": str(found["class"]).replace("_", " ") or "not known",
        "prediction": ", ".join(filter(None, said)) if said[0] else "none",
        "distance": "not known" if math.isnan(distance) else f"{distance:.3g}",
    }
