"""A form for the parameters of a notebook, drawn from their pydantic model; optional to use."""

import html
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from socketlab.figures.style import MUTED, RIGHT, WRONG
from socketlab.widgets.displayed import Displayed
from socketlab.widgets.form_fields import Question, control, hint, offered, question
from socketlab.widgets.form_values import FormValues


@dataclass(frozen=True)
class Known:
    """Values that a text, or a list's entries, can have; `open`: and others, too."""

    values: Sequence[Any]
    open: bool = False


class Form(Displayed):
    """Controls for the fields of a model; what is valid is in force at once, in the namespace.

    What is not valid stays in its control, with the reason, and what was in force stays so. "Run
    all" uses what was set here: see `FormValues`.

    Args:
        model: whose fields are asked for.
        namespace: where the cell above has set values and the cell below reads them.
        check: gives the model of these values, or raises a ValueError that says what is wrong.
        groups: titles, and the names of the fields in each; the first group is always open, the
            others are folded. Fields in none come last.
        known: gives the known values by name of a field, for the values set so far.
    """

    def __init__(
        self,
        model: type[BaseModel],
        namespace: MutableMapping[str, Any],
        *,
        check: Callable[[Mapping[str, Any]], BaseModel],
        groups: Mapping[str, Sequence[str]],
        known: Callable[[Mapping[str, Any]], Mapping[str, Known]],
    ) -> None:
        self._model, self._groups, self._known = model, groups, known
        self.values = FormValues(model, namespace, check)
        self._controls: dict[str, Any] = {}
        self._hints: dict[str, Any] = {}
        self._quiet = False
        self._widget: Any = None

    @property
    def widget(self) -> Any:
        """The form as an ipywidgets box, made when it is first asked for."""
        if self._widget is None:
            self._build()
        return self._widget

    def _questions(self) -> dict[str, Question]:
        known = self._known(self.values.asked)
        found = {}
        for name, field in self._model.model_fields.items():
            offers = known.get(name, Known(()))
            found[name] = question(
                name,
                field,
                choices=offers.values,
                open=offers.open,
            )
        return found

    def _build(self) -> None:
        import ipywidgets as w

        self._asked = self._questions()
        for name, asked in self._asked.items():
            self._controls[name] = control(asked, self.values.value(name))
            self._hints[name] = w.HTML(layout=w.Layout(flex="1 1 20em", min_width="12em"))
            self._controls[name].observe(lambda _, name=name: self._answer(name), names="value")
        self._said = w.HTML()
        self._reset = w.Button(
            description="Use the cell's values",
            icon="undo",
            tooltip="Forget what was set in this form",
            layout=w.Layout(width="14em", flex="0 0 auto"),
        )
        self._reset.on_click(lambda _: self._forget())
        listed = {name for names in self._groups.values() for name in names}
        left = [name for name in self._asked if name not in listed]
        first, *folded = (
            (title, w.VBox([self._row(name) for name in names if name in self._asked]))
            for title, names in {**self._groups, "Other": left}.items()
        )
        self._said.layout = w.Layout(flex="1 1 auto")
        told = w.HBox([self._said, self._reset], layout=w.Layout(align_items="center"))
        more = [part for title, box in folded if box.children for part in self._folded(title, box)]
        self._widget = w.VBox([first[1], told, *more])
        self._tell()

    def _row(self, name: str) -> Any:
        import ipywidgets as w

        row = w.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 12px")
        return w.HBox([self._controls[name], self._hints[name]], layout=row)

    def _folded(self, title: str, box: Any) -> tuple[Any, Any]:
        """A group that is hidden until its button is pressed; no key reaches an Accordion."""
        import ipywidgets as w

        names = ", ".join(row.children[0].description for row in box.children)
        button = w.Button(
            description=f"{title}: {names}",
            icon="caret-right",
            tooltip=f"Show or hide {names}",
            layout=w.Layout(width="auto", max_width="100%", align_self="flex-start"),
        )
        box.layout.display = "none"

        def turn(_: Any) -> None:
            hidden = box.layout.display == "none"
            box.layout.display = "flex" if hidden else "none"
            button.icon = "caret-down" if hidden else "caret-right"

        button.on_click(turn)
        return button, box

    def _answer(self, name: str) -> None:
        if self._quiet:
            return
        self.values.note = ""
        said = self._controls[name].value
        self.values.answer(name, lambda: self._asked[name].meant(said))
        self._offer()
        self._tell()

    def _forget(self) -> None:
        self.values.note = ""
        self.values.forget()
        self._offer()
        self._quiet = True
        for name, asked in self._asked.items():
            self._controls[name].value = asked.said(self.values.value(name))
        self._quiet = False
        self._offer()
        self._tell()

    def _offer(self) -> None:
        """Offer the names that belong to the values as they are now, e.g. to another data set."""
        self._asked = self._questions()
        self._quiet = True
        for name, asked in self._asked.items():
            shown, value = self._controls[name], self._controls[name].value
            if asked.kind == "choice":
                # The value in force stays choosable, so that going back to it is one step.
                options = offered(asked, self.values.value(name), value)
                if list(shown.options) != options:
                    shown.options = options
                    shown.value = value
            elif asked.kind == "suggestions":
                shown.options = [str(choice) for choice in asked.choices]
        self._quiet = False

    def _tell(self) -> None:
        """Beside every control its help, and below all what is wrong or what was changed."""
        values = self.values
        for name, asked in self._asked.items():
            waits = name in values.waiting or name in values.unread
            still = f"Not in force; still {values.value(name)!r}. " if waits else ""
            self._hints[name].value = (
                f'<div style="font-size: 13px; color: {MUTED}; line-height: 1.3">'
                f'<b style="color: {WRONG}">{html.escape(still)}</b>{html.escape(hint(asked))}'
                "</div>"
            )
        problem = "\n".join(filter(None, (values.note, values.problem)))
        lines = html.escape(problem or self._summary()).replace("\n", "<br>")
        colour = WRONG if problem else RIGHT
        self._said.value = (
            f'<div role="status" style="color: {colour}; line-height: 1.4"><b>{lines}</b></div>'
        )
        self._reset.disabled = not (values.changes or values.waiting or values.unread)

    def _summary(self) -> str:
        changes = self.values.changes
        if not changes:
            return "All as in the cell above. The next cell reads what you set here."
        differs = [
            f"{name} = {value!r} (cell: {cell!r})" for name, (cell, value) in changes.items()
        ]
        return (
            f"In force instead of the cell's values: {', '.join(differs)}. Now run the cells "
            "below. To keep it for good, write it into the cell above."
        )
