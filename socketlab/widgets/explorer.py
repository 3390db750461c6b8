"""Explore a joint map in a notebook: linked maps, pictures, lines between partners."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from socketlab.figures.contact_sheet import contact_cards, contact_sheet
from socketlab.figures.explorer_colours import colouring, colourings
from socketlab.figures.explorer_map import explorer_map
from socketlab.gap.points import PointTable, Rows
from socketlab.widgets.displayed import Displayed
from socketlab.widgets.linked_maps import LinkedMaps
from socketlab.widgets.tables import table_html
from socketlab.widgets.thumbnails import MOST_TABLE_ROWS, legend_html, sheet_html

ALL = "all"


class Explorer(Displayed):
    """A map per moment, linked, with what is behind its points.

    Hovering shows an image beside its partner. A lasso, the button or `selection` chooses points;
    then lines join partners in the maps, and a table and a contact sheet stand below them.
    Headless, `show` makes no widget; `figure` and `sheet` give the same as still pictures.

    Args:
        points: what is drawn.
        colour_by: "modality", "class", "prediction", "distance", "pseudo-label" or "answer".
        height: of the maps in pixels.
        on_select: as for the method.

    Raises:
        ValueError: the points cannot be coloured so.
    """

    def __init__(
        self,
        points: PointTable,
        *,
        colour_by: str = "modality",
        height: int = 420,
        on_select: Callable[[Rows], None] | None = None,
    ) -> None:
        colouring(points, colour_by)
        self.points = points
        self._colour_by = colour_by
        self._height = height
        self._moment = points.moments[-1]
        self._callbacks = [] if on_select is None else [on_select]
        self._selection: Rows = np.zeros(0, dtype=np.int64)
        self._widget: Any = None

    @property
    def selection(self) -> Rows:
        """The selected rows, int64 [k]; setting it selects them in all maps.

        Raises:
            ValueError: one is no row of the table.
        """
        return self._selection.copy()

    @selection.setter
    def selection(self, rows: Any) -> None:
        self._select(self.points.rows(rows))

    def on_select(self, callback: Callable[[Rows], None]) -> None:
        """Call `callback` with the selected rows after every change of the selection."""
        self._callbacks.append(callback)

    def figure(self, selection: Any = None) -> Figure:
        """The maps as a still picture, of `selection` or of what is selected now."""
        rows = self._selection if selection is None else selection
        return explorer_map(self.points, self._colour_by, rows)

    def sheet(self, selection: Any = None) -> Figure:
        """The contact sheet as a still picture, of `selection` or of what is selected now."""
        rows = self._selection if selection is None else selection
        return contact_sheet(self.points, rows, self._moment)

    @property
    def widget(self) -> Any:
        """The explorer as an ipywidgets box, made when it is first asked for."""
        if self._widget is None:
            self._build()
        return self._widget

    def _build(self) -> None:
        import ipywidgets as w

        points = self.points
        self._maps = LinkedMaps(points, self._height, self._take)
        self._legend, self._status, self._below = w.HTML(), w.HTML(), w.HTML()
        wide = {"style": {"description_width": "initial"}, "layout": w.Layout(width="auto")}
        self._colours = w.Dropdown(
            options=[(label, key) for key, label in colourings(points).items()],
            value=self._colour_by, description="Colour by",
            tooltip="What the colour of a point tells", **wide,
        )  # fmt: skip
        self._set = w.Dropdown(
            options=[ALL, *sorted(points.frame["set"].astype(str).unique())],
            description="Set", tooltip="Show the images of one set only", **wide,
        )  # fmt: skip
        self._class = w.Dropdown(
            options=[ALL, *sorted(set(points.frame["class"].astype(str)) - {ALL, ""})],
            description="Class", tooltip="Show the images of one true class only", **wide,
        )  # fmt: skip
        self._numbers = w.Dropdown(
            options=points.moments, value=self._moment, description="Distances and answers of",
            tooltip="Which map the table, the contact sheet and the farthest pairs go by", **wide,
        )  # fmt: skip
        pairs = int((points.partner >= 0).sum()) // 2
        self._most = w.IntSlider(
            value=min(24, pairs), min=min(1, pairs), max=min(300, pairs),
            description="Farthest pairs", tooltip="How many pairs the button selects",
            style={"description_width": "initial"}, disabled=pairs == 0,
        )  # fmt: skip
        farthest = w.Button(
            description="Select them", disabled=pairs == 0,
            tooltip="Select the pairs shown whose halves lie farthest apart",
        )  # fmt: skip
        clear = w.Button(description="Clear selection", tooltip="Select nothing")
        self._colours.observe(lambda _: self._recolour(), names="value")
        self._set.observe(lambda _: self._refilter(), names="value")
        self._class.observe(lambda _: self._refilter(), names="value")
        self._numbers.observe(lambda change: self._go_by(change["new"]), names="value")
        farthest.on_click(lambda _: self._select_farthest())
        clear.on_click(lambda _: self._select(np.zeros(0, dtype=np.int64)))
        row = w.Layout(flex_flow="row wrap", grid_gap="4px 14px")
        filters = [self._colours, self._set, self._class]
        picks = [self._most, farthest, clear]
        if len(points.moments) > 1:
            picks.append(self._numbers)
        note = w.HTML(f"<small>{html.escape(points.note)}</small>")
        self._widget = w.VBox(
            [
                w.HBox(filters, layout=row),
                w.HBox(picks, layout=row),
                self._legend,
                self._maps.widget,
                note,
                self._status,
                self._below,
            ]
        )
        self._recolour()
        self._maps.select(self._selection)
        self._describe()

    def _shown(self) -> Rows | None:
        """The rows that the filters leave; None: all."""
        frame = self.points.frame
        chosen = np.ones(len(frame), dtype=bool)
        for column, control in (("set", self._set), ("class", self._class)):
            if control.value != ALL:
                chosen &= (frame[column].astype(str) == control.value).to_numpy()
        return None if chosen.all() else np.flatnonzero(chosen)

    def _recolour(self) -> None:
        self._colour_by = self._colours.value
        colours = colouring(self.points, self._colour_by)
        self._maps.colour(colours)
        self._legend.value = legend_html(colours)

    def _refilter(self) -> None:
        shown = self._shown()
        self._maps.show_only(shown)
        kept = self._selection if shown is None else np.intersect1d(self._selection, shown)
        if len(kept) < len(self._selection):
            self._select(kept)
        else:
            self._describe()

    def _go_by(self, moment: str) -> None:
        self._moment = moment
        self._describe()

    def _select_farthest(self) -> None:
        found = self.points.farthest(self._most.value, self._moment, among=self._shown())
        rows = found.reshape(-1)
        shown = self._shown()
        self._select(rows if shown is None else rows[np.isin(rows, shown)])

    def _select(self, rows: Rows) -> None:
        self._take(rows)
        if self._widget is not None:
            self._maps.select(rows)

    def _take(self, rows: Rows) -> None:
        """Follow a new selection, whoever made it."""
        if np.array_equal(rows, self._selection):
            return  # the maps tell each other, and then each tells us
        self._selection = rows
        if self._widget is not None:
            self._describe()
        for callback in self._callbacks:
            callback(rows.copy())

    def _describe(self) -> None:
        """Lines, status, table and contact sheet of the selection."""
        pairs = self.points.far_first(self._selection, self._moment)
        drawn = self._maps.join(pairs)
        with_partner = int((pairs[:, 1] >= 0).sum())
        shown = self._shown()
        images = len(self.points) if shown is None else len(shown)
        parts = [f"{images:,} images shown, {len(self._selection):,} selected."]
        if with_partner > drawn:
            parts.append(f"Lines join the {drawn:,} farthest of {with_partner:,} pairs.")
        elif drawn:
            pairs_drawn = "1 pair" if drawn == 1 else f"{drawn:,} pairs"
            parts.append(f"Lines join the partners of {pairs_drawn}.")
        if images == 0:
            parts.append("No image has this set and this class: choose another.")
        elif len(pairs) == 0:
            parts.append("Take the lasso beside a map and draw round points, or press a button.")
        self._status.value = html.escape(" ".join(parts))
        if len(pairs) == 0:
            self._below.value = ""
            return
        table = self.points.table(pairs[:MOST_TABLE_ROWS, 0], self._moment)
        cards, more = contact_cards(self.points, self._selection, self._moment)
        left_out = len(pairs) - MOST_TABLE_ROWS
        listed = table_html(
            table,
            "Pairs that are selected",
            index=False,
            number="{:.3g}",
            height="240px",
            below=f"{left_out:,} more are selected but not shown." if left_out > 0 else "",
        )
        self._below.value = sheet_html(cards, more, self._moment) + listed
