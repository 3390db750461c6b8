from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from socketlab.data import store as store_module
from socketlab.data.layouts import files
from socketlab.data.layouts.image_files import resize
from socketlab.data.layouts.records import PreparationError
from socketlab.data.manifest import UnknownName, load_manifest
from socketlab.data.store import (
    COLUMNS,
    NotPrepared,
    Store,
    check_counts,
    open_store,
    prepare,
)


def prepared(small: Any, size: int = 6, **more: Any) -> Store:
    return prepare(small.manifest, root=small.root, size=size, data_dir=small.data_dir, **more)


def leftovers(small: Any) -> list[str]:
    """Everything in the data set's folder but lock files."""
    folder = small.data_dir / "small"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_arrays_hold_the_resized_files_in_sorted_id_order(small: Any) -> None:
    store = prepared(small)
    assert tuple(store.samples.columns) == COLUMNS
    assert store.array("cam/rgb").shape == (7, 6, 6, 3)
    assert store.array("cam/depth").dtype == np.uint16
    for domain in ("cam/rgb", "cam/depth"):
        rows = store.samples[store.samples["domain"] == domain]
        assert list(rows["id"]) == sorted(rows["id"]) and list(rows["row"]) == list(range(7))
        for path, row in zip(rows["path"], rows["row"], strict=True):
            raw = np.asarray(Image.open(small.file(path)))
            expected = resize(raw, small.manifest.domains[domain], 6)
            np.testing.assert_array_equal(store.array(domain)[row], expected)
    with pytest.raises(UnknownName, match=r"cam/nir"):
        store.array("cam/nir")
    with pytest.raises(ValueError, match=r"read-only"):
        store.array("cam/rgb")[0] = 0


def test_a_second_preparation_finds_the_first(small: Any) -> None:
    heard: list[str] = []
    first = prepared(small, say=heard.append)
    assert heard[0] == "Preparing 14 images of small at 6 px"
    changed = first.folder / "cam_rgb.npy"
    time = changed.stat().st_mtime_ns
    small.root.rename(small.root.with_name("moved"))  # the images are not needed any more
    second = prepared(small, say=heard.append)
    assert second.folder == first.folder and changed.stat().st_mtime_ns == time
    assert heard[-1].startswith("small is already prepared at 6 px")
    assert open_store(small.manifest, size=6, data_dir=small.data_dir).samples.equals(first.samples)


def test_the_same_bytes_twice(small: Any, tmp_path: Path) -> None:
    stores = [
        prepare(small.manifest, root=small.root, size=6, data_dir=tmp_path / name)
        for name in ("one", "two")
    ]
    names = sorted(path.name for path in stores[0].folder.iterdir())
    assert names == ["cam_depth.npy", "cam_rgb.npy", "samples.parquet", "store.json"]
    for name in names:
        assert (stores[0].folder / name).read_bytes() == (stores[1].folder / name).read_bytes()


def test_store_record_and_verification(small: Any) -> None:
    store = prepared(small)
    record = json.loads((store.folder / "store.json").read_text())
    assert record["manifest_sha256"] == small.manifest.digest()
    assert record["size"] == 6 and record["images"] == {"cam/rgb": 7, "cam/depth": 7}
    path = store.folder / "cam_rgb.npy"
    assert record["sha256"]["cam_rgb.npy"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.verify() == []
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.verify() == ["cam_rgb.npy"]
    (store.folder / "samples.parquet").unlink()
    assert store.verify() == ["cam_rgb.npy", "samples.parquet"]


@pytest.mark.parametrize("file", ["cam_depth.npy", "samples.parquet", "store.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_store_is_prepared_anew(small: Any, file: str, gone: bool) -> None:
    store = prepared(small)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    if gone:
        (store.folder / file).unlink()
    else:
        (store.folder / file).write_bytes(before[file][:-1] + b"?")
    heard: list[str] = []
    assert prepared(small, say=heard.append).folder == store.folder
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    if not (gone and file == "store.json"):  # what is not finished looks so, too
        assert f"but not as it was written: {file}. It is prepared anew" in heard[0]
    heard.clear()
    prepared(small, say=heard.append)
    assert len(heard) == 1 and "is already prepared" in heard[0]


def test_folder_names_follow_what_decides_the_pixels(small: Any) -> None:
    first = prepared(small)
    assert prepared(small, size=5).folder != first.folder
    small.raw["protocols"]["held_out"]["description"] = "another"
    small.raw["domains"]["cam/depth"]["range"] = [0.5, 4.0]
    assert prepared(small).folder == first.folder
    small.raw["domains"]["cam/depth"]["invalid"] = None
    assert prepared(small).folder != first.folder


def test_every_bad_file_is_reported_at_once(small: Any) -> None:
    small.file("bed/00_rgb.png").write_bytes(b"no image")
    cut = small.file("sofa/03_depth.png")
    cut.write_bytes(cut.read_bytes()[:60])
    Image.fromarray(np.zeros((10, 12), np.uint16)).save(small.file("bed/01_rgb.png"))
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(small.file("gate/05_depth.png"))
    Image.fromarray(np.zeros((5, 6), np.uint16)).save(small.file("gate/06_depth.png"))
    with pytest.raises(PreparationError) as caught:
        prepared(small)
    found = sorted(p.replace(f"{small.root}/", "") for p in caught.value.problems)
    assert len(found) == 5
    assert found[0].startswith("bed/00_rgb.png: cannot identify image file")
    assert found[1] == "bed/01_rgb.png: expected 8-bit RGB, found mode I;16"
    assert found[2].startswith("gate/05_depth.png: expected 16-bit grey, found mode L")
    assert found[3].startswith("partners differ in size: ")
    assert "gate/06_rgb.png is 12 x 10" in found[3] and "gate/06_depth.png is 6 x 5" in found[3]
    assert found[4].startswith("sofa/03_depth.png: ")
    assert leftovers(small) == []


def test_a_file_that_vanishes_is_reported(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = files.read_image

    def vanish(path: Path, domain: Any) -> Any:
        if path.name == "00_rgb.png":
            path.unlink()
        return original(path, domain)

    monkeypatch.setattr(files, "read_image", vanish)
    with pytest.raises(PreparationError, match=r"00_rgb\.png: .*No such file"):
        prepared(small)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, OSError, MemoryError])
def test_an_exception_before_anything_is_done_leaves_nothing(
    small: Any, exception: type[BaseException]
) -> None:
    def stop(done: int, total: int) -> None:
        assert list((small.data_dir / "small").glob(".6-*.partial/cam_rgb.npy"))
        raise exception("stopped")

    with pytest.raises(exception):
        prepared(small, progress=stop)
    assert leftovers(small) == []
    assert len(prepared(small).samples) == 14  # the lock is free again


def test_what_is_of_no_use_is_removed(small: Any) -> None:
    folder = prepared(small).folder
    folder.rename(folder.with_name(f".{folder.name}.partial"))  # whole, but nobody said so
    prepared(small)
    assert leftovers(small) == [folder.name]


def test_two_at_once_wait_for_each_other(small: Any) -> None:
    name = store_module._folder(small.manifest, 6, small.data_dir).name
    (small.data_dir / "small").mkdir(parents=True)
    waiting, heard = threading.Event(), []

    def say(line: str) -> None:
        heard.append(line)
        waiting.set()

    with FileLock(small.data_dir / "small" / f".{name}.lock"):
        worker = threading.Thread(target=prepared, args=(small,), kwargs={"say": say})
        worker.start()
        assert waiting.wait(10)
        assert heard[0].startswith("Another process is preparing")
        assert leftovers(small) == []
    worker.join(20)
    assert leftovers(small) == [name]


def test_counts_must_be_the_manifests(small: Any) -> None:
    small.raw["expected"]["cam/depth"] = {
        "bed": {"train": 3, "test": 1},
        "sofa": {"train": 1},
        "gate": {"train": 1, "test": 1},
    }
    with pytest.raises(PreparationError) as caught:
        prepared(small)
    assert caught.value.problems == (
        "cam/depth, class bed, split train: expected 3 images, found 2",
        "cam/depth, class sofa, split test: expected 0 images, found 1",
    )
    assert leftovers(small) == []


def test_counts_are_checked_again_when_the_manifest_changes(small: Any) -> None:
    prepared(small)
    small.raw["expected"]["cam/rgb"] = {"bed": {"train": 2, "test": 1}}
    with pytest.raises(PreparationError, match=r"class gate, split test: expected 0 images"):
        open_store(small.manifest, size=6, data_dir=small.data_dir)


def test_without_expected_counts_what_is_found_is_said(small: Any) -> None:
    del small.raw["expected"]
    del small.raw["layout"]["parts"][0]["table"]
    for protocol in small.raw["protocols"].values():
        for part in ("source", "adapt", "score", "pair"):
            protocol[f"{part}_splits"] = ["all"]
    heard: list[str] = []
    assert len(prepared(small, say=heard.append).samples) == 14
    assert heard[0] == (
        "The manifest expects no counts; found: cam/depth 7 images of 3 classes, "
        "cam/rgb 7 images of 3 classes"
    )
    samples = prepared(small).samples
    with pytest.raises(PreparationError, match=r"domains without images .*\n  cam/depth"):
        check_counts(small.manifest, samples[samples["domain"] == "cam/rgb"])


def test_unprepared_stores_say_the_command(small: Any) -> None:
    with pytest.raises(NotPrepared, match=r"Run: socketlab data prepare small --size 6 --data-dir"):
        open_store(small.manifest, size=6, data_dir=small.data_dir)
    with pytest.raises(ValueError, match=r"size must be at least 1 pixel, found 0"):
        prepared(small, size=0)


def test_the_real_pairs() -> None:
    """All 1,449 pairs; in a folder of its own name, so that it is skipped where they are not."""
    from tempfile import TemporaryDirectory

    from socketlab.data.acquiring.acquire import AcquireError, resolve_root

    manifest = load_manifest("nyuv2_scenes_224")
    with TemporaryDirectory() as folder:
        try:
            root = resolve_root(manifest, None, Path(folder))
        except AcquireError as error:
            pytest.skip(str(error))
        store = prepare(manifest, root=root, size=64, data_dir=Path(folder))
        assert len(store.samples) == 2 * 1449
        depth = store.array("kv1/depth")
        assert depth.shape == (1449, 64, 64)
        # the files hold 18 to 254 of 25.5 a metre
        assert depth.min() >= 18 / 25.5 * 1000 - 1 and depth.max() <= 254 / 25.5 * 1000 + 1
        row = store.samples.set_index("id").loc["kv1/depth/0100"]
        raw = np.asarray(Image.open(root / str(row["path"]))) / 25.5 * 1000
        assert abs(float(depth[row["row"]].mean()) - raw.mean()) < 5


def test_labels_that_were_not_known_may_come_and_none_may_go(small: Any) -> None:
    small.raw["unknown_labels"] = {"cam": 1}
    small.raw["expected"] = {name: dict(c) for name, c in small.raw["expected"].items()}
    for counts in small.raw["expected"].values():
        counts["bed"] = {"train": 1, "test": 1}  # there are two
    assert len(prepared(small).samples) == 14
    for counts in small.raw["expected"].values():
        counts["sofa"] = {"test": 1}  # one more is one too many
    with pytest.raises(PreparationError, match="delete that folder and prepare again"):
        prepared(small)
    for counts in small.raw["expected"].values():
        counts["sofa"] = {"train": 1, "test": 2}  # one is missing, whatever may come
        counts["bed"] = {"train": 2, "test": 1}
    with pytest.raises(PreparationError, match="expected 2 images, found 1"):
        prepared(small)
