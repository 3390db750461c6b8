"""The table of points: what it refuses, and pairs, distances and tables against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from socketlab.gap.points import PointTable


class Images:
    """Row r is a picture filled with r; row 3 has none, the file of row 4 is gone."""

    def picture(self, row: int) -> npt.NDArray[np.uint8] | None:
        """A small picture."""
        if row == 4:
            raise FileNotFoundError("gone.png")
        return None if row == 3 else np.full((4, 6, 3), row, dtype=np.uint8)


def _frame() -> pd.DataFrame:
    """Depth in rows 0 to 4, their RGB partners in 5 to 9 in reverse, a lonely NIR image in 10."""
    draw = np.random.default_rng(0)
    partner = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1])
    distance = np.array([0.3, 0.1, np.nan, 0.5, 0.2, 0.2, 0.5, np.nan, 0.1, 0.3, np.nan])
    columns: dict[str, Any] = {
        "id": [f"a/{row}" for row in range(11)],
        "set": ["TI", "TR", "TI", "TR", "TI", "TI", "TR", "TI", "TR", "TI", "TR"],
        "modality": ["depth"] * 5 + ["rgb"] * 5 + ["nir"],
        "partner": partner,
        "class": ["", "lab", "", "bed_room", "", "", "bed_room", "", "lab", "", "lab"],
    }
    for moment, factor in (("before", 2.0), ("after", 1.0)):
        columns[f"x {moment}"] = draw.normal(size=11)
        columns[f"y {moment}"] = draw.normal(size=11)
        columns[f"distance {moment}"] = distance * factor
        columns[f"prediction {moment}"] = ["lab"] * 10 + [""]
        columns[f"confidence {moment}"] = [0.5] * 10 + [np.nan]
    return pd.DataFrame(columns, index=range(100, 111))


def _table(frame: pd.DataFrame | None = None) -> PointTable:
    return PointTable(("before", "after"), _frame() if frame is None else frame, Images())


def test_partners_and_pairs_match_a_loop() -> None:
    table = _table()
    chosen = [3, 9, 6, 10, 0, 8]
    assert table.partners(chosen).tolist() == [6, 0, 3, -1, 9, 1]
    expected: list[tuple[int, int]] = []
    for row in chosen:
        other = int(table.frame["partner"][row])
        half = (row, other)
        if other >= 0 and table.frame["modality"][other] == "rgb":
            half = (other, row)
        if half not in expected:
            expected.append(half)
    assert expected == [(6, 3), (9, 0), (10, -1), (8, 1)]
    np.testing.assert_array_equal(table.pair_rows(chosen), expected)
    assert table.pair_rows([]).shape == (0, 2)


def test_farthest_and_closest() -> None:
    table = _table()
    assert table.farthest(2, "after").tolist() == [[6, 3], [9, 0]]
    assert table.closest(2, "after").tolist() == [[8, 1], [5, 4]]
    # The pair (7, 2) has no distance, the NIR image no partner: neither is near or far.
    assert table.farthest(99, "before").tolist() == [[6, 3], [9, 0], [5, 4], [8, 1]]
    assert table.farthest(9, "after", "TI").tolist() == [[9, 0], [5, 4]]
    assert table.closest(9, "after", among=[0, 1]).tolist() == [[8, 1], [9, 0]]
    assert table.farthest(0, "after").tolist() == []
    assert table.far_first([10, 1, 3], "after").tolist() == [[6, 3], [8, 1], [10, -1]]


def test_each_moment_has_its_own_order() -> None:
    frame = _frame()
    frame["distance before"] = 1 - frame["distance after"]
    assert _table(frame).farthest(1, "before").tolist() == [[8, 1]]


def test_the_table_has_a_row_per_pair_with_both_answers() -> None:
    frame = _frame()
    frame["prediction after"] = [f"says {row}" for row in range(11)]
    frame["right after"] = ["right", "wrong"] + [""] * 9
    found = _table(frame).table([0, 1, 8, 10], "after")
    assert found["id"].tolist() == ["a/9", "a/8", "a/10"]
    assert found["distance"].tolist()[:2] == [0.3, 0.1] and np.isnan(found["distance"][2])
    assert found["rgb prediction"].tolist() == ["says 9", "says 8", ""]
    assert found["depth prediction"].tolist() == ["says 0", "says 1", ""]
    assert found["nir prediction"].tolist() == ["", "", "says 10"]
    assert found["depth answer"].tolist() == ["right", "wrong", ""]
    assert found["class"].tolist() == ["", "lab", "lab"]
    # No RGB answer is known and nobody has a pseudo-label: no such column.
    assert "rgb answer" not in found and "rgb pseudo-label" not in found


def test_what_says_nothing_is_not_there() -> None:
    table = _table(_frame().assign(**{"pseudo-label": ""}))
    assert table.has("class") and table.has("distance after")
    assert not table.has("pseudo-label") and not table.has("right after")
    assert table.modalities == ("rgb", "depth", "nir")


def test_a_missing_picture_is_none_and_a_wrong_one_is_refused() -> None:
    table = _table()
    picture = table.picture(2)
    assert picture is not None and picture.shape == (4, 6, 3) and (picture == 2).all()
    assert table.picture(3) is None
    assert table.picture(4) is None
    assert table.picture(-1) is None
    assert table.translation(2) is None

    class Grey:
        """Pictures without colours."""

        def picture(self, row: int) -> npt.NDArray[np.uint8]:
            """One channel."""
            return np.zeros((4, 4), dtype=np.uint8)

    grey = PointTable(("before", "after"), _frame(), Images(), Grey())
    with pytest.raises(ValueError, match=r"translation of row 2 is uint8 of shape \(4, 4\)"):
        grey.translation(2)


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("partner", 0, 8, "'partner' is wrong in 2 rows, the first is row 0 with 8"),
        ("partner", 4, 4, "first is row 4 with 4"),
        ("partner", 4, 11, "first is row 4 with 11. Give another row below 11"),
        ("partner", 4, -2, "first is row 4 with -2"),
        ("modality", 0, "rgb", "Give partners of two different modalities"),
        ("x after", 2, np.nan, "'x after' is wrong in 1 rows, the first is row 2 with nan"),
        ("y before", 2, np.inf, "'y before' is wrong in 1 rows"),
        ("distance after", 0, 0.31, "both halves of a pair the same distance"),
        ("distance after", 10, 0.3, "NaN to an image without a partner"),
        ("distance before", 0, -1.0, "distances of 0 or more"),
        ("confidence before", 1, 1.5, "'confidence before' is wrong .* row 1 with 1.5"),
    ],
)
def test_bad_values_are_named(column: str, row: int, value: Any, message: str) -> None:
    frame = _frame().reset_index(drop=True)
    frame.loc[row, column] = value
    with pytest.raises(ValueError, match=message):
        _table(frame)


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'class', 'y after'"):
        _table(_frame().drop(columns=["y after", "class"]))
    with pytest.raises(ValueError, match="no row"):
        _table(_frame().iloc[:0])
    with pytest.raises(ValueError, match="different names"):
        PointTable(("after", "after"), _frame(), Images())
    with pytest.raises(ValueError, match="partner holds float64"):
        _table(_frame().assign(partner=np.linspace(0, 1, 11)))
    frame = _frame()
    frame["right after"] = "maybe"
    with pytest.raises(ValueError, match="'right after' is wrong in 11 rows"):
        _table(frame)


def test_bad_questions_are_refused() -> None:
    table = _table()
    with pytest.raises(ValueError, match="Found row 11; there are 11"):
        table.pair_rows([0, 11])
    with pytest.raises(ValueError, match="Found row -1"):
        table.partners([-1])
    with pytest.raises(ValueError, match="found bool"):
        table.rows(np.ones(11, dtype=bool))
    with pytest.raises(ValueError, match=r"no moment 'during'\. Known: before, after"):
        table.farthest(1, "during")
    with pytest.raises(ValueError, match="No row has the set 'XX'"):
        table.farthest(1, "after", "XX")
    with pytest.raises(ValueError, match="n is -1"):
        table.closest(-1, "after")
