"""The audit in a notebook: what its controls choose, without a browser."""

import sys
from collections.abc import Callable
from typing import Any

import IPython.display
import ipywidgets
import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.gap.audit import LabelHistory, audit_frame
from socketlab.widgets import audit as module
from socketlab.widgets.audit import Audit, Filters

CLASSES = ("chair", "bed", "desk_lamp")
IMAGES = 60
NAN = float("nan")
ANY = ""


def history(truth: bool = True) -> LabelHistory:
    """Image i changes i % 4 times, ends as class i % 3, is right if even, confidence i / 100."""
    number = np.arange(IMAGES)
    labels = np.tile(number % 3, (5, 1))
    for epoch in range(4):  # counted from the end
        labels[3 - epoch] = np.where(
            epoch < number % 4, (labels[4 - epoch] + 1) % 3, labels[4 - epoch]
        )
    confidence = np.tile(number / 100, (5, 1))
    confidence[-1, 7] = NAN
    return LabelHistory(
        ids=tuple(f"<i{k}>" for k in number),
        classes=CLASSES,
        epochs=(0, 1, 2, 3, 4),
        pseudo_labels=labels,
        answers=labels,
        confidence=confidence,
        truth=np.where(number % 2 == 0, number % 3, (number + 1) % 3) if truth else None,
    )


def audit(**columns: Any) -> Audit:
    """One whose margin falls with the row."""
    frame = audit_frame(history()).assign(margin=1 - np.arange(IMAGES) / IMAGES, **columns)
    return Audit(history(), frame.assign(nearest="bed", second="", nearest_distance=0.5))


def rows_where(wanted: Callable[[int], bool]) -> list[int]:
    return [row for row in range(IMAGES) if wanted(row)]


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of every figure that is drawn; a picture is its number."""
    found: list[list[int]] = []

    def figure(_: Any, rows: Any, *__: Any, **___: Any) -> Figure:
        found.append([int(row) for row in rows])
        return Figure()

    monkeypatch.setattr(module, "label_history", figure)
    monkeypatch.setattr(module, "to_png", lambda _: b"picture %d" % len(found))
    return found


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Somebody watches: what is displayed is kept here."""
    monkeypatch.delenv("SOCKETLAB_HEADLESS", raising=False)
    found: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", found.append)
    return found


def parts(shown: list[Any]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Filters and buttons by what stands on them, and message, table and picture."""
    (box,) = shown
    filters, pages, *views = box.children
    controls, buttons = (
        {widget.description: widget for widget in row.children} for row in (filters, pages)
    )
    return controls, buttons, views


def test_headless_it_makes_no_widget(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch, drawn: list[list[int]]
) -> None:
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it would fail
    found = audit()
    found.show()
    found.filter(right=False)
    assert shown == [] and drawn == []
    assert isinstance(found.figure(), Figure)
    assert drawn == [list(range(1, 25, 2))]


def test_the_figure_gets_what_the_audit_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(module, "label_history", lambda *a, **k: found.append((a, k)))
    past, pictures, partners = history(), {0: np.zeros(1)}, {1: np.zeros(1)}
    frame = audit_frame(past)
    Audit(past, frame, pictures, partners).figure()
    ((first, rows, *others), named) = found[0]
    assert first is past and list(rows) == list(range(12))
    assert others[0] is pictures and others[1] is partners and named["frame"] is frame


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, lambda row: True),
        ({"changed": 2}, lambda row: row % 4 >= 2),
        ({"confidence_below": 0.105}, lambda row: row <= 10 and row != 7),
        ({"right": True}, lambda row: row % 2 == 0),
        ({"label": "desk_lamp", "right": False}, lambda row: row % 3 == 2 and row % 2 == 1),
        ({"margin_below": 0.11}, lambda row: row >= 54),
    ],
)
def test_filters_from_code(filters: dict[str, Any], wanted: Callable[[int], bool]) -> None:
    found = audit()
    found.filter(**filters)
    assert found.filters == Filters(**filters)
    assert found.matches.tolist() == rows_where(wanted)


def test_filters_by_hand_do_the_same(shown: list[Any], drawn: list[list[int]]) -> None:
    found = audit()
    found.show()
    controls, _, (said, listed, image) = parts(shown)
    assert drawn == [list(range(12))]
    assert "60 of 60 images match. Drawn: 1 to 12. The table lists the first 50." in said.value
    before = bytes(image.value)
    controls["Changed at least"].value = 3
    assert found.matches.tolist() == rows_where(lambda row: row % 4 == 3)
    assert drawn[-1] == list(range(3, 51, 4)) and bytes(image.value) != before
    controls["Label is"].value = True
    assert len(found.matches) == 0
    assert "0 of 60 images match." in said.value and "Drawn" not in said.value
    controls["Label is"].value = False
    controls["Last label"].value = "bed"
    controls["Confidence below"].value = 0.3
    found_rows = rows_where(lambda row: row % 4 == 3 and row % 3 == 1 and row != 7 and row < 30)
    assert found.matches.tolist() == found_rows == [19]
    assert "1 without a confidence are left out." in said.value
    assert "&lt;i19&gt;" in listed.value and "<i19>" not in listed.value
    controls["Margin below"].value = 0.5
    assert len(found.matches) == 0
    expected = Filters(3, 0.3, False, "bed", 0.5)
    assert found.filters == expected
    assert len(drawn) == 7  # once each


def test_controls_follow_the_code(shown: list[Any], drawn: list[list[int]]) -> None:
    found = audit()
    found.show()
    controls, _, _ = parts(shown)
    found.filter(changed=1, confidence_below=0.35, right=False, label="bed", sort_by="most changes")
    values = {name: control.value for name, control in controls.items()}
    assert values == {
        "Changed at least": 1,
        "Confidence below": 0.35,
        "Margin below": ANY,
        "Label is": False,
        "Last label": "bed",
        "Sort by": "most changes",
    }
    assert len(drawn) == 2
    found.filter(confidence_below=0.35)  # nothing new
    assert len(drawn) == 2
    found.filter(confidence_below=None)
    assert controls["Confidence below"].label == "any"
    assert controls["Label is"].label == "wrong" and controls["Last label"].label == "bed"
    assert found.filters.confidence_below is None
    assert [label for label, _ in controls["Confidence below"].options][-1] == "any"


def test_all_controls_are_named_explained_and_reachable(shown: list[Any]) -> None:
    audit().show()
    controls, buttons, (said, listed, _) = parts(shown)
    for widget in (*controls.values(), *buttons.values()):
        assert widget.description and widget.tooltip
        assert widget.tabbable is not False
    for slider in (controls["Confidence below"], controls["Margin below"]):
        assert isinstance(slider, ipywidgets.SelectionSlider) and not slider.continuous_update
    assert 'role="status"' in said.value
    assert 'tabindex="0"' in listed.value


def test_what_the_frame_lacks_cannot_be_asked_for(shown: list[Any]) -> None:
    past = history(truth=False)
    found = Audit(past, audit_frame(past))
    found.show()
    controls, _, _ = parts(shown)
    off = {name for name, control in controls.items() if control.disabled}
    assert off == {"Label is", "Margin below"}
    orders = [value for _, value in controls["Sort by"].options]
    assert orders == [ANY, "most changes", "latest change", "least confident"]
    for wrong in ({"right": True}, {"margin_below": 0.1}, {"sort_by": "smallest margin"}):
        with pytest.raises(ValueError, match=r"no column|Cannot sort"):
            found.filter(**wrong)
    with pytest.raises(ValueError, match=r"No class is called 'sofa'\. Known: chair, bed, "):
        found.filter(label="sofa")
    with pytest.raises(TypeError, match="colour"):
        found.filter(colour="red")
    assert found.filters == Filters()


def test_the_table_reads_for_people() -> None:
    found = audit()
    found.filter(changed=1, sort_by="smallest margin")
    table = found.table()
    expected = rows_where(lambda row: row % 4 >= 1)[::-1]
    assert list(table.index) == expected
    assert list(table.columns[:5]) == ["id", "first", "last", "changes", "changed at"]
    assert table.loc[59, "id"] == "<i59>" and table.loc[59, "changes"] == 3
    assert table.loc[59, "right"] == "wrong" and table.loc[58, "right"] == "right"
    found.filter(changed=0)
    assert found.table().loc[56, "changed at"] == "never"
    assert found.table().loc[[57, 59], "changed at"].tolist() == [4, 4]
    assert len(found.table()) == 50 and len(found.matches) == IMAGES
    found.filter(changed=4)
    assert len(found.table()) == 0


def test_pages_of_twelve(shown: list[Any], drawn: list[list[int]]) -> None:
    found = audit()
    found.filter(changed=1)
    found.show()
    rows = rows_where(lambda row: row % 4 >= 1)
    controls, buttons, (said, _, _) = parts(shown)
    assert buttons["Back"].disabled and not buttons["Next"].disabled
    for page in (1, 2, 3):
        buttons["Next"].click()
        assert drawn[-1] == rows[12 * page : 12 * page + 12]
    assert "Drawn: 37 to 45." in said.value
    assert buttons["Next"].disabled and not buttons["Back"].disabled
    found.turn(5)
    assert drawn[-1] == rows[36:]
    buttons["Back"].click()
    assert drawn[-1] == rows[24:36]
    controls["Changed at least"].value = 2
    assert "Drawn: 1 to 12." in said.value
    found.turn(-3)
    assert drawn[-1] == rows_where(lambda row: row % 4 >= 2)[:12]


def test_a_lasso_chooses_among_which_images(shown: list[Any], drawn: list[list[int]]) -> None:
    found = audit()
    found.show()
    _, buttons, (said, _, _) = parts(shown)
    assert buttons["All images"].disabled
    found.turn(1)
    found.show_rows(np.array([40, 7, 9, 40]))
    assert drawn[-1] == [40, 7, 9]
    assert "3 of 3 selected images match. Drawn: 1 to 3." in said.value
    found.filter(right=False)
    assert found.matches.tolist() == [7, 9] and "2 of 3 selected" in said.value
    found.rows = [10, 11]
    assert found.rows is not None and found.rows.tolist() == [10, 11]
    assert drawn[-1] == [11]
    found.rows = []
    assert drawn[-1] == [] and "0 of 0 selected images match." in said.value
    buttons["All images"].click()
    assert found.rows is None and len(found.matches) == IMAGES // 2
    with pytest.raises(ValueError, match=r"no row 60\. Give rows of 0 to 59"):
        found.show_rows([3, 60])
    with pytest.raises(ValueError, match="no row -1"):
        found.show_rows([-1])
    assert found.rows is None


def test_a_frame_of_another_history_is_refused() -> None:
    past = history()
    frame = audit_frame(past)
    for other in (frame.iloc[:5], frame.iloc[::-1], frame.assign(id="x")):
        with pytest.raises(ValueError, match="Give the frame that audit_frame made of it"):
            Audit(past, other)
