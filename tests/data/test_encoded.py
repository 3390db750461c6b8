"""Arrays that are made of a store's: made once, beside them, of the right camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from socketlab.data import encoded as encoded_module
from socketlab.data.encoded import encode, encoded_array
from socketlab.data.encoding_names import ImpossibleEncoding
from socketlab.data.hha import at_size, hha
from socketlab.data.manifest import UnknownName
from socketlab.data.modality import HHA_FORMAT, PixelFormat, to_unit
from socketlab.data.opening import open_views
from socketlab.data.store import Store, prepare
from socketlab.data.views import Views

CAMERA = {"fx": 11.0, "fy": 12.0, "cx": 5.5, "cy": 4.5, "width": 12, "height": 10}


def prepared(small: Any, **changes: Any) -> Store:
    small.raw["domains"]["cam/depth"] |= {"intrinsics": CAMERA} | changes
    return prepare(small.manifest, root=small.root, size=8, data_dir=small.data_dir)


def made(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*hha*"))


def test_hha_is_that_of_the_prepared_frames_and_of_their_camera(small: Any) -> None:
    store, heard, seen = prepared(small), list[str](), list[tuple[int, int]]()
    array, pixels = encoded_array(
        store, "cam/depth", "hha", say=heard.append, progress=lambda *done: seen.append(done)
    )
    assert pixels is HHA_FORMAT
    assert array.shape == (7, 8, 8, 3) and array.dtype == np.uint8
    domain = store.manifest.domain("cam/depth")
    assert domain.intrinsics is not None
    frames = torch.from_numpy(np.array(store.array("cam/depth")))
    by_hand = hha(frames, at_size(domain.intrinsics, 8), *domain.range)
    np.testing.assert_array_equal(array, by_hand.numpy())
    assert np.unique(array).size > 50  # random frames: not a blank answer
    assert len(heard) == 1 and heard[0].startswith("Making hha of 7 images of cam/depth, once")
    assert seen[-1] == (7, 7)


def test_it_is_made_once(small: Any) -> None:
    store, heard = prepared(small), list[str]()
    encoded_array(store, "cam/depth", "hha")
    (name,) = made(store)
    before = (store.folder / name).read_bytes(), (store.folder / name).stat().st_mtime_ns
    encoded_array(store, "cam/depth", "hha", say=heard.append)
    assert (store.folder / name).stat().st_mtime_ns == before[1] and not heard
    (store.folder / name).unlink()
    encoded_array(store, "cam/depth", "hha")
    assert (store.folder / name).read_bytes() == before[0]
    assert store.verify() == []


def test_many_batches_give_what_one_does(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = prepared(small)
    whole = np.array(encoded_array(store, "cam/depth", "hha")[0])
    (store.folder / made(store)[0]).unlink()
    monkeypatch.setattr(encoded_module, "PIXELS_AT_ONCE", 2 * 64)
    seen: list[int] = []
    parts = encoded_array(store, "cam/depth", "hha", progress=lambda done, _: seen.append(done))[0]
    assert seen == [2, 4, 6, 7]
    assert np.abs(parts.astype(int) - whole.astype(int)).max() <= 1


@pytest.mark.parametrize(
    "change",
    [{"intrinsics": CAMERA | {"fx": 20.0}}, {"range": [0.4, 7.0]}],
    ids=["camera", "range"],
)
def test_another_camera_or_range_makes_another_array_of_the_same_store(
    small: Any, change: dict[str, Any]
) -> None:
    first = prepared(small)
    before = np.array(encoded_array(first, "cam/depth", "hha")[0])
    second = prepared(small, **change)
    assert second.folder == first.folder
    after = encoded_array(second, "cam/depth", "hha")[0]
    assert not np.array_equal(before, after) and len(made(first)) == 2


def test_what_is_interrupted_leaves_nothing(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = prepared(small)
    before = sorted(path.name for path in store.folder.iterdir())

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(encoded_module, "encode", stopped)
        with pytest.raises(KeyboardInterrupt):
            encoded_array(store, "cam/depth", "hha")
    assert sorted(path.name for path in store.folder.iterdir()) == before
    assert encoded_array(store, "cam/depth", "hha")[0].any()


def test_what_a_killed_process_left_is_written_over(small: Any) -> None:
    store = prepared(small)
    whole = np.array(encoded_array(store, "cam/depth", "hha")[0])
    (name,) = made(store)
    (store.folder / name).rename(store.folder / f".{name}.partial")
    (store.folder / f".{name}.partial").write_bytes(b"half")
    np.testing.assert_array_equal(encoded_array(store, "cam/depth", "hha")[0], whole)
    assert not (store.folder / f".{name}.partial").exists()


@pytest.mark.parametrize("encoding", ["replicate", "inverse", "colormap"])
def test_the_others_need_no_array_of_their_own(small: Any, encoding: Any) -> None:
    store = prepared(small)
    array, pixels = encoded_array(store, "cam/depth", encoding)
    np.testing.assert_array_equal(array, store.array("cam/depth"))
    assert pixels.made == "none" and made(store) == []


def test_what_cannot_be_encoded(small: Any) -> None:
    store = prepared(small, intrinsics=None)
    with pytest.raises(ImpossibleEncoding, match=r"'cam/depth' needs the camera's intrinsics"):
        encoded_array(store, "cam/depth", "hha")
    with pytest.raises(ImpossibleEncoding, match=r"'cam/rgb' needs depth"):
        encoded_array(store, "cam/rgb", "hha")
    with pytest.raises(ImpossibleEncoding, match=r"intrinsics"):
        views(store)
    with pytest.raises(UnknownName, match=r"cam/nir"):
        encoded_array(store, "cam/nir")


def views(store: Store, encoding: Any = "hha") -> Views:
    return open_views(
        store, protocol="held_out", source="cam/rgb", target="cam/depth", encoding=encoding
    )


def test_the_views_of_the_target_hold_it_and_those_of_the_source_do_not(small: Any) -> None:
    store = prepared(small)
    opened, plain = views(store), views(store, "colormap")
    array, _ = encoded_array(store, "cam/depth", "hha")
    assert opened.pairs is not None and opened.target_pairs is not None
    assert opened.evaluation_pairs is not None
    for images in (
        opened.target.images,
        opened.evaluation.images,
        opened.target_labels.images,
        opened.pairs.target,
        opened.target_pairs.target,
        opened.evaluation_pairs.target,
    ):
        assert images.format == HHA_FORMAT
        rows = store.samples.set_index("id")["row"]
        np.testing.assert_array_equal(images.raw, array[rows.loc[list(images.ids)].to_numpy()])
    for images in (opened.source.images, opened.source_evaluation.images, opened.pairs.source):
        assert images.format == PixelFormat("rgb", 0, 255, None)
    assert plain.target.images.raw.dtype == torch.uint16
    unit = to_unit(opened.target.images.raw, opened.target.images.format, "hha")
    assert unit.shape == (len(opened.target.images), 3, 8, 8)


def test_frames_in_memory_are_encoded_as_stored_ones(small: Any) -> None:
    store = prepared(small)
    domain = store.manifest.domain("cam/depth")
    frames = torch.from_numpy(np.array(store.array("cam/depth")))
    raw, pixels = encode(frames, "cam/depth", domain, "hha")
    np.testing.assert_array_equal(raw, encoded_array(store, "cam/depth", "hha")[0])
    assert pixels == HHA_FORMAT
    same, pixels = encode(frames, "cam/depth", domain, "inverse")
    assert same is frames and pixels.modality == "depth" and pixels.made == "none"
    with pytest.raises(ImpossibleEncoding, match=r"cam/rgb"):
        encode(frames, "cam/rgb", store.manifest.domain("cam/rgb"), "colormap")
