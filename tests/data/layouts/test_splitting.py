"""Splits that are drawn once and for all."""

from __future__ import annotations

import pytest

from socketlab.data.layout_schema import FolderPart
from socketlab.data.layouts.splitting import drawn_splits, split_of

KEYS = [f"country/{number:04}" for number in range(52)]


def test_the_draw_is_the_same_on_every_machine() -> None:
    """The SHA-256 of these keys begin with d7, 77, 00 and 25, so they lie at .84, .47, .00, .15."""
    keys = ["a/0", "a/1", "a/2", "a/3"]
    assert [split_of(key, 0.5) for key in keys] == ["train", "test", "test", "test"]
    assert [split_of(key, 0.1) for key in keys] == ["train", "train", "test", "train"]
    drawn = drawn_splits(keys, 0.5)
    assert [drawn[key] for key in keys] == ["train", "train", "test", "test"]


def test_a_share_of_all_keys_is_test() -> None:
    share = [split_of(str(number), 0.3) for number in range(4000)].count("test") / 4000
    assert share == pytest.approx(0.3, abs=0.02)
    assert {split_of(key, 0) for key in KEYS} == {"train"}


@pytest.mark.parametrize(("count", "tests"), [(0, 0), (1, 0), (2, 1), (5, 2), (52, 16), (55, 17)])
def test_how_many_are_drawn_follows_from_how_many_there_are(count: int, tests: int) -> None:
    """30 %: 15.6 of 52 is 16, and the half of 16.5 goes up."""
    keys = [f"country/{number:04}" for number in range(count)]
    splits = drawn_splits(keys, 0.3)
    assert set(splits) == set(keys) and list(splits.values()).count("test") == tests


def test_neither_order_nor_a_further_key_redraws() -> None:
    before = drawn_splits(KEYS, 0.3)
    assert drawn_splits(KEYS[::-1], 0.3) == before
    after = drawn_splits([*KEYS, "country/0052"], 0.3)
    assert sum(before[key] != after[key] for key in KEYS) <= 1


def test_a_part_says_its_splits_once() -> None:
    patterns = {"a/rgb": "{class}/{id}.png"}
    assert FolderPart(patterns=patterns).splits == ("all",)
    assert FolderPart(patterns=patterns, split="day_2").splits == ("day_2",)
    assert FolderPart(patterns=patterns, test_share=0.5).splits == ("test", "train")
    assert FolderPart(patterns=patterns, table="t.csv").splits == ()
    # images without a row in the table have the part's own
    named = {"patterns": {"a/rgb": "{id}.png"}, "class": "unlabelled", "table": "t.csv"}
    assert FolderPart.model_validate({**named, "split": "train"}).splits == ("train",)
    for other in ({"split": "day_2"}, {"table": "t.csv"}):
        with pytest.raises(ValueError, match=rf"test_share and {next(iter(other))} both say"):
            FolderPart.model_validate({"patterns": patterns, "test_share": 0.5, **other})
    with pytest.raises(ValueError, match="less than 1"):
        FolderPart(patterns=patterns, test_share=1)
