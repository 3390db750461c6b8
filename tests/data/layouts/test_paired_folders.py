from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.data.acquiring.locating import own_root
from socketlab.data.layouts.paired_folders import list_samples
from socketlab.data.layouts.records import PreparationError, SampleRecord


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
    del small.raw["layout"]["parts"][0]["table"]
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


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)


def with_parts(small: Any, *parts: dict[str, Any]) -> list[SampleRecord]:
    """The samples of other parts than the fixture's, without its counts."""
    small.raw["layout"]["parts"] = list(parts)
    small.raw.pop("expected", None)
    for protocol in small.raw["protocols"].values():
        names = [part.get("split", "all") for part in parts]
        protocol |= dict.fromkeys(("source_splits", "adapt_splits", "score_splits"), names)
        protocol["pair_splits"] = []
    return list_samples(small.manifest, small.root)


def test_parts_of_other_folders_are_no_partners_though_their_ids_agree(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for number in ("1", "2"):
        image(small.file(f"pairs/{number}_rgb.png"))
        image(small.file(f"pairs/{number}_depth.png"))
        image(tmp_path / f"elsewhere/{number}.png")
    found = with_parts(
        small,
        {
            "folder": "pairs",
            "patterns": {"cam/rgb": "{id}_rgb.png", "cam/depth": "{id}_depth.png"},
            "class": "gate",
            "split": "ti",
        },
        {
            "folder": "~/elsewhere",
            "patterns": {"cam/depth": "{id}.png"},
            "class": "unlabelled",
            "split": "tr",
        },
    )
    assert [(s.domain, s.class_name, s.split) for s in found] == [
        *[("cam/depth", "gate", "ti")] * 2,
        *[("cam/rgb", "gate", "ti")] * 2,
        *[("cam/depth", "unlabelled", "tr")] * 2,
    ]
    assert [s.pair_id for s in found[:2]] == [s.pair_id for s in found[2:4]]
    assert len({s.id for s in found}) == 6 and len({s.pair_id for s in found}) == 4
    assert found[0].path == "pairs/1_depth.png"
    assert found[4].path == (tmp_path / "elsewhere/1.png").as_posix()


def test_sets_and_classes_stand_where_the_pattern_says(small: Any) -> None:
    for where in ("one/bed", "two/bed", "two/sofa", "two/gate"):
        image(small.file(f"runs/{where}/7.png"))
    del small.raw["domains"]["cam/rgb"]
    found = with_parts(
        small, {"folder": "runs", "patterns": {"cam/depth": "{set}/{class}/{id}.png"}}
    )
    assert {(s.class_name, s.path) for s in found} == {
        ("bed", "runs/one/bed/7.png"),
        ("bed", "runs/two/bed/7.png"),
        ("sofa", "runs/two/sofa/7.png"),
        ("gate", "runs/two/gate/7.png"),
    }
    assert len({s.id for s in found}) == 4
    # a longer name is not cut where a shorter class ends
    for name in ("sofa", "sofa_bed"):
        image(small.file(f"names/{name}_1.png"))
    small.raw["classes"]["task_relevant"] = ["sofa", "sofa_bed"]
    found = with_parts(small, {"folder": "names", "patterns": {"cam/depth": "{class}_{id}.png"}})
    assert sorted(s.class_name for s in found) == ["sofa", "sofa_bed"]


def test_the_id_of_a_set_is_readable_and_partners_share_it(small: Any) -> None:
    for name in ("rgb", "depth"):
        image(small.file(f"runs/one/{name}/7.png"))
        image(small.file(f"runs/one/{name}/._7.png"))  # what some systems leave beside a file
        image(small.file(f"runs/.bin/{name}/8.png"))
    patterns = {f"cam/{name}": f"{{set}}/{name}/{{id}}.png" for name in ("rgb", "depth")}
    found = with_parts(small, {"folder": "runs", "patterns": patterns, "class": "gate"})
    assert [s.id for s in found] == ["cam/depth/one/7", "cam/rgb/one/7"]
    assert {s.pair_id for s in found} == {"cam/one/7"}


def test_a_share_of_each_class_is_the_test_split(small: Any) -> None:
    del small.raw["layout"]["parts"][0]["table"]
    small.raw["layout"]["parts"][0]["test_share"] = 0.4
    del small.raw["expected"]
    found = list_samples(small.manifest, small.root)
    for name, images in {"bed": 3, "sofa": 2, "gate": 2}.items():
        splits = {s.pair_id: s.split for s in found if s.class_name == name}
        assert sorted(splits.values()) == ["test"] + ["train"] * (images - 1)
        # partners are of one split
        assert all(splits[s.pair_id] == s.split for s in found if s.class_name == name)


def test_a_table_names_some_images_of_an_unnamed_part(small: Any) -> None:
    for number in range(3):
        image(small.file(f"new/{number}.png"))
    small.file("new/names.csv").write_text("id,class,split\n1,sofa,test\n2,unlabelled,train\n")
    del small.raw["domains"]["cam/rgb"], small.raw["expected"]["cam/rgb"]
    small.raw["layout"]["parts"] = [
        {
            "folder": "new",
            "patterns": {"cam/depth": "{id}.png"},
            "class": "unlabelled",
            "table": "names.csv",
        }
    ]
    found = list_samples(small.manifest, small.root)
    assert [(s.class_name, s.split) for s in found] == [
        ("unlabelled", "all"),
        ("sofa", "test"),
        ("unlabelled", "train"),
    ]


def test_images_may_be_alone_where_partners_are_optional(small: Any) -> None:
    small.file("bed/00_depth.png").unlink()
    small.raw["layout"]["parts"][0]["partners"] = "optional"
    found = list_samples(small.manifest, small.root)
    assert len(found) == 13 and sum(s.pair_id == "cam/00" for s in found) == 1


def test_what_is_wrong_with_parts_is_named(small: Any) -> None:
    depth, rgb = {"cam/depth": "{class}/{id}_depth.png"}, {"cam/rgb": "{class}/{id}.tiff"}
    with pytest.raises(PreparationError) as caught:
        with_parts(
            small,
            {"patterns": depth},
            {"patterns": depth, "split": "again"},
            {"folder": "gone", "patterns": rgb},
            {"patterns": {"cam/rgb": "x{id}.png"}, "class": "cot"},
        )
    found = [problem.replace(f"{small.root}/", "") for problem in caught.value.problems]
    assert found[:4] == [
        "gone (folder of part 3) is missing",
        "class 'cot' of part 4 is no class of the manifest",
        "x{id}.png (of cam/rgb) stands for no file",
        "bed/00_depth.png is an image of parts 1 and 2",
    ]


def test_a_class_without_expected_images_needs_no_folder(small: Any) -> None:
    small.raw["classes"]["task_relevant"].append("cot")
    assert len(list_samples(small.manifest, small.root)) == 14
    small.raw["expected"]["cam/rgb"]["cot"] = {"train": 1}
    assert "cot (class folder) is missing" in problems(small)


def test_folders_of_their_own_need_no_root(small: Any, tmp_path: Path) -> None:
    assert own_root(small.manifest) is None
    small.raw["layout"]["parts"][0]["folder"] = str(small.root)
    assert own_root(small.manifest) == small.root
    other = {"folder": str(tmp_path / "gone"), "patterns": {"cam/rgb": "{id}"}, "class": "bed"}
    small.raw["layout"]["parts"].append(other)
    assert own_root(small.manifest) == tmp_path


def test_only_the_first_problems_are_shown_and_all_are_kept(small: Any) -> None:
    for number in range(30):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(small.file(f"bed/x{number:02}_rgb.png"))
    with pytest.raises(PreparationError) as caught:
        list_samples(small.manifest, small.root)
    assert len(caught.value.problems) == 60  # no partner, and no row
    message = str(caught.value)
    assert "(60 problems)" in message and message.endswith("... and 40 more")
    assert len(message.splitlines()) == 22


def test_a_file_of_two_patterns_is_of_the_one_that_says_more(small: Any) -> None:
    image(small.file("mixed/1_rgb.png"))
    image(small.file("mixed/1.png"))
    patterns = {"cam/depth": "{id}.png", "cam/rgb": "{id}_rgb.png"}
    found = with_parts(small, {"folder": "mixed", "patterns": patterns, "class": "gate"})
    assert {s.id: s.path for s in found} == {
        "cam/depth/1": "mixed/1.png",
        "cam/rgb/1": "mixed/1_rgb.png",
    }
