"""From a field of a pydantic model to a control: which kind, within which bounds, and back."""

import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

Kind = Literal["text", "integer", "number", "flag", "choice", "suggestions", "list", "mapping"]
BEYOND = 2**31 - 1  # of integers without a bound; JavaScript and ipywidgets both hold it
FEW = 4  # known values of a text are listed beside it
LONGEST_LINE = 68  # of a mapping before YAML breaks it


@dataclass(frozen=True)
class Question:
    """One field as a person is asked for it.

    Attributes:
        name: of the field.
        kind: of the control. `suggestions` is a text with some known values offered.
        help: what the field means, in a sentence.
        choices: values of `choice`, `suggestions` and of a list's entries.
        low, high: bounds of a number, None where there is none.
        optional: whether it can be left empty, which is None.
    """

    name: str
    kind: Kind
    help: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    optional: bool = False

    @property
    def bounds(self) -> str:
        """The bounds in words, nothing where there is none: `1 to 12`, `0 or more`."""
        if self.low is not None and self.high is not None:
            return f"{self.low:,g} to {self.high:,g}"
        if self.low is not None:
            return f"{self.low:,g} or more"
        return f"{self.high:,g} or less" if self.high is not None else ""

    def said(self, value: Any) -> Any:
        """A value of the field as its control holds it: text for lists, mappings and None."""
        if self.kind in ("list", "mapping"):
            return _as_yaml(value)
        if self.kind in ("text", "suggestions"):
            return "" if value is None else str(value)
        return value

    def meant(self, said: Any) -> Any:
        """What a person means by what the control holds; an empty text is None, [] or {}.

        Raises:
            ValueError: for a text that is not plain YAML, naming the field.
        """
        if self.kind in ("list", "mapping"):
            return self._from_yaml(said)
        if self.optional and isinstance(said, str) and not said.strip():
            return None
        return said.strip() if isinstance(said, str) else said

    def _from_yaml(self, text: str) -> Any:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problem = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ValueError(f"{self.name}: not plain YAML: {problem}.") from error
        if value is None:
            return [] if self.kind == "list" else {}
        return value


def question(
    name: str, field: FieldInfo, *, choices: Sequence[Any] = (), open: bool = False
) -> Question:
    """How a person is asked for a field of a pydantic model.

    Args:
        name: of the field.
        field: as `model.model_fields` has it.
        choices: known values of a text, or of a list's entries.
        open: whether other values than those are allowed, too.
    """
    kind, offered, optional = _kind(field.annotation)
    asked = Question(name, kind, field.description or "", offered, optional=optional)
    for bound in field.metadata:
        asked = replace(asked, low=getattr(bound, "ge", asked.low))
        asked = replace(asked, high=getattr(bound, "le", asked.high))
    if kind == "list":
        asked = replace(asked, choices=tuple(choices))
    if kind == "text" and choices:
        asked = replace(asked, kind="suggestions" if open else "choice", choices=tuple(choices))
    if optional and kind in ("integer", "number"):
        return replace(asked, kind="text")  # a field of numbers cannot be empty
    return asked


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...], bool]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and type(None) in inside:
        (only,) = (part for part in inside if part is not type(None))
        kind, offered, _ = _kind(only)
        return kind, offered, True
    if origin is Literal:
        return "choice", inside, False
    plain: dict[Any, Kind] = {bool: "flag", int: "integer", float: "number"}
    nested: dict[Any, Kind] = {list: "list", dict: "mapping"}
    return plain.get(annotation, nested.get(origin, "text")), (), False


def control(asked: Question, value: Any) -> Any:
    """The control of a question, which begins with `value`; it can be labelled and reached by key.

    A number beyond its bounds, and a choice that is not offered, is shown as it is all the same:
    a control that showed another value than the one in force would lie.
    """
    import ipywidgets as w

    said, tooltip = asked.said(value), f"{asked.name}: {hint(asked)}"
    about: dict[str, Any] = {
        "description": asked.name,
        "tooltip": tooltip,
        "style": {"description_width": "138px"},
        "layout": w.Layout(width="440px"),
    }
    if asked.kind == "flag":
        return w.Checkbox(bool(said), indent=True, **about)
    if asked.kind == "choice":
        return w.Dropdown(options=offered(asked, said), value=said, **about)
    about["continuous_update"] = False
    if asked.kind == "integer" and _within(asked, said):
        return w.BoundedIntText(said, min=_low(asked), max=_high(asked), **about)
    if asked.kind == "number" and _within(asked, said):
        return w.BoundedFloatText(said, min=_low(asked), max=_high(asked), **about)
    if asked.kind == "suggestions":
        options = [str(choice) for choice in asked.choices]
        return w.Combobox(value=said, options=options, ensure_option=False, **about)
    if asked.kind == "mapping":
        lines = said.splitlines()
        about["layout"].width = "700px" if lines else about["layout"].width
        return w.Textarea(said, rows=min(8, max(2, len(lines) + 1)), **about)
    return w.Text(str(said), placeholder="empty: none" if asked.optional else "", **about)


def offered(asked: Question, *values: Any) -> list[Any]:
    """The choices, and the values in use that are none of them."""
    found = list(asked.choices)
    for value in values:  # which may be a list, by mistake, and then has no hash
        found += [value] if value not in found else []
    return found


def hint(asked: Question) -> str:
    """Help and bounds in a line: `examples shown. 1 to 12.`"""
    written = {"list": "A list in YAML: [one, two]", "mapping": "YAML: a name, a colon, a value"}
    few = asked.kind == "suggestions" and len(asked.choices) <= FEW
    listed = asked.choices if asked.kind == "list" or few else ()
    known = f"Known: {', '.join(map(str, listed))}" if listed else ""
    parts = [asked.help, asked.bounds, known, written.get(asked.kind, "")]
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _low(asked: Question) -> Any:
    return -BEYOND if asked.low is None else asked.low


def _high(asked: Question) -> Any:
    return BEYOND if asked.high is None else asked.high


def _within(asked: Question, value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and bool(_low(asked) <= value <= _high(asked))


def _as_yaml(value: Any) -> str:
    if not value:
        return ""
    text = yaml.safe_dump(value, default_flow_style=None, sort_keys=False, width=LONGEST_LINE)
    return str(text).strip()
