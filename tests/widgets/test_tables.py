"""Tables of widgets: rows, numbers, a label, what stands below, and nothing that is not meant."""

import pandas as pd
import pytest

from socketlab.widgets.tables import table_html

TABLE = pd.DataFrame({"name": ["a<b", "c"], "value": [1 / 3, float("nan")]}, index=["x", "y"])


def test_rows_numbers_and_blanks() -> None:
    page = table_html(TABLE, "Some rows", number="{:.2f}")
    assert "<td>0.33</td>" in page and "<th>x</th>" in page
    assert "NaN" not in page and "nan" not in page
    assert "a&lt;b" in page and "a<b" not in page


@pytest.mark.parametrize(("index", "shown"), [(True, True), (False, False)])
def test_the_names_of_rows_are_shown_where_they_mean_something(index: bool, shown: bool) -> None:
    assert ("<th>y</th>" in table_html(TABLE, "Some rows", index=index)) is shown


def test_the_field_can_be_reached_heard_and_scrolled() -> None:
    page = table_html(TABLE, 'Rows of "one"', height="9em", below="2 more < 3")
    assert 'tabindex="0" role="region" aria-label="Rows of &quot;one&quot;"' in page
    assert "max-height: 9em" in page and "overflow: auto" in page
    assert "<p>2 more &lt; 3</p>" in page
    assert "<p>" not in table_html(TABLE, "Some rows")
