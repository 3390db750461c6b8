"""The forms of the notebooks: every parameter explained and in a group, with the names it knows."""

import time
from typing import Any

import ipywidgets
import pytest

from socketlab.data import known_manifests
from socketlab.runs.forms import FIRST, GROUPS, known_names, parameter_form, show_form
from socketlab.runs.parameters import NOTEBOOKS, ParameterError, from_notebook
from socketlab.runs.planning import cell_defaults
from socketlab.widgets.form import Known


def below(widget: Any) -> list[Any]:
    children = getattr(widget, "children", ())
    return [widget, *(found for child in children for found in below(child))]


def control(widget: Any, name: str) -> Any:
    (found,) = [w for w in below(widget) if getattr(w, "description", "") == name]
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_parameter_of_a_notebook_is_explained_and_in_a_group(name: str) -> None:
    fields = NOTEBOOKS[name].model_fields
    assert [n for n, field in fields.items() if not field.description] == []
    assert set(fields) <= {name for names in GROUPS.values() for name in names}
    assert 3 <= len(set(fields) & set(GROUPS[FIRST])) <= 8


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_form_of_a_notebook_begins_with_its_cell_and_finds_nothing_wrong(name: str) -> None:
    space = cell_defaults(name)
    before = dict(space)
    form = parameter_form(name, space)
    assert "All as in the cell above" in " ".join(
        str(getattr(widget, "value", "")) for widget in below(form.widget)
    )
    assert {key: space[key] for key in before} == before
    assert control(form.widget, "run").value == before["run"]


def test_what_is_set_in_the_form_the_next_cell_reads() -> None:
    space: dict[str, Any] = {**cell_defaults("05_transfer"), "In": []}
    form = parameter_form("05", space)
    control(form.widget, "method").value = "shot"
    control(form.widget, "target").value = "b/nir"
    control(form.widget, "source_options").value = "epochs: 3"
    found: Any = from_notebook("05_transfer", space)
    assert (found.method, found.target) == ("shot", "b/nir")
    assert found.source_options == {"epochs": 3}


def test_a_change_is_checked_within_a_blink() -> None:
    form = parameter_form("05", cell_defaults("05_transfer"))
    seed = control(form.widget, "seed")
    began = time.monotonic()
    for value in range(1, 6):
        seed.value = value
    assert (time.monotonic() - began) / 5 < 0.5


def test_names_follow_the_data_set_and_the_variants() -> None:
    fields = NOTEBOOKS["05_transfer"].model_fields
    scenes = known_names(fields, {})
    assert scenes["source"].values == ["a/rgb", "b/rgb"]
    assert "b/nir" in scenes["target"].values
    assert scenes["data"] == Known(known_manifests(), open=True)
    assert {"nyuv2_scenes_224", "scenes"} <= set(scenes["data"].values)
    assert "held_out" in scenes["protocol"].values
    nyu = known_names(fields, {"data": "nyuv2_scenes_224", "variants": {"plain": "socket"}})
    assert "a/rgb" not in nyu["source"].values
    assert "plain" in nyu["method"].values
    painters = known_names(fields, {"variants": {"plain": "socket", "grey": "translated"}})
    assert painters["translator"].values == ["translated", "grey"]


@pytest.mark.parametrize("values", [{"data": "nowhere"}, {"data": 3}, {"variants": ["a"]}])
def test_values_that_are_wrong_do_not_stop_the_form(values: dict[str, Any]) -> None:
    form = parameter_form("05_transfer", {**cell_defaults("05_transfer"), **values})
    assert isinstance(form.widget, ipywidgets.VBox)


@pytest.mark.parametrize("said", ["0", "1"])
def test_headless_it_leaves_no_trace(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", said)
    monkeypatch.setattr("IPython.display.display", lambda _: None)
    space: dict[str, Any] = {"run": "x"}
    show_form("05_transfer", space)
    assert set(space) == ({"run"} if said == "1" else {"run", "_form_values"})


def test_an_unknown_notebook_is_an_error() -> None:
    with pytest.raises(ParameterError, match="Unknown notebook '99_no'"):
        show_form("99_no", {})
