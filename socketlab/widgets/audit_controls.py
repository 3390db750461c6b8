"""The controls of the audit of pseudo-labels, and how they are laid out."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from socketlab.gap.audit import LabelHistory

# In a selection of ipywidgets None means that nothing is chosen, so it cannot stand for "any".
ANY: Final = ""
LIMITS: Final = {
    "confidence": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "margin": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
}


def filter_controls(
    history: LabelHistory, columns: Collection[str], orders: Sequence[str]
) -> dict[str, Any]:
    """A control for each of the audit's filters, by name; disabled where its column is missing."""
    import ipywidgets as widgets

    judged = [("any", ANY), ("right", True), ("wrong", False)]
    classes = [(name.replace("_", " "), name) for name in history.classes]
    controls: dict[str, Any] = {
        "changed": widgets.BoundedIntText(
            description="Changed at least",
            max=len(history.epochs) - 1,
            tooltip="How often the pseudo-label changed from one kept epoch to the next",
        )
    }
    for column, values in LIMITS.items():
        controls[f"{column}_below"] = widgets.SelectionSlider(
            description=f"{column.capitalize()} below",
            options=limits(values, ANY),
            value=ANY,
            continuous_update=False,
            disabled=column not in columns,
            tooltip=f"The {column} at the last epoch; arrow keys move the limit",
        )
    for name, text, options, tooltip in (
        ("right", "Label is", judged, "Known in hindsight, from the true classes"),
        ("label", "Last label", [("any", ANY), *classes], "The last pseudo-label"),
        (
            "sort_by",
            "Sort by",
            [("as given", ANY), *((by, by) for by in orders)],
            "The order of the images",
        ),
    ):
        controls[name] = widgets.Dropdown(
            description=text, options=options, value=ANY, tooltip=tooltip
        )
    controls["right"].disabled = "right" not in columns
    for name, control in controls.items():
        control.style.description_width = "initial"
        control.layout.width = "200px" if name == "changed" else "280px"
    return controls


def page_buttons(page: int) -> list[Any]:
    """Back, next and all images, of pages of so many images."""
    import ipywidgets as widgets

    return [
        widgets.Button(description=text, tooltip=tooltip, icon=icon)
        for text, tooltip, icon in (
            ("Back", f"The {page} images before", "arrow-left"),
            ("Next", f"The next {page} images", "arrow-right"),
            ("All images", "Choose among all images, not only the selected ones", "undo"),
        )
    ]


def laid_out(controls: dict[str, Any], buttons: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The whole box, and in it the line that says how many match, the table and the picture."""
    import ipywidgets as widgets

    wrap = widgets.Layout(flex_flow="row wrap")
    said, listed = widgets.HTML(), widgets.HTML()
    image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
    filters = widgets.HBox(list(controls.values()), layout=wrap)
    pages = widgets.HBox(list(buttons), layout=wrap)
    return widgets.VBox([filters, pages, said, listed, image]), said, listed, image


def limits(values: Sequence[float], extra: Any) -> list[tuple[str, Any]]:
    """What a slider offers: limits from low to high, and none at all at the right end."""
    found = sorted({*values, *([] if extra == ANY else [extra])})
    return [*((f"{limit:g}", limit) for limit in found), ("any", ANY)]
