"""The toy with sliders: a case sets them all, and map and numbers follow every one of them."""

import re
import sys
from typing import Any

import ipywidgets
import pytest

from socketlab.widgets import toys
from socketlab.widgets.toys import CASES, ToyGap


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    return ToyGap(n=60, d=8).widget


def parts(box: Any) -> tuple[Any, dict[str, Any], Any, Any]:
    """The dropdown, the sliders by name, the map and the table."""
    left, table = box.children
    controls, image = left.children
    case, *sliders = controls.children
    assert isinstance(case, ipywidgets.Dropdown)
    return case, {s.description: s for s in sliders}, image, table


def number(table: Any, measure: str) -> float:
    found = re.search(rf"<th>{re.escape(measure)}</th>\s*<td>([^<]+)</td>", table.value)
    assert found is not None, table.value
    return float(found.group(1))


def test_headless_it_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it would fail
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    ToyGap().show()
    assert shown == []


def test_the_offset_is_seen_by_the_centroid_and_not_by_retrieval(box: Any) -> None:
    _, sliders, image, table = parts(box)
    first, picture = number(table, "centroid gap"), image.value
    sliders["Offset"].value = 1.0
    assert number(table, "centroid gap") > first + 0.3
    assert number(table, "R@1") > 0.5  # by chance 1 in 60
    assert image.value != picture and bytes(image.value).startswith(b"\x89PNG")


def test_a_case_sets_every_slider_and_draws_once(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case, sliders, _, table = parts(box)
    drawn: list[int] = []
    original = toys.toy_maps
    monkeypatch.setattr(toys, "toy_maps", lambda *a, **k: drawn.append(1) or original(*a, **k))
    case.value = "pairs + rotation"
    assert {name: s.value for name, s in sliders.items()} == pytest.approx(
        dict(zip(sliders, CASES["pairs + rotation"].values(), strict=True))
    )
    assert drawn == [1]
    assert number(table, "linear CKA") > 0.9 and number(table, "R@1") < 0.5


def test_every_control_says_what_it_is(box: Any) -> None:
    case, sliders, _, _ = parts(box)
    assert case.description and len(sliders) == 4
    assert all(s.tooltip for s in sliders.values())
