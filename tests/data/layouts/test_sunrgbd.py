from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from socketlab.data.layouts.records import PreparationError, SampleRecord
from socketlab.data.layouts.sunrgbd import (
    B3DO_BLOCKS,
    NYU_BLOCKS,
    SENSORS,
    list_samples,
    recording,
    split_of_sample,
)
from socketlab.data.manifest import Manifest, load_manifest
from socketlab.data.store import prepare

PROJECT = Path(__file__).resolve().parents[3]
LABELS = PROJECT.parent / "shared" / "data" / "sunrgbd_scene_labels.csv"

MILLIMETRES = 5001
"""1 0011 1000 1001, so that turning its bits by 3 to the wrong side gives another number."""

OFFICE = "kv1/NYUdata/NYU0001"
SAMPLES: dict[str, str | None] = {
    OFFICE: "office\n",
    "kv1/b3dodata/img_0063": "office",
    "kv1/NYUdata/NYU0010": "  bedroom \r\n",
    "kv1/NYUdata/NYU0011": None,
    "kv1/NYUdata/NYU0012": " \n",
    "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize": "office\r\n",
    "kv2/align_kv2/2014-12-18_11-31-54_260595134347": "bedroom",
    "realsense/shr/2014_12_18-11_33_49-1311000073": "office",
    "realsense/lg/2014_10_24-09_14_34-1311000073": "lab\n",
    "xtion/sun3ddata/mit_46_6bathroom/bcs_floor6_restroom/0000329-000011294892": "office",
    "xtion/xtion_align_data/2014_12_18_14_2_2": "bedroom",
}
"""Paths of the official archive, and what is in scene.txt; None where there is none."""

TESTS = [
    *(OFFICE, "kv1/b3dodata/img_0063"),
    *("kv1/NYUdata/NYU0010", "kv1/NYUdata/NYU0011", "kv1/NYUdata/NYU0012"),
    "kv2/align_kv2/2014-12-18_11-31-54_260595134347",
    "realsense/shr/2014_12_18-11_33_49-1311000073",
    "xtion/xtion_align_data/2014_12_18_14_2_2",
]
"""Those in the split `test`: who has prepared or published something with it counts on them."""


def depth_png(millimetres: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    """Depth as the archive packs it: the 16 bits of each number rotated left by 3."""
    rotated = (millimetres.astype(np.uint32) << 3) % 2**16 | millimetres >> 13
    return encoded(rotated.astype(np.uint16), "PNG")


def encoded(pixels: np.ndarray[Any, Any], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@dataclass
class SmallSun:
    """A tiny archive, unpacked below `root`; `raw` is what the manifest's YAML says."""

    folder: Path
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "unpacked"

    @property
    def manifest(self) -> Manifest:
        path = self.folder / "sunrgbd.yaml"
        path.write_text(yaml.safe_dump(self.raw))
        return load_manifest(path)

    def sample(self, name: str) -> Path:
        return self.root / "SUNRGBD" / name

    def records(self) -> list[SampleRecord]:
        return list_samples(self.manifest, self.root)

    def problems(self) -> list[str]:
        with pytest.raises(PreparationError) as caught:
            self.records()
        return [problem.replace(f"{self.root}/", "") for problem in caught.value.problems]


def counted(manifest: dict[str, Any]) -> dict[str, dict[str, Counter[str]]]:
    """Expected counts of `SAMPLES`, by a route of its own."""
    expected: dict[str, dict[str, Counter[str]]] = {domain: {} for domain in manifest["domains"]}
    for sample, text in SAMPLES.items():
        name = (text or "").strip()
        if name:
            for domain in expected:
                if domain.split("/")[0] == sample.split("/")[0]:
                    split = split_of_sample(sample, manifest["layout"]["test_share"])
                    expected[domain].setdefault(name, Counter())[split] += 1
    return expected


@pytest.fixture
def sun(tmp_path: Path) -> SmallSun:
    """Two columns by four rows; the left column is 5.001 m away, the right one has no reading."""
    millimetres = np.full((4, 8), MILLIMETRES, np.uint16)
    millimetres[:, 4:] = 0
    filled = np.full((4, 8), 700, np.uint16)
    image = encoded(np.full((4, 8, 3), (250, 120, 10), np.uint8), "JPEG")
    with zipfile.ZipFile(tmp_path / "SUNRGBD.zip", "w") as archive:
        for number, (sample, text) in enumerate(SAMPLES.items()):
            place = f"SUNRGBD/{sample}"
            archive.writestr(f"{place}/image/{number:07}.jpg", image)
            archive.writestr(f"{place}/depth/{number:07}.png", depth_png(millimetres))
            archive.writestr(f"{place}/depth_bfx/{number:07}.png", depth_png(filled))
            archive.writestr(f"{place}/fullres/{number:07}.jpg", image)
            archive.writestr(f"{place}/intrinsics.txt", "518.8 0 284.5 0 519.4 208.7 0 0 1")
            if text is not None:
                archive.writestr(f"{place}/scene.txt", text)
    data = SmallSun(tmp_path)
    with zipfile.ZipFile(tmp_path / "SUNRGBD.zip") as archive:
        archive.extractall(data.root)
    raw = yaml.safe_load((PROJECT / "data_manifests" / "sunrgbd.yaml").read_text())
    raw["classes"] = {"task_relevant": ["office"], "task_irrelevant": ["bedroom", "lab"]}
    del raw["protocols"]["four_cameras_10_classes"]
    raw["expected"] = {
        domain: {name: dict(by) for name, by in classes.items()}
        for domain, classes in counted(raw).items()
    }
    data.raw = raw
    return data


def test_labelled_samples_at_any_depth_become_pairs(sun: SmallSun) -> None:
    records = sun.records()
    labelled = [name for name, text in SAMPLES.items() if text and text.strip()]
    assert len(records) == 2 * len(labelled) == 18
    for record in records:
        sensor, modality = record.domain.split("/")
        sample = record.path.split("/", 1)[1].rsplit("/", 2)[0]
        assert sensor == sample.split("/")[0] and sample in labelled
        assert record.class_name == (SAMPLES[sample] or "").strip()
        assert record.split == split_of_sample(sample, 0.3)
        assert (sun.root / record.path).is_file()
        assert ("/image/" if modality == "rgb" else "/depth_bfx/") in record.path
    pairs = Counter(record.pair_id for record in records)
    assert set(pairs.values()) == {2}
    assert len({record.id for record in records}) == 18


def test_ids_do_not_name_the_room(sun: SmallSun) -> None:
    (record,) = [r for r in sun.records() if "restroom" in r.path and r.domain == "xtion/rgb"]
    assert "room" not in record.id + record.pair_id and "mit" not in record.id + record.pair_id


def test_the_folder_sunrgbd_itself_is_a_root(sun: SmallSun) -> None:
    inside = list_samples(sun.manifest, sun.root / "SUNRGBD")
    assert [r.id for r in inside] == [r.id for r in sun.records()]
    assert [f"SUNRGBD/{r.path}" for r in inside] == [r.path for r in sun.records()]


@pytest.mark.parametrize("depth", ["depth", "depth_bfx"])
def test_prepared_pixels_are_the_archives_millimetres(
    depth: str, sun: SmallSun, tmp_path: Path
) -> None:
    sun.raw["layout"]["depth"] = depth
    store = prepare(sun.manifest, root=sun.root, size=4, data_dir=tmp_path / "data")
    left = 5001 if depth == "depth" else 700
    right = 0 if depth == "depth" else 700
    for sensor in SENSORS:
        array = store.array(f"{sensor}/depth")
        assert array.dtype == np.uint16 and array.shape[1:] == (4, 4) and len(array) >= 2
        assert (array == np.array([left, left, right, right], np.uint16)).all()
        colour = store.array(f"{sensor}/rgb").astype(int)
        assert abs(colour - (250, 120, 10)).max() <= 4


def test_classes_must_be_those_of_all_four_sensors(sun: SmallSun) -> None:
    sun.sample("realsense/lg/2014_10_24-09_14_34-1311000073/scene.txt").write_text("bedroom")
    assert sun.problems() == [
        "class 'bedroom' is in all four sensors, but not task relevant in the manifest"
    ]
    sun.raw["classes"]["task_relevant"] = ["office", "bedroom", "lab"]
    sun.raw["classes"]["task_irrelevant"] = []
    assert sun.problems() == [
        "class 'lab' is task relevant in the manifest, but not in kv1, kv2, realsense, xtion"
    ]


def test_part_of_the_sensors_need_not_share_classes(sun: SmallSun) -> None:
    sun.raw["classes"] = {"task_relevant": ["bedroom"], "task_irrelevant": ["office", "lab"]}
    sun.raw.pop("unknown_labels")
    for part in ("domains", "expected"):
        sun.raw[part] = {n: v for n, v in sun.raw[part].items() if n.startswith(("kv1", "kv2"))}
    assert {record.domain.split("/")[0] for record in sun.records()} == {"kv1", "kv2"}


def test_an_unknown_class_says_where_it_belongs(sun: SmallSun) -> None:
    for name in (OFFICE, "realsense/lg/2014_10_24-09_14_34-1311000073"):
        sun.sample(f"{name}/scene.txt").write_text("sauna\n")
    assert sun.problems() == [
        "class 'sauna' (2 samples) is no class of the manifest; add it to task_irrelevant"
    ]


def test_incomplete_samples_are_all_named(sun: SmallSun) -> None:
    (sun.sample(OFFICE) / "depth_bfx" / "0000000.png").unlink()
    other = sun.sample("kv1/b3dodata/img_0063/image")
    (other / "second.jpg").write_bytes(b"")
    (other / "._0000001.jpg").write_bytes(b"an unpacking Mac's")
    folder = sun.sample("kv2/kinect2data/no_time")
    sun.sample(OFFICE).parent.joinpath("NYU0010").rename(folder)
    assert sun.problems() == [
        "SUNRGBD/kv1/NYUdata/NYU0001/depth_bfx should hold one .png file, found 0",
        "SUNRGBD/kv1/b3dodata/img_0063/image should hold one .jpg file, found 2",
        "Sample 'kv2/kinect2data/no_time' has neither a time stamp nor a place nor a known "
        "collection; take it out of the folder",
    ]


def test_a_missing_sensor_and_an_empty_folder(sun: SmallSun, tmp_path: Path) -> None:
    sun.sample("xtion").rename(tmp_path / "xtion")
    (problem,) = sun.problems()
    assert problem.startswith("SUNRGBD/xtion (the folder of sensor xtion) is missing; unpack all")
    for sensor in ("kv1", "kv2"):
        for path in sun.sample(sensor).rglob("scene.txt"):
            path.unlink()
    sun.raw.pop("unknown_labels")
    for part in ("domains", "expected"):
        sun.raw[part] = {n: v for n, v in sun.raw[part].items() if n.startswith(("kv1", "kv2"))}
    assert sun.problems() == ["SUNRGBD holds no sample with a scene.txt"]


def test_what_shares_a_room_shares_a_recording() -> None:
    place = "xtion/sun3ddata/mit_32_d466"
    assert recording(f"{place}/d466-1/0005006-000167747580") == place
    assert recording(f"{place}/d466-2/0000001-000000020431") == place
    minute = {
        recording("kv2/align_kv2/2014-12-18_11-31-54_260595134347"),
        recording("xtion/xtion_align_data/2014_12_18_11_31_55"),
        recording("realsense/shr/2014_12_18-11_33_49-1311000073"),
    }
    assert minute == {"2014-12-18"}
    # neither the camera's nor the frame's number, nor one without its zero, makes another day
    assert recording("kv2/kinect2data/000002_2014-5-6_1-2-3_26_rgbf000103-resize") == "2014-05-06"
    for collection, name, blocks in (
        ("b3dodata", "img_", B3DO_BLOCKS),
        ("NYUdata", "NYU", NYU_BLOCKS),
    ):
        assert list(blocks) == sorted(set(blocks))
        for block in blocks:
            before, first, second = (
                recording(f"kv1/{collection}/{name}{block + step:04}") for step in (-1, 0, 1)
            )
            assert before != first == second
    with pytest.raises(ValueError, match=r"'kv1/new/a' has neither a time stamp"):
        recording("kv1/new/a")


def test_the_split_is_the_same_for_everybody() -> None:
    tests = [name for name in SAMPLES if split_of_sample(name, 0.3) == "test"]
    assert tests == TESTS


def test_a_share_of_nothing_and_of_more() -> None:
    assert {split_of_sample(name, 0.0) for name in SAMPLES} == {"train"}
    larger = {name for name in SAMPLES if split_of_sample(name, 0.6) == "test"}
    assert {name for name in SAMPLES if split_of_sample(name, 0.3) == "test"} <= larger


@pytest.fixture(scope="module")
def labels() -> dict[str, str]:
    if not LABELS.is_file():
        pytest.skip(f"{LABELS.name} is not beside the project")
    with LABELS.open(newline="") as file:
        return {row["sample"].partition("/")[2]: row["scene"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def official() -> Manifest:
    return load_manifest("sunrgbd")


def test_the_manifest_counts_the_known_labels(labels: dict[str, str], official: Manifest) -> None:
    found: dict[str, Counter[tuple[str, str]]] = {sensor: Counter() for sensor in SENSORS}
    for sample, name in labels.items():
        found[sample.split("/")[0]][name, split_of_sample(sample, 0.3)] += 1
    for domain, classes in official.expected.items():
        stated = {(name, split): n for name, by in classes.items() for split, n in by.items()}
        assert stated == found[domain.split("/")[0]]
    assert sum(found["kv1"].values()) == 2001 and len(labels) == 10_295


def test_the_manifest_has_the_common_classes(labels: dict[str, str], official: Manifest) -> None:
    by_sensor = [{n for s, n in labels.items() if s.startswith(f"{c}/")} for c in SENSORS]
    common = set.intersection(*by_sensor)
    assert set(official.classes.task_relevant) == common and len(common) == 17
    assert set(official.class_names) == set(labels.values())


def test_blocks_begin_where_the_class_changes(labels: dict[str, str]) -> None:
    numbered = {int(s[-4:]): name for s, name in labels.items() if "/b3dodata/" in s}
    for block in B3DO_BLOCKS:
        assert numbered[block] != numbered[max(n for n in numbered if n < block)]


def test_blocks_begin_where_nyus_split_changes() -> None:
    table = LABELS.parent / "nyuv2_scenes_224" / "pairs.csv"
    if not table.is_file():
        pytest.skip(f"{table.name} is not beside the project")
    with table.open(newline="") as file:
        splits = {int(row["id"]) + 1: row["split"] for row in csv.DictReader(file)}
    assert all(splits[block] != splits[block - 1] for block in NYU_BLOCKS)


def test_protocols_of_the_manifest(official: Manifest) -> None:
    ten = official.protocol("four_cameras_10_classes")
    assert len(ten.task_relevant) == 10 and not {"idk", "office_kitchen"} & set(ten.task_irrelevant)
    totals = {
        sensor: sum(
            sum(official.expected[f"{sensor}/rgb"].get(name, {}).values())
            for name in (*ten.task_relevant, "office_kitchen")
        )
        for sensor in SENSORS
    }
    # the published counts, less the images whose labels we do not have
    published = {"kv1": 1247, "kv2": 2105, "realsense": 739, "xtion": 2257}
    unknown = {"kv1": 2, "kv2": 11, "realsense": 11, "xtion": 16}
    assert all(0 <= published[s] - totals[s] <= unknown[s] for s in SENSORS)
    held_out = official.protocol("held_out")
    assert not set(held_out.pair_splits + held_out.adapt_splits) & set(held_out.score_splits)
    assert {p.pair_sensors for p in official.protocols.values()} == {"all"}


def test_every_sensor_has_images_to_train_on_and_to_score(official: Manifest) -> None:
    relevant = official.classes.task_relevant
    for sensor in SENSORS:
        counts = [official.expected[f"{sensor}/rgb"].get(name, {}) for name in relevant]
        test, train = (sum(by.get(split, 0) for by in counts) for split in ("test", "train"))
        assert 0.25 < test / (test + train) < 0.4
        assert all(by.get("train", 0) for by in counts if sum(by.values()) >= 5)
