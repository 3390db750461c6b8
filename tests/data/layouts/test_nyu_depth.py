from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from scipy.io import savemat

from socketlab.data.layouts import nyu_depth
from socketlab.data.layouts.nyu_depth import Reader, list_samples
from socketlab.data.layouts.records import PreparationError
from socketlab.data.manifest import Manifest, load_manifest
from socketlab.data.store import prepare

PROJECT = Path(__file__).resolve().parents[3]
CLASSES = ["bedroom", "excercise_room", "bedroom", "kitchen"]
TRAIN, TEST = [1, 4], [2, 3]
HEIGHT, WIDTH = 480, 640
INSIDE = (slice(44, 471), slice(40, 601))
"""Rows 45 to 471 and columns 41 to 601, counted from one, as the toolbox has them."""


@dataclass
class SmallNyu:
    """A MATLAB file of four images and its split; `raw` is what the manifest's YAML says."""

    root: Path
    raw: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        path = self.root.parent / "nyu_depth_v2.yaml"
        path.write_text(yaml.safe_dump(self.raw))
        return load_manifest(path)

    @property
    def images(self) -> Path:
        return self.root / "nyu_depth_v2_labeled.mat"

    def split(self, train: list[int], test: list[int]) -> None:
        columns = {"trainNdxs": train, "testNdxs": test}
        arrays = {name: np.array(numbers)[:, None] for name, numbers in columns.items()}
        savemat(self.root / "splits.mat", arrays)

    def problems(self) -> list[str]:
        with pytest.raises(PreparationError) as caught:
            list_samples(self.manifest, self.root)
        return [problem.replace(f"{self.root}/", "") for problem in caught.value.problems]

    def frame(self, domain: str, index: int) -> np.ndarray[Any, np.dtype[Any]]:
        about = self.manifest.domains[domain]
        with h5py.File(self.images) as file:
            path = f"nyu_depth_v2_labeled.mat#{index}"
            return Reader(file, self.raw["layout"]["depth"])(self.root, path, about)


def colours(index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[480, 640, 3]: row, column and number of the image, inside a white border."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    place = np.stack([rows // 2, columns // 4, np.full_like(rows, index)], axis=2)
    image[INSIDE] = place.astype(np.uint8)[INSIDE]
    return image


def metres(index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[480, 640]: rows by the decimetre, columns by the millimetre, images by the metre."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(rows * 0.1 + columns % 100 * 0.001 + index, np.float32)


def write_images(path: Path, classes: list[str]) -> None:
    """As MATLAB writes it: every array with its axes in reverse order, texts behind references."""
    count = len(classes)
    with h5py.File(path, "w") as file:
        every = np.stack([colours(index) for index in range(count)], axis=3)
        file.create_dataset("images", data=every.T, chunks=(2, 1, 20, 480), compression="gzip")
        depth = np.stack([metres(index) for index in range(count)], axis=2)
        file.create_dataset("depths", data=depth.T, chunks=(4, 10, 480), compression="lzf")
        holes = depth.copy()
        holes[100:200, 100:200] = 0
        file.create_dataset("rawDepths", data=holes.T)
        references = file.create_dataset("sceneTypes", (1, count), dtype=h5py.ref_dtype)
        texts = file.create_group("#refs#")
        for number, name in enumerate(classes):
            letters = np.array([[ord(letter)] for letter in name], np.uint16)
            references[0, number] = texts.create_dataset(f"t{number}", data=letters).ref


@pytest.fixture
def nyu(tmp_path: Path) -> SmallNyu:
    root = tmp_path / "images"
    root.mkdir()
    raw = yaml.safe_load((PROJECT / "data_manifests" / "nyu_depth_v2.yaml").read_text())
    raw["classes"] = {
        "task_relevant": ["bedroom", "kitchen"],
        "task_irrelevant": ["excercise_room"],
    }
    counts = {
        "bedroom": {"train": 1, "test": 1},
        "kitchen": {"train": 1},
        "excercise_room": {"test": 1},
    }
    raw["expected"] = {"kv1/rgb": counts, "kv1/depth": counts}
    small = SmallNyu(root, raw)
    write_images(small.images, CLASSES)
    small.split(TRAIN, TEST)
    return small


def test_samples_have_the_official_classes_and_split(nyu: SmallNyu) -> None:
    samples = list_samples(nyu.manifest, nyu.root)
    for domain in ("kv1/rgb", "kv1/depth"):
        ours = [sample for sample in samples if sample.domain == domain]
        assert [sample.class_name for sample in ours] == CLASSES
        assert [sample.split for sample in ours] == ["train", "test", "test", "train"]
        assert [sample.id for sample in ours] == [f"{domain}/{n:04}" for n in range(4)]
        assert [sample.pair_id for sample in ours] == [f"kv1/{n:04}" for n in range(4)]
        assert [sample.path for sample in ours] == [f"{nyu.images.name}#{n}" for n in range(4)]


def test_frames_are_upright_and_without_the_border(nyu: SmallNyu) -> None:
    for index in (0, 3):
        frame = nyu.frame("kv1/rgb", index)
        assert frame.shape == (427, 561, 3) and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, colours(index)[INSIDE])
        # rows 44 and 470, columns 40 and 600, counted from 0
        assert frame[0, 0].tolist() == [22, 10, index]
        assert frame[-1, 0].tolist() == [235, 10, index]
        assert frame[0, -1].tolist() == [22, 150, index]
    depth = nyu.frame("kv1/depth", 2)
    assert depth.shape == (427, 561) and depth.dtype == np.uint16
    assert depth[0, 0] == 2000 + 4400 + 40
    assert depth[1, 2] == 2000 + 4500 + 42
    assert depth[-1, -1] == 2000 + 47000


def test_depth_as_recorded_has_holes(nyu: SmallNyu) -> None:
    nyu.raw["layout"]["depth"] = "rawDepths"
    depth = nyu.frame("kv1/depth", 0)
    # rows and columns 100 to 199 of the whole frame
    assert (depth[56:156, 60:160] == 0).all()
    assert (depth[55, 60:160] > 0).all() and (depth[56:156, 160] > 0).all()
    nyu.raw["domains"]["kv1/depth"]["gaps"] = "fill"
    filled = nyu.frame("kv1/depth", 0)
    assert filled[56, 100] == depth[55, 100] and (filled > 0).all()


def test_numbers_that_are_none_are_holes(nyu: SmallNyu) -> None:
    with h5py.File(nyu.images, "r+") as file:
        file["depths"][0, 40:42, 44] = [np.nan, np.inf]
    assert nyu.frame("kv1/depth", 0)[0, :3].tolist() == [0, 65535, 4442]


def test_prepared_pixels(nyu: SmallNyu, tmp_path: Path) -> None:
    with h5py.File(nyu.images, "r+") as file:
        image = np.full((3, WIDTH, HEIGHT), 255, np.uint8)
        image[:, 40:601, 44:471] = np.array([9, 99, 199])[:, None, None]
        file["images"][1] = image
        file["depths"][1] = np.full((WIDTH, HEIGHT), 3.4567, np.float32)
    store = prepare(nyu.manifest, root=nyu.root, size=8, data_dir=tmp_path / "data")
    rows = store.samples.set_index("id")["row"]
    colour = store.array("kv1/rgb")[rows["kv1/rgb/0001"]]
    assert (colour == np.array([9, 99, 199], np.uint8)).all()
    depth = store.array("kv1/depth")
    assert depth.dtype == np.uint16 and depth.shape == (4, 8, 8)
    assert (depth[rows["kv1/depth/0001"]] == 3457).all()
    # the middle of the frame is row 257 and column 320, here and in the other images
    middle = depth[rows["kv1/depth/0003"]][3:5, 3:5].mean()
    assert abs(middle - (3000 + 25_700 + 50)) < 40


def test_many_threads_read_what_one_does(nyu: SmallNyu, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    domains = nyu.manifest.domains
    with h5py.File(nyu.images) as file:
        read = Reader(file, "depths")
        work = [(name, n % 4) for n in range(32) for name in ("kv1/rgb", "kv1/depth")]

        def one(item: tuple[str, int]) -> np.ndarray[Any, np.dtype[Any]]:
            return read(nyu.root, f"{nyu.images.name}#{item[1]}", domains[item[0]])

        with ThreadPoolExecutor(8) as pool:
            for item, frame in zip(work, pool.map(one, work), strict=True):
                assert np.array_equal(frame, one(item))


def test_missing_files_are_both_named(nyu: SmallNyu) -> None:
    for path in (nyu.images, nyu.root / "splits.mat"):
        path.unlink()
    assert nyu.problems() == ["nyu_depth_v2_labeled.mat is missing", "splits.mat is missing"]


def test_a_file_cut_short(nyu: SmallNyu) -> None:
    content = nyu.images.read_bytes()
    nyu.images.write_bytes(content[: len(content) // 2])
    (problem,) = nyu.problems()
    assert problem.startswith("nyu_depth_v2_labeled.mat is no HDF5 file, or cut short (")
    assert problem.endswith("fetch it again")


def without_scenes(file: h5py.File) -> None:
    del file["sceneTypes"]


def upright(file: h5py.File) -> None:
    turned = file["depths"][:].transpose(0, 2, 1)
    del file["depths"]
    file["depths"] = turned


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without_scenes, "nyu_depth_v2_labeled.mat holds no array 'sceneTypes'"),
        (
            upright,
            "nyu_depth_v2_labeled.mat: depths should be (4, 640, 480), as MATLAB stores it, "
            "found (4, 480, 640)",
        ),
    ],
)
def test_arrays_that_are_not_as_published(
    change: Callable[[h5py.File], None], problem: str, nyu: SmallNyu
) -> None:
    with h5py.File(nyu.images, "r+") as file:
        change(file)
    assert nyu.problems() == [problem]


def test_wrong_splits_and_unknown_classes(nyu: SmallNyu) -> None:
    nyu.split([1, 2], [2, 3, 5])
    nyu.raw["classes"]["task_relevant"] = ["kitchen"]
    for counts in nyu.raw["expected"].values():
        counts.pop("bedroom", None)
    assert nyu.problems() == [
        "splits.mat: testNdxs names image 5, of 1 to 4",
        "splits.mat: image 2 is in train and test",
        "splits.mat: image 4 is in no split",
        "class 'bedroom' (2 images) is no class of the manifest",
    ]
    savemat(nyu.root / "splits.mat", {"trainNdxs": np.array([[1]])})
    assert "splits.mat holds no array 'testNdxs'" in nyu.problems()


def test_a_manifest_with_other_integers(nyu: SmallNyu) -> None:
    nyu.raw["domains"]["kv1/depth"]["scale"] = 0.01
    with pytest.raises(ValueError, match=r"'kv1/depth': metres are read .* found 16 and 0.01"):
        list_samples(nyu.manifest, nyu.root)


def test_the_official_manifest() -> None:
    manifest, small = load_manifest("nyu_depth_v2"), load_manifest("nyuv2_scenes_224")
    for domain in ("kv1/rgb", "kv1/depth"):
        counts = manifest.expected[domain]
        sums = {s: sum(by.get(s, 0) for by in counts.values()) for s in ("train", "test")}
        assert sums == {"train": 795, "test": 654} and len(counts) == 27
    same = ("task_relevant", "source_splits", "adapt_splits", "score_splits", "pair_splits")
    for name, protocol in small.protocols.items():
        for part in same:
            assert getattr(manifest.protocol(name), part) == getattr(protocol, part)
    camera = manifest.domains["kv1/depth"].intrinsics
    assert camera is not None and (camera.width, camera.height) == (561, 427)
    assert manifest.domains["kv1/depth"].scale * 1000 == 1


def test_manifests_are_listed_without_h5py() -> None:
    assert not {"h5py", "loadmat", "scipy"} & vars(nyu_depth).keys()
