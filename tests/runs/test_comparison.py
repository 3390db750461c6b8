"""The table of a comparison: means, deviations, and gains seed by seed."""

import pandas as pd
import pytest

from socketlab.runs.comparison import comparison_frame, spread


def rows(**scores: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "protocol": "held_out",
            "target": "a/depth",
            "method": method,
            "seed": seed,
            "accuracy": value,
            "balanced_accuracy": value,
        }
        for method, values in scores.items()
        for seed, value in enumerate(values)
    )


def test_gains_are_taken_seed_by_seed() -> None:
    table = comparison_frame(rows(source_only=[0.2, 0.4], socket=[0.5, 0.7]))
    found = table.loc[("held_out", "a/depth", "socket")]
    assert found["seeds"] == 2
    # Each seed gains 30 points, though both methods vary over the seeds.
    assert found["gain in balanced accuracy"] == "+30.0 ± 0.0"
    assert found["accuracy"] == "60.0 ± 14.1"
    assert table.loc[("held_out", "a/depth", "source_only"), "gain in balanced accuracy"] == ""


def test_a_seed_without_its_floor_has_no_gain() -> None:
    table = comparison_frame(rows(source_only=[0.2], socket=[0.5, 0.7]))
    assert "gain in balanced accuracy" not in table.columns


@pytest.mark.parametrize(
    ("values", "signed", "text"),
    [([61.25], False, "61.2"), ([-3.0], True, "-3.0"), ([1.0, 3.0], True, "+2.0 ± 1.4")],
)
def test_one_value_has_no_spread(values: list[float], signed: bool, text: str) -> None:
    assert spread(pd.Series(values), signed=signed) == text
