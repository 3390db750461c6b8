"""A form for parameters: what is valid is in force at once, what is not waits and says why."""

from collections.abc import Mapping
from typing import Any, Literal

import ipywidgets
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from socketlab.widgets import displayed
from socketlab.widgets.form import Form, Known
from socketlab.widgets.form_fields import question
from socketlab.widgets.form_values import MISSING

PLACES = {"here": ("x", "y"), "there": ("z",)}
Space = dict[str, Any]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data: str = Field("here", description="where <from>")
    place: str = Field("x", description="which of them")
    count: int = Field(6, ge=1, le=12, description="how many")
    least: int = Field(0, ge=0)
    share: float = Field(0.5, ge=0, le=1)
    crop: int | None = Field(None, ge=8, description="pixels")
    mode: Literal["fast", "slow"] = "slow"
    loud: bool = False
    seeds: list[int] = Field([0], min_length=1)
    options: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _place_exists(self) -> "Settings":
        if self.place not in PLACES.get(self.data, ()):
            raise ValueError(f"no place {self.place!r} in {self.data!r}")
        return self


def check(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError("; ".join(str(found["msg"]) for found in error.errors())) from None


def known(values: Mapping[str, Any]) -> dict[str, Known]:
    data = values.get("data", "here")
    return {
        "data": Known(list(PLACES), open=True),
        "place": Known(PLACES.get(data, ())),
        "seeds": Known([0, 1]),
    }


def made(space: Space, **about: Any) -> Form:
    given: Space = {"check": check, "known": known}
    groups = {"First": ["data", "place"], "Numbers": ["count", "least", "share", "crop"]}
    return Form(Settings, space, groups=groups, **(given | about))


def below(widget: Any) -> list[Any]:
    children = getattr(widget, "children", ())
    return [widget, *(found for child in children for found in below(child))]


def controls(form: Form) -> dict[str, Any]:
    names = set(Settings.model_fields)
    found = [w for w in below(form.widget) if getattr(w, "description", None) in names]
    assert len(found) == len(names)
    return {widget.description: widget for widget in found}


def hint_of(form: Form, name: str) -> str:
    (row,) = [
        w
        for w in below(form.widget)
        if type(w) is ipywidgets.HBox and w.children[0] is controls(form)[name]
    ]
    return str(row.children[1].value)


def status(form: Form) -> str:
    (found,) = [w for w in below(form.widget) if 'role="status"' in str(getattr(w, "value", ""))]
    return str(found.value)


def button(form: Form) -> Any:
    (found,) = [w for w in below(form.widget) if getattr(w, "icon", "") == "undo"]
    return found


def test_every_field_has_the_control_of_its_kind_with_its_value_and_bounds() -> None:
    space = {"count": 9, "seeds": [3, 4], "options": {"a": {"b": 1}}, "crop": 56, "loud": True}
    found = controls(made(space))
    assert {name: type(widget) for name, widget in found.items()} == {
        "data": ipywidgets.Combobox,
        "place": ipywidgets.Dropdown,
        "count": ipywidgets.BoundedIntText,
        "least": ipywidgets.BoundedIntText,
        "share": ipywidgets.BoundedFloatText,
        "crop": ipywidgets.Text,
        "mode": ipywidgets.Dropdown,
        "loud": ipywidgets.Checkbox,
        "seeds": ipywidgets.Text,
        "options": ipywidgets.Textarea,
    }
    assert (found["count"].value, found["count"].min, found["count"].max) == (9, 1, 12)
    assert found["least"].min == 0
    assert found["least"].max > 2_000_000_000
    assert (found["share"].min, found["share"].max) == (0.0, 1.0)
    assert found["data"].value == "here"
    assert found["data"].options == ("here", "there")
    assert found["place"].options == ("x", "y")
    assert found["mode"].options == ("fast", "slow")
    assert found["crop"].value == "56"
    assert found["seeds"].value == "[3, 4]"
    assert found["options"].value == "a: {b: 1}"
    assert found["loud"].value is True


def test_every_control_has_a_tooltip_and_a_text_beside_it() -> None:
    form = made({})
    for name, widget in controls(form).items():
        assert widget.tooltip.startswith(name)
    assert "how many. 1 to 12." in hint_of(form, "count")
    assert "0 or more." in hint_of(form, "least")
    assert "where &lt;from&gt;." in hint_of(form, "data")
    assert "which of them." in hint_of(form, "place")
    assert "Known: 0, 1. A list" in hint_of(form, "seeds")
    assert "Known: here, there." in hint_of(form, "data")


def test_the_first_group_is_open_the_others_are_folded_and_none_is_left_out() -> None:
    form = made({})
    first, _, button, numbers, another, other = form.widget.children
    inside = [
        [row.children[0].description for row in box.children] for box in (first, numbers, other)
    ]
    assert inside[0] == ["data", "place"]
    assert inside[1] == ["count", "least", "share", "crop"]
    assert sorted(name for names in inside for name in names) == sorted(Settings.model_fields)
    assert button.description == "Numbers: count, least, share, crop"
    assert another.description.startswith("Other: mode")
    assert first.layout.display is None
    for _ in range(2):
        assert (numbers.layout.display, other.layout.display) == ("none", "none")
        button.click()
        assert (numbers.layout.display, other.layout.display) == ("flex", "none")
        button.click()


@pytest.mark.parametrize(
    ("name", "said", "value"),
    [
        ("count", 12, 12),
        ("share", 0.25, 0.25),
        ("crop", "48", 48),
        ("crop", " ", None),
        ("mode", "fast", "fast"),
        ("loud", True, True),
        ("place", "y", "y"),
        ("seeds", "[1, 2]", [1, 2]),
        ("options", "a: {b: 2}\nc: {}", {"a": {"b": 2}, "c": {}}),
        ("options", "", {}),
    ],
)
def test_a_valid_change_is_in_force_at_once(name: str, said: Any, value: Any) -> None:
    space: Space = {"crop": 56, "options": {"a": {"b": 1}}}
    form = made(space)
    controls(form)[name].value = said
    assert space[name] == value
    assert name in status(form)
    assert repr(value) in status(form).replace("&#x27;", "'")
    others = {key for key in space if not key.startswith("_")}
    assert others == {"crop", "options", name}


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        ("crop", "4", "greater than or equal to 8"),
        ("crop", "wide", "valid integer"),
        ("seeds", "[]", "at least 1 item"),
        ("seeds", "", "at least 1 item"),
        ("seeds", "[0, a]", "valid integer"),
        ("options", "a: {b: 1", "options: not plain YAML"),
        ("options", "{a: 1}", "valid dictionary"),
        ("data", "nowhere", "no place &#x27;x&#x27; in &#x27;nowhere&#x27;"),
    ],
)
def test_what_is_not_valid_waits_and_says_why(name: str, said: Any, reason: str) -> None:
    space: Space = {"crop": 56, "seeds": [3], "options": {"a": {"b": 1}}, "data": "here"}
    before = dict(space)
    form = made(space)
    controls(form)[name].value = said
    assert {key: space[key] for key in before} == before
    assert reason in status(form)
    assert "Not in force; still" in hint_of(form, name)
    assert controls(form)[name].value == said
    controls(form)["loud"].value = True
    assert space["loud"] is True
    assert reason in status(form)
    controls(form)[name].value = question(name, Settings.model_fields[name]).said(before[name])
    assert "Not in force" not in hint_of(form, name)
    assert reason not in status(form)


def test_two_answers_that_fit_only_together_wait_for_each_other() -> None:
    space: Space = {}
    form = made(space)
    controls(form)["data"].value = "there"
    assert "data" not in space
    assert controls(form)["place"].options == ("z", "x")
    assert controls(form)["place"].value == "x"
    controls(form)["place"].value = "z"
    assert (space["data"], space["place"]) == ("there", "z")
    assert "Not in force" not in hint_of(form, "data")


def test_what_the_cell_says_wrongly_is_shown_as_it_is_with_the_reason() -> None:
    space: Space = {"count": 50, "mode": "medium", "place": ["x"]}
    form = made(space)
    found = controls(form)
    assert found["count"].value == "50"
    assert found["mode"].value == "medium"
    assert found["place"].value == ["x"]
    assert "less than or equal to 12" in status(form)
    assert space["count"] == 50


def test_a_new_run_of_the_parameters_cell_keeps_what_was_set_here() -> None:
    cell: Space = {"count": 3, "mode": "slow"}
    space = dict(cell)
    first = made(space)
    controls(first)["count"].value = 4
    controls(first)["mode"].value = "fast"
    controls(first)["crop"].value = "16"
    space.update(cell)
    second = made(space)
    assert (space["count"], space["mode"], space["crop"]) == (4, "fast", 16)
    assert controls(second)["count"].value == 4
    assert second.values.changes["crop"] == (MISSING, 16)
    assert "count = 4 (cell: 3)" in status(second)
    made(space)
    assert space["count"] == 4


def test_a_parameter_that_was_edited_in_the_cell_takes_the_cells_value() -> None:
    space: Space = {"count": 3, "mode": "slow"}
    first = made(space)
    controls(first)["count"].value = 4
    controls(first)["mode"].value = "fast"
    space.update({"count": 7, "mode": "slow"})
    form = made(space)
    assert (space["count"], space["mode"]) == (7, "fast")
    assert set(form.values.changes) == {"mode"}


def test_what_no_longer_fits_the_cell_is_given_up_and_said() -> None:
    space: Space = {"data": "here", "place": "x"}
    first = made(space)
    controls(first)["place"].value = "y"
    space.update({"data": "there", "place": "x"})
    form = made(space)
    assert space["place"] == "x"
    assert "no longer fits the cell above" in status(form)
    assert form.values.changes == {}


def test_the_button_goes_back_to_the_cell() -> None:
    space: Space = {"count": 3}
    form = made(space)
    assert button(form).disabled
    found = controls(form)
    found["count"].value, found["mode"].value, found["crop"].value = 4, "fast", "1"
    assert not button(form).disabled
    button(form).click()
    assert {key: space[key] for key in space if not key.startswith("_")} == {"count": 3}
    assert (found["count"].value, found["mode"].value, found["crop"].value) == (3, "slow", "")
    assert button(form).disabled
    assert "All as in the cell above" in status(form)


def test_a_value_set_back_by_hand_is_no_change() -> None:
    space: Space = {"count": 3}
    form = made(space)
    for name, values in (("count", (4, 3)), ("mode", ("fast", "slow"))):
        for value in values:
            controls(form)[name].value = value
    assert form.values.changes == {}
    assert "mode" not in space


@pytest.mark.parametrize("watched", [True, False])
def test_headless_it_shows_nothing(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(displayed, "headless", lambda: not watched)
    monkeypatch.setattr("IPython.display.display", shown.append)
    form = made({})
    form.show()
    assert shown == ([form.widget] if watched else [])
