"""The tables of a comparison: means, paired differences, costs, choices and recalls."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from socketlab.runs.comparison import choice_frame, comparison_frame, recall_frame, spread
from socketlab.runs.verdicts import verdicts

IMAGES = 40  # of each of two classes
PLACE = {"protocol": "held_out", "source": "a/rgb", "target": "a/depth"}
Made = tuple[pd.DataFrame, dict[str, pd.DataFrame]]


def make(right: dict[str, list[float]], notes: dict[str, list[str]] | None = None) -> Made:
    """Rows and answers of methods that get this share of both classes right, seed by seed."""
    rows: list[dict[str, Any]] = []
    answers = {}
    truth = np.arange(2 * IMAGES) % 2
    for method, shares in right.items():
        for seed, share in enumerate(shares):
            stage = f"{method}-{seed}"
            good = np.arange(2 * IMAGES) < round(2 * IMAGES * share)
            answers[stage] = pd.DataFrame(
                {
                    "id": [f"i{number}" for number in range(2 * IMAGES)],
                    "truth": truth,
                    "answer": np.where(good, truth, 1 - truth),
                }
            )
            rows.append(
                {
                    **PLACE,
                    "method": method,
                    "seed": seed,
                    "stage": stage,
                    "chosen_by": "last",
                    "accuracy": share,
                    "balanced_accuracy": share,
                    "note": (notes or {}).get(method, [""] * len(shares))[seed],
                    "seconds": 50.0 + 20 * seed,
                    "peak_memory": 900.0 + 10 * seed,
                    "parameters": 0 if method == "source_only" else 2_710_000,
                }
            )
    return pd.DataFrame(rows), answers


def chosen(rows: pd.DataFrame, **points: float) -> pd.DataFrame:
    """Rows for other choices of epoch, so many points better than the last one."""
    parts = [
        rows.assign(chosen_by=name, balanced_accuracy=rows["balanced_accuracy"] + more / 100)
        for name, more in points.items()
    ]
    return pd.concat([rows, *parts], ignore_index=True)


def test_the_table_has_what_each_method_reaches_and_costs() -> None:
    rows, answers = make(
        {"source_only": [0.2, 0.4], "socket": [0.5, 0.7], "tent": [0.2, 0.4]},
        {"tent": ["", "answers fall on 1 of 2 classes"]},
    )
    table = comparison_frame(chosen(rows, oracle=5), answers.__getitem__)
    table = table.loc[("held_out", "a/depth")]
    assert list(table.index) == ["socket", "source_only", "tent"], "best first"
    socket = table.loc["socket"]
    assert socket["seeds"] == 2
    assert socket["accuracy"] == socket["balanced accuracy"] == "60.0 ± 14.1"
    assert socket["over source_only [95 %]"].startswith("+30.0 [+2")
    assert socket["against socket [95 %]"] == ""
    assert socket["time"] == "1 min 00 s"
    assert socket["peak memory (MiB)"] == "905"
    assert socket["trained parameters"] == "2,710,000"
    assert socket["note"] == ""
    assert table.loc["source_only", "over source_only [95 %]"] == ""
    assert table.loc["source_only", "against socket [95 %]"].startswith("-30.0 [-3")
    assert table.loc["tent", "over source_only [95 %]"] == "+0.0 [+0.0, +0.0]"
    assert table.loc["tent", "note"] == "answers fall on 1 of 2 classes (seed 1)"


def test_a_seed_without_its_partner_is_left_out_and_said() -> None:
    rows, answers = make({"source_only": [0.2], "socket": [0.5, 0.7]})
    found = comparison_frame(rows, answers.__getitem__).loc[("held_out", "a/depth", "socket")]
    assert found["balanced accuracy"].startswith("60.0")
    assert found["over source_only [95 %]"].startswith("+30.0")
    assert found["over source_only [95 %]"].endswith("(1 of 2 seeds)")


def test_the_source_is_named_where_there_are_several() -> None:
    rows, answers = make({"source_only": [0.2], "socket": [0.5]})
    both = pd.concat([rows, rows.assign(source="a/rgb + b/rgb")])
    table = comparison_frame(both, answers.__getitem__)
    assert table.index.names == ["protocol", "source", "target", "method"]
    assert len(table) == 4
    one = comparison_frame(rows, answers.__getitem__)
    assert one.index.names == ["protocol", "target", "method"]
    assert "a/rgb + b/rgb → a/depth, held_out" in " ".join(verdicts(both, answers.__getitem__))


def test_nothing_to_compare_is_refused() -> None:
    rows, answers = make({"socket": [0.5]})
    for none in (pd.DataFrame(), rows.assign(chosen_by="oracle")):
        with pytest.raises(ValueError, match="no results to compare"):
            comparison_frame(none, answers.__getitem__)


def test_the_choice_of_an_epoch_and_what_it_loses() -> None:
    rows, _ = make({"source_only": [0.2, 0.4], "socket": [0.5, 0.7]})
    socket = chosen(rows[rows["method"] == "socket"], entropy=2, oracle=5)
    table = choice_frame(pd.concat([rows[rows["method"] == "source_only"], socket]), "entropy")
    assert list(table.index) == [("held_out", "a/depth", "socket")]
    assert table.iloc[0].to_dict() == {
        "seeds": 2,
        "last epoch": "60.0 ± 14.1",
        "by entropy": "62.0 ± 14.1",
        "best epoch (oracle)": "65.0 ± 14.1",
        "lost by the last": "5.0 ± 0.0",
        "lost by the choice": "3.0 ± 0.0",
    }
    with pytest.raises(ValueError, match="'nuclear_norm', only by entropy"):
        choice_frame(socket, "nuclear_norm")
    assert choice_frame(rows, "entropy").empty, "nothing was chosen, so nothing is wrong"


def test_recall_is_the_mean_over_seeds_of_each_class() -> None:
    rows, answers = make({"socket": [0.5, 1.0]})
    answers["socket-0"]["answer"] = 0  # all of the first class right, none of the second
    table = recall_frame(chosen(rows, oracle=5), answers.__getitem__, {"held_out": ["mug", "lamp"]})
    assert table[["method", "class", "recall"]].to_numpy().tolist() == [
        ["socket", "mug", 1.0],
        ["socket", "lamp", 0.5],
    ]
    assert set(table["target"]) == {"a/depth"}


@pytest.mark.parametrize(("values", "text"), [([61.25], "61.2"), ([1.0, 3.0], "2.0 ± 1.4")])
def test_one_value_has_no_spread(values: list[float], text: str) -> None:
    assert spread(pd.Series(values)) == text
