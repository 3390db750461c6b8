from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.data.layouts.paired_folders import list_samples
from socketlab.data.layouts.records import PreparationError


def problems(small: Any) -> list[str]:
    with pytest.raises(PreparationError) as caught:
        list_samples(small.manifest, small.root)
    return [problem.replace(f"{small.root}/", "") for problem in caught.value.problems]


def test_every_file_becomes_a_sample_with_its_partner(small: Any) -> None:
    samples = list_samples(small.manifest, small.root)
    assert len(samples) == 14 and len({sample.id for sample in samples}) == 14
    for sample in samples:
        assert small.file(sample.path).is_file()
        assert sample.path.startswith(f"{sample.class_name}/")
    partners = {s.pair_id: s.class_name for s in samples if s.domain == "cam/rgb"}
    assert partners == {s.pair_id: s.class_name for s in samples if s.domain == "cam/depth"}
    assert {s.id for s in samples if s.split == "test"} == {
        f"cam/{modality}/{number}" for modality in ("rgb", "depth") for number in ("02", "04", "06")
    }


def test_without_a_table_every_split_is_all(small: Any) -> None:
    del small.raw["layout"]["table"]
    for counts in small.raw["expected"].values():
        counts.update({name: {"all": 1} for name in counts})
    for protocol in small.raw["protocols"].values():
        protocol.update(source_splits=["all"], adapt_splits=["all"], score_splits=["all"])
        protocol["pair_splits"] = ["all"]
    assert {sample.split for sample in list_samples(small.manifest, small.root)} == {"all"}


def test_ids_that_repeat_across_classes_stay_apart_and_hide_the_class(small: Any) -> None:
    for modality in ("rgb", "depth"):
        small.file(f"sofa/03_{modality}.png").rename(small.file(f"sofa/00_{modality}.png"))
    small.write_table([line.replace("03,sofa", "00,sofa") for line in small.table()])
    samples = list_samples(small.manifest, small.root)
    assert len({sample.id for sample in samples}) == 14
    for sample in samples:
        assert not any(name in sample.id + sample.pair_id for name in ("bed", "sofa", "gate"))


def test_a_class_in_the_file_name_does_not_reach_the_id(small: Any) -> None:
    for path in list(small.file("bed").iterdir()):
        path.rename(path.with_name(f"bed{path.name}"))
    small.write_table(
        [f"bed{line}" if ",bed," in line else line for line in small.table()],
    )
    for sample in list_samples(small.manifest, small.root):
        assert "bed" not in sample.id + sample.pair_id


def test_unpaired_files_are_all_listed(small: Any) -> None:
    small.file("bed/00_depth.png").unlink()
    small.file("sofa/03_rgb.png").unlink()
    assert sorted(problems(small)) == [
        "bed/00_rgb.png has no cam/depth partner (bed/00_depth.png)",
        "sofa/03_depth.png has no cam/rgb partner (sofa/03_rgb.png)",
    ]


def test_the_table_and_the_files_must_agree(small: Any) -> None:
    lines = small.table()
    small.write_table(
        [line for line in lines if not line.startswith("01")]
        + ["00,bed,train", "99,bed,train", "02,cot,test", "03,sofa,trian"]
    )
    assert problems(small) == [
        "table.csv, line 8: id 00 of class bed is there twice",
        "table.csv, line 9: id 99 of class bed has no files",
        "table.csv, line 10: id 02 has the unknown class 'cot'",
        "table.csv, line 11: id 03 has the unknown split 'trian'; known: test, train",
        "table.csv has no row for bed/01",
    ]


def test_a_missing_table_and_missing_columns(small: Any) -> None:
    small.write_table(["id,label", "00,bed"])
    assert problems(small) == ["table.csv: needs columns id, class, split, found id, label"]
    small.file("table.csv").unlink()
    assert problems(small) == ["table.csv (the table of ids, classes and splits) is missing"]


def test_unknown_and_missing_class_folders(small: Any) -> None:
    shutil.move(small.file("gate"), small.file("door"))
    found = problems(small)
    assert found[:2] == ["door is no class of the manifest", "gate (class folder) is missing"]


def test_only_the_first_problems_are_shown_and_all_are_kept(small: Any) -> None:
    for number in range(30):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(small.file(f"bed/x{number:02}_rgb.png"))
    with pytest.raises(PreparationError) as caught:
        list_samples(small.manifest, small.root)
    assert len(caught.value.problems) == 60  # no partner, and no row
    message = str(caught.value)
    assert "(60 problems)" in message and message.endswith("... and 40 more")
    assert len(message.splitlines()) == 22
