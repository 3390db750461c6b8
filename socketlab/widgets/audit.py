"""The audit of pseudo-labels in a notebook: filters, a table of what passes, and its pictures."""

import html
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from socketlab.figures.audit import Pictures, label_history
from socketlab.figures.style import to_png
from socketlab.gap.audit import SORTS, LabelHistory, Rows, choose, sort_rows
from socketlab.widgets.audit_controls import (
    ANY,
    LIMITS,
    filter_controls,
    laid_out,
    limits,
    page_buttons,
)
from socketlab.widgets.displayed import Displayed
from socketlab.widgets.tables import table_html

PAGE: Final = 12
MOST_LISTED: Final = 50


@dataclass(frozen=True)
class Filters:
    """What `gap.audit.choose` lets pass and `sort_rows` sorts by; None filters nothing."""

    changed: int = 0
    confidence_below: float | None = None
    right: bool | None = None
    label: str | None = None
    margin_below: float | None = None
    sort_by: str | None = None


class Audit(Displayed):
    """Finds images by how their pseudo-labels came about, and shows them twelve at a time.

    Everything can be set from code as well as by hand; headless there is only the code, and
    `figure` and `table` give the same views.

    Args:
        history: of the target images, by epoch.
        frame: what `audit_frame` made of it.
        pictures: a thumbnail per row of the history, uint8 [H, W] or [H, W, 3], or a function of
            the row; a missing one is drawn as a grey field.
        partners: those of the partners.

    Raises:
        ValueError: when the frame is not of this history.
    """

    def __init__(
        self,
        history: LabelHistory,
        frame: pd.DataFrame,
        pictures: Pictures | None = None,
        partners: Pictures | None = None,
    ) -> None:
        if list(frame.index) != list(range(len(history))) or tuple(frame["id"]) != history.ids:
            raise ValueError(
                f"The frame has {len(frame)} rows, the history {len(history)} images, and a row "
                "must stand for each in its order. Give the frame that audit_frame made of it."
            )
        self._history, self._frame = history, frame
        self._pictures, self._partners = pictures, partners
        self._filters = Filters()
        self._rows: Rows | None = None
        self._page = 0
        self._controls: dict[str, Any] = {}
        self._setting = False

    @property
    def filters(self) -> Filters:
        """The filters as they are set."""
        return self._filters

    def filter(self, **changes: Any) -> None:
        """Set some of the `Filters`, such as `filter(right=False, changed=2)`; others stay.

        Raises ValueError for an unknown class or order, or where the frame lacks what is asked
        for (right needs a truth, a margin features); TypeError for an unknown filter. Then
        nothing is changed.
        """
        filters = replace(self._filters, **changes)
        if filters.label is not None and filters.label not in self._history.classes:
            known = ", ".join(self._history.classes)
            raise ValueError(f"No class is called {filters.label!r}. Known: {known}.")
        self._passing(filters)
        if filters != self._filters:
            self._filters, self._page = filters, 0
            self._refresh()

    @property
    def rows(self) -> Rows | None:
        """The row numbers among which the filters choose, None: all. An empty list shows none."""
        return self._rows

    @rows.setter
    def rows(self, rows: Iterable[int] | npt.NDArray[np.integer[Any]] | None) -> None:
        self.show_rows(rows)

    def show_rows(self, rows: Iterable[int] | npt.NDArray[np.integer[Any]] | None) -> None:
        """Choose among these row numbers of the history only, in their order; None: among all.

        For a lasso: `explorer.on_select(audit.show_rows)`, where its rows are those of the history.
        A row that comes twice counts once. Raises ValueError for one that is not there.
        """
        chosen = None if rows is None else list(dict.fromkeys(int(row) for row in rows))
        outside = [row for row in chosen or [] if not 0 <= row < len(self._history)]
        if outside:
            raise ValueError(
                f"There is no row {outside[0]}. Give rows of 0 to {len(self._history) - 1}."
            )
        self._rows = None if chosen is None else np.array(chosen, dtype=np.int64)
        self._page = 0
        self._refresh()

    @property
    def matches(self) -> Rows:
        """The row numbers that pass, in the order asked for."""
        return self._passing(self._filters)

    @property
    def _pool(self) -> pd.DataFrame:
        return self._frame if self._rows is None else self._frame.loc[self._rows]

    def _passing(self, filters: Filters) -> Rows:
        wanted = asdict(filters)
        by = wanted.pop("sort_by")
        return sort_rows(self._pool, choose(self._pool, **wanted), by)

    def turn(self, pages: int) -> None:
        """Go on by so many pages of twelve images, back if negative, within what there is."""
        last = max(0, (len(self.matches) - 1) // PAGE)
        self._page = min(max(self._page + pages, 0), last)
        self._refresh()

    def table(self) -> pd.DataFrame:
        """The first 50 matches with headings for people; the index holds the row numbers."""
        table = self._frame.loc[self.matches[:MOST_LISTED]]
        latest = table["changed_at"].astype(object)
        table = table.assign(changed_at=latest.where(table["changes"] > 0, "never"))
        if "right" in table:
            table = table.assign(right=np.where(table["right"], "right", "wrong"))
        headings = {name: name.replace("_", " ") for name in table.columns}
        return table.rename(columns=headings).rename_axis(columns="row")

    def message(self) -> str:
        """How many match, which of them are drawn and listed, and what could not be judged."""
        matches, pool = len(self.matches), self._pool
        selected = "" if self._rows is None else "selected "
        parts = [f"{matches:,} of {len(pool):,} {selected}images match."]
        if matches:
            first = self._page * PAGE
            parts += [f"Drawn: {first + 1} to {min(first + PAGE, matches)}."]
        if matches > MOST_LISTED:
            parts += [f"The table lists the first {MOST_LISTED}."]
        for name in LIMITS:
            asked = getattr(self._filters, f"{name}_below") is not None
            if asked and pool[name].isna().any():
                parts += [f"{pool[name].isna().sum():,} without a {name} are left out."]
        return " ".join(parts)

    def figure(self) -> Figure:
        """The page of matches as a picture: `figures.audit.label_history`."""
        rows = self.matches[self._page * PAGE : (self._page + 1) * PAGE]
        return label_history(self._history, rows, self._pictures, self._partners, frame=self._frame)

    @property
    def widget(self) -> Any:
        """Controls, table and pictures as an ipywidgets box, made when it is first asked for."""
        if not self._controls:
            self._build()
        self._refresh()
        return self._box

    def _build(self) -> None:
        orders = [by for by, (column, _) in SORTS.items() if column in self._frame]
        self._controls = filter_controls(self._history, self._frame.columns, orders)
        for name, control in self._controls.items():
            control.observe(lambda change, name=name: self._moved(name, change["new"]), "value")
        actions = (lambda _: self.turn(-1), lambda _: self.turn(1), lambda _: self.show_rows(None))
        self._back, self._next, self._all = buttons = page_buttons(PAGE)
        for button, action in zip(buttons, actions, strict=True):
            button.on_click(action)
        self._box, self._said, self._listed, self._image = laid_out(self._controls, buttons)

    def _moved(self, name: str, value: Any) -> None:
        if not self._setting:
            self.filter(**{name: None if value == ANY else value})

    def _refresh(self) -> None:
        """Bring everything that is shown in line with filters, selection and page."""
        if not self._controls:
            return
        self._setting = True
        for name, value in asdict(self._filters).items():
            column, control = name.removesuffix("_below"), self._controls[name]
            value = ANY if value is None else value
            if column in LIMITS and value not in [limit for _, limit in control.options]:
                control.options = limits(LIMITS[column], value)
            control.value = value
        self._setting = False
        self._back.disabled = self._page == 0
        self._next.disabled = (self._page + 1) * PAGE >= len(self.matches)
        self._all.disabled = self._rows is None
        self._said.value = f'<p role="status">{html.escape(self.message())}</p>'
        self._listed.value = table_html(self.table(), "Images that match")
        self._image.value = to_png(self.figure())
