from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from socketlab.data.drafting.answers import Answers
from socketlab.data.drafting.draft import Draft, draft
from socketlab.data.drafting.looking import LookError, look
from socketlab.data.drafting.writing import manifest_text
from socketlab.data.manifest import load_manifest
from socketlab.data.opening import open_views
from socketlab.data.store import prepare
from socketlab.data.views import Views

SILENT = Answers("own")


class Pictures:
    """Writes pictures of 12 x 10 pixels below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.draw = np.random.default_rng(0)

    def rgb(self, name: str) -> None:
        self._save(name, self.draw.integers(0, 256, (10, 12, 3), dtype=np.uint8))

    def depth(self, name: str, low: int = 800, high: int = 4000, gaps: bool = True) -> None:
        array = self.draw.integers(low, high, (10, 12), dtype=np.uint16)
        array[0] = 0 if gaps else low
        self._save(name, array)

    def grey(self, name: str, low: int = 20) -> None:
        self._save(name, self.draw.integers(low, 250, (10, 12), dtype=np.uint8))

    def pair(self, name: str) -> None:
        self.rgb(f"{name}_rgb.png")
        self.depth(f"{name}_depth.png")

    def _save(self, name: str, array: Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path / "images")


def nobody(question: str, assumed: str) -> str | None:
    return None


def drafted(pictures: Pictures, answers: Answers = SILENT, **about: Any) -> Draft:
    return draft(look(pictures.root), replace(answers, **about), nobody)


def opened(pictures: Pictures, made: Draft, tmp_path: Path) -> Iterator[Views]:
    """The views of every protocol of the written file, whose images are prepared."""
    path = tmp_path / "own.yaml"
    path.write_text(manifest_text(made, "images"))
    manifest = load_manifest(path)
    assert manifest == made.manifest
    store = prepare(manifest, root=pictures.root, size=8, data_dir=tmp_path / "data")
    for protocol in manifest.protocols:
        yield open_views(store, protocol=protocol, source=made.source or "", target=made.target)


def test_class_folders_of_pairs(pictures: Pictures, tmp_path: Path) -> None:
    for name, count in (("bed", 10), ("sofa", 8), ("gate", 3), ("lift", 2)):
        for number in range(count):
            pictures.pair(f"{name}/{name[0]}{number}")
    made = drafted(pictures)
    assert made.raw["layout"]["parts"] == [
        {
            "folder": str(pictures.root),
            "patterns": {"cam/rgb": "{class}/{id}_rgb.png", "cam/depth": "{class}/{id}_depth.png"},
            "test_share": 0.3,
        }
    ]
    # the largest classes that hold three quarters of the images
    assert made.manifest.classes.task_relevant == ("bed", "sofa")
    assert made.manifest.classes.task_irrelevant == ("gate", "lift")
    assert made.raw["expected"]["cam/depth"]["bed"] == {"train": 7, "test": 3}
    assert set(made.assumed) == {
        "classes.task_relevant",
        "domains.cam/depth.scale",
        "layout.parts.0.test_share",
    }
    held_out, transductive = opened(pictures, made, tmp_path)
    assert len(held_out.target.images) == 13 and len(held_out.evaluation.images) == 5
    assert not set(held_out.target.images.ids) & set(held_out.evaluation.images.ids)
    assert transductive.target.images.ids == transductive.evaluation.images.ids
    assert held_out.pairs is not None and len(held_out.pairs) == 5
    assert len(held_out.source.images) == 13


def test_pairs_target_and_source_in_folders_of_their_own(
    pictures: Pictures, tmp_path: Path
) -> None:
    for number in range(4):
        pictures.pair(f"pairs/{number}")
        pictures.depth(f"target/{number}.png")
        pictures.rgb(f"source/bed/{number}.jpg")
        pictures.rgb(f"source/sofa/{number}.jpg")
    made = drafted(pictures)
    assert [part.get("class") for part in made.raw["layout"]["parts"]] == [
        "pairs",
        None,
        "unlabelled",
    ]
    assert made.raw["classes"] == {"task_relevant": ["bed", "sofa"], "task_irrelevant": ["pairs"]}
    assert any("taken as depth, as the others" in note for note in made.notes)
    (views,) = opened(pictures, made, tmp_path)
    assert len(views.target.images) == 4 and len(views.evaluation.images) == 0
    assert views.pairs is not None and len(views.pairs) == 4
    assert len(views.source.images) == 6 and len(views.source_evaluation.images) == 2
    assert not set(views.target.images.ids) & set(views.pairs.target.ids)


def test_folders_named_as_splits(pictures: Pictures, tmp_path: Path) -> None:
    for split, count in (("training", 2), ("test", 1)):
        for name in ("bed", "sofa", "gate"):
            for number in range(count):
                pictures.pair(f"{split}/{name}/{split}{number}")
    made = drafted(pictures, task_relevant=("gate", "sofa"))
    assert made.raw["classes"] == {"task_relevant": ["gate", "sofa"], "task_irrelevant": ["bed"]}
    assert made.manifest.splits == ("test", "train")
    held_out, _ = opened(pictures, made, tmp_path)
    assert len(held_out.target.images) == 4 and len(held_out.evaluation.images) == 2


def test_a_table_names_images_of_one_folder(pictures: Pictures, tmp_path: Path) -> None:
    for number in range(6):
        pictures.pair(str(number))
    rows = ["0,bed,train", "1,bed,test", "2,sofa,train", "3,sofa,test", "4,gate,train"]
    (pictures.root / "names.csv").write_text("\n".join(["id,class,split", *rows]) + "\n")
    made = drafted(pictures, task_relevant=("bed", "sofa"))
    part = made.raw["layout"]["parts"][0]
    assert part["table"] == "names.csv" and part["class"] == "unlabelled"
    held_out, _ = opened(pictures, made, tmp_path)
    # the one that has no row is adapted on too
    assert held_out.target.images.ids == ("cam/depth/0", "cam/depth/2", "cam/depth/5")
    assert held_out.evaluation.images.ids == ("cam/depth/1", "cam/depth/3")
    assert held_out.pairs is not None and held_out.pairs.pair_ids == ("cam/4",)


def test_pairs_alone_leave_nothing_to_adapt_on(pictures: Pictures) -> None:
    pictures.pair("1")
    made = drafted(pictures)
    assert made.raw["classes"]["task_irrelevant"] == ["pairs"]
    assert made.raw["classes"]["task_relevant"] == ["class_1", "class_2"]
    assert "source model" in made.assumed["classes.task_relevant"]
    assert any("No image of cam/depth is left to adapt on" in note for note in made.notes)


def test_target_images_alone_take_pairs_from_elsewhere(pictures: Pictures) -> None:
    pictures.grey("1.png")
    without = drafted(pictures, modality="nir", task_relevant=("bed",))
    assert without.source is None and without.target == "cam/nir"
    assert any("no pairs of other classes" in note for note in without.notes)
    made = drafted(pictures, modality="nir", task_relevant=("bed",), pairs_from="scenes")
    rules = made.manifest.protocol("unlabelled")
    assert rules.pairs_from == "scenes" and rules.task_irrelevant == ()
    assert not any("no pairs" in note for note in made.notes)


def test_depth_of_other_bits_is_another_sensor(pictures: Pictures, tmp_path: Path) -> None:
    for number in range(2):
        pictures.pair(f"pairs/{number}")
        pictures.grey(f"target/{number}_depth.png")
        for name in ("bed", "sofa"):
            pictures.rgb(f"source/{name}/{number}.png")
    made = drafted(pictures)
    assert set(made.manifest.domains) == {"pairs/rgb", "pairs/depth", "source/rgb", "target/depth"}
    assert made.manifest.protocol("unlabelled").pair_sensors == "all"
    assert (made.source, made.target) == ("source/rgb", "target/depth")
    (views,) = opened(pictures, made, tmp_path)
    assert views.pairs is not None and views.pairs.pair_ids == ("pairs/0", "pairs/1")


def test_values_become_scale_range_and_gaps(pictures: Pictures) -> None:
    pictures.pair("target/1")
    domain = drafted(pictures).manifest.domain("cam/depth")
    assert (domain.bits, domain.scale, domain.invalid) == (16, 0.001, 0)
    assert domain.range == (0.8, 4.0)
    coarse = drafted(pictures, scale=0.0002).manifest.domain("cam/depth")
    assert coarse.scale == 0.0002 and coarse.range == (0.1, 0.8)
    pictures.depth("target/1_depth.png", gaps=False)
    assert drafted(pictures).manifest.domain("cam/depth").invalid is None
    pictures.depth("target/1_depth.png", low=65535, high=65536, gaps=False)
    assert drafted(pictures).manifest.domain("cam/depth").invalid == 65535


def test_what_is_asked_is_answered_or_assumed(pictures: Pictures) -> None:
    pictures.rgb("1_rgb.png")
    pictures.grey("1.png")
    asked: list[str] = []

    def answer(question: str, assumed: str) -> str:
        asked.append(question)
        return {"depth": "depth", "0.0392157": "0.02"}.get(assumed, "bed, sofa")

    made = draft(look(pictures.root), SILENT, answer)
    assert made.manifest.domain("cam/depth").scale == 0.02 and not made.assumed
    assert made.manifest.classes.task_relevant == ("bed", "sofa")
    assert [word in question for word, question in zip(
        ("depth or nir", "8-bit depth of cam/depth", "No image has a class"), asked, strict=True
    )] == [True] * 3  # fmt: skip
    assert drafted(pictures).assumed["domains.cam/depth.scale"].endswith("--scale says otherwise.")
    with pytest.raises(LookError, match=r"'lidar' is not depth or nir"):
        drafted(pictures, modality="lidar")
    with pytest.raises(LookError, match=r"Scale 'far' is no number above 0"):
        draft(look(pictures.root), SILENT, lambda question, assumed: (
            "far" if "Metres" in question else assumed
        ))  # fmt: skip
    with pytest.raises(LookError, match=r"names no class"):
        drafted(pictures, task_relevant=())


def test_what_cannot_be_used_is_said(pictures: Pictures) -> None:
    pictures.rgb("bed/1_rgb.png")
    pictures.rgb("sofa/2_rgb.png")
    pictures.rgb("gate/3_rgb.png")
    with pytest.raises(LookError, match=r"holds colour images only"):
        drafted(pictures)
    pictures.depth("bed/1_depth.png")
    for number in (1, 4):
        pictures.grey(f"bed/{number}_depth_map.png")
    made = drafted(pictures)
    assert made.raw["layout"]["parts"][0]["partners"] == "optional"
    notes = " ".join(made.notes)
    assert "2 images of" in notes and "have no partner" in notes
    assert "Passed over: 2 files like" in notes and "{class}/{id}_depth_map.png" in notes
    Image.fromarray(np.ones((5, 5), np.uint16)).save(pictures.root / "bed/1_depth.png")
    assert "differ in size (rgb 12 x 10, depth 5 x 5)" in " ".join(drafted(pictures).notes)


def test_the_file_can_be_read_by_a_person(pictures: Pictures) -> None:
    for number in range(4):
        pictures.pair(f"{('bed', 'no', '1.5', 'sofa')[number]}/{number}")
    made = drafted(pictures, sensor="kinect")
    text = manifest_text(made, "my folder")
    assert yaml.safe_load(text) == made.raw  # `no` and `1.5` are names, not values
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    scale = lines.index("    scale: 0.001")
    assert lines[scale - 1].startswith("    # ") and "Assumed" in "".join(lines[scale - 3 : scale])
    assert "  kinect/rgb: &counts" in lines and "  kinect/depth: *counts" in lines
    assert lines[0].startswith("# Written by `socketlab data init` from what is in my folder.")
