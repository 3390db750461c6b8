"""DIML RGB+D indoor from two archives in the official layout, made small."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.data.acquiring.acquire import AcquireError, acquire
from socketlab.data.layouts.records import PreparationError
from socketlab.data.manifest import Manifest, describe, load_manifest
from socketlab.data.opening import open_views
from socketlab.data.store import Store, prepare

COUNTS = {"train": 3, "test": 2}


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def millimetres(number: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """4 x 8: 1.5 m and the number on the left; on the right no reading, and one at 70 m."""
    depth = np.full((4, 8), 1500 + number, np.uint16)
    depth[:, 4:] = 0
    depth[0, 7] = 65535
    return depth


def archives(manifest: Manifest, folder: Path) -> list[Path]:
    """Both archives, each with both resolutions and all four folders of a scene."""
    paths = []
    for split, count in COUNTS.items():
        path = folder / f"indoor_{split}.zip"
        with zipfile.ZipFile(path, "w") as file:
            for scene, name in enumerate(manifest.class_names):
                for number in range(count):
                    # the names hold the time of recording, here made up of both
                    stem = f"in_00_16{scene:02}{20 + number}_1557{28 + (split == 'test')}"
                    colour = np.full((4, 8, 3), (scene, number, 250), np.uint8)
                    depth = millimetres(number)
                    for resolution in ("LR", "HR"):
                        place = f"{split}/{resolution}/{name}"
                        rgb = colour if resolution == "LR" else colour * 0
                        file.writestr(f"{place}/color/{stem}_c.png", png(rgb))
                        for kind in ("depth_filled", "depth_raw"):
                            shown = depth if kind == "depth_filled" else depth * 0
                            file.writestr(f"{place}/{kind}/{stem}_{kind}.png", png(shown))
                        shown8 = (depth >> 8).astype(np.uint8)
                        file.writestr(f"{place}/depth_vi/{stem}_depth_vi.png", png(shown8))
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest("diml_indoor")


@pytest.fixture(scope="module")
def folder(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("diml")
    return acquire(manifest, data_dir=place, archives=archives(manifest, place))


@pytest.fixture(scope="module")
def store(manifest: Manifest, folder: Path) -> Store:
    return prepare(manifest, root=folder, size=4, data_dir=folder.parent.parent)


def test_a_person_is_told_what_to_click_and_where_to_put_it(
    manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(AcquireError) as caught:
        acquire(manifest, data_dir=tmp_path)
    text = str(caught.value)
    assert "indoor_train.zip" in text and "https://dimlrgbd.github.io/" in text
    assert 'click "Training 1500"' in text and "--archive" in text
    assert str(tmp_path / "raw") in text


def test_eighteen_scenes_in_two_splits_without_stated_counts(
    manifest: Manifest, store: Store
) -> None:
    assert len(manifest.class_names) == len(set(manifest.class_names)) == 18
    assert not manifest.expected and describe(manifest) == []
    assert manifest.splits == ("test", "train")
    found = Counter(store.samples[["domain", "class", "split"]].itertuples(index=False, name=None))
    assert found == {
        (domain, name, split): count
        for domain in ("kv2/rgb", "kv2/depth")
        for name in manifest.class_names
        for split, count in COUNTS.items()
    }


def test_pixels_are_the_low_resolution_and_the_filled_depth(store: Store) -> None:
    samples = store.samples
    depth, rgb = store.array("kv2/depth"), store.array("kv2/rgb")
    assert depth.dtype == np.uint16 and rgb.dtype == np.uint8
    for row, path in samples.loc[samples["domain"] == "kv2/depth", ["row", "path"]].itertuples(
        index=False
    ):
        number = int(path.split("in_00_16")[1][2:4]) - 20
        # columns 0 and 1 lie over readings alone, the other two over gaps
        assert (depth[row][:, :2] == 1500 + number).all()
        assert (depth[row][:, 3] == 0).all()
    for row, path in samples.loc[samples["domain"] == "kv2/rgb", ["row", "path"]].itertuples(
        index=False
    ):
        time = path.split("in_00_16")[1]
        scene, number = int(time[:2]), int(time[2:4]) - 20
        assert (rgb[row] == [scene, number, 250]).all()


def test_partners_are_pairs_and_no_id_names_the_scene(store: Store) -> None:
    samples = store.samples
    assert set(samples.groupby("pair_id").size()) == {2}
    words = {name.split(". ")[1].split()[0].lower() for name in store.manifest.class_names}
    assert not any(word in text.lower() for text in samples["id"] for word in words)


@pytest.mark.parametrize("protocol", ["transductive", "held_out", "transductive_next_six"])
def test_every_protocol_opens(protocol: str, store: Store) -> None:
    rules = store.manifest.protocol(protocol)
    assert len(rules.task_relevant) == 6 and len(rules.task_irrelevant) == 12
    views = open_views(store, protocol=protocol, source="kv2/rgb", target="kv2/depth")
    adapted = COUNTS["train"] if protocol == "held_out" else COUNTS["test"]
    assert len(views.target.images.ids) == 6 * adapted
    assert len(views.evaluation.images.ids) == 6 * COUNTS["test"]
    assert views.pairs is not None and len(views.pairs) == 12 * COUNTS["train"]


def test_a_scene_spelt_otherwise_is_named(manifest: Manifest, tmp_path: Path) -> None:
    for path in archives(manifest, tmp_path):
        with zipfile.ZipFile(path) as file:
            file.extractall(tmp_path)
    (tmp_path / "train/LR/05. Computer Room").rename(tmp_path / "train/LR/05. computer Room")
    with pytest.raises(PreparationError) as caught:
        prepare(manifest, root=tmp_path, size=4, data_dir=tmp_path / "data")
    assert "05. computer Room is no class of the manifest" in str(caught.value)
