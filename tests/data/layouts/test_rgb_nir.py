"""RGB-NIR Scene from an archive in the official layout, with as many pairs as the official one."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from socketlab.data.acquiring.acquire import AcquireError, acquire
from socketlab.data.layouts.records import PreparationError
from socketlab.data.manifest import Manifest, describe, load_manifest
from socketlab.data.opening import open_views
from socketlab.data.store import Store, prepare

PAIRS = {
    "country": 52,
    "field": 51,
    "forest": 53,
    "indoor": 56,
    "mountain": 55,
    "oldbuilding": 51,
    "street": 50,
    "urban": 58,
    "water": 51,
}


def tiff(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    colour = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, pixels, photometric=colour, **options)
    return buffer.getvalue()


def near_infrared(number: int) -> np.ndarray[Any, Any]:
    """A frame of 2 x 4: every third file holds 16 bits, of which every second counts from the top.

    Left 40 (x 256 + 200, to be cut), right the number of the image.
    """
    frame = np.array([[40, 40, number, number]] * 2)
    return (frame * 256 + 200).astype(np.uint16) if number % 3 == 0 else frame.astype(np.uint8)


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, count in PAIRS.items():
            for number in range(count):
                place = f"nirscene1/{name}/{number:04}"
                order: Any = {"byteorder": ">"} if number % 2 else {}
                wide = number % 5 == 0
                rgb = np.full((2, 4, 3), [200, 30, number], np.uint16) * (256 if wide else 1)
                dtype = np.uint16 if wide else np.uint8
                file.writestr(f"{place}_rgb.tiff", tiff(rgb.astype(dtype), **order))
                file.writestr(f"{place}_nir.tiff", tiff(near_infrared(number), **order))
    return path


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """The shipped one, without the size of the official archive."""
    shipped = load_manifest("rgb_nir_scene")
    (published,) = shipped.archives
    return shipped.model_copy(update={"archives": [published.model_copy(update={"bytes": None})]})


@pytest.fixture(scope="module")
def folder(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the archive was unpacked, below the folder for data."""
    place = tmp_path_factory.mktemp("rgb_nir")
    return acquire(manifest, data_dir=place, archives=[archive(place / "nirscene1.zip")])


@pytest.fixture(scope="module")
def store(manifest: Manifest, folder: Path) -> Store:
    return prepare(manifest, root=folder, size=4, data_dir=folder.parent.parent)


def test_there_are_477_pairs_of_nine_classes(manifest: Manifest, store: Store) -> None:
    stated = Counter[str]()
    for row in describe(manifest):
        stated[row.class_name] += row.images
    assert stated == {name: 2 * count for name, count in PAIRS.items()}
    assert len(store.samples) == 954 and set(store.samples.groupby("pair_id").size()) == {2}
    assert (store.samples.groupby("pair_id")[["class", "split"]].nunique() == 1).all(axis=None)


def test_an_id_does_not_name_the_class(store: Store) -> None:
    for name, samples in store.samples.groupby("class"):
        assert not samples["id"].str.contains(str(name)).any()
        assert not samples["pair_id"].str.contains(str(name)).any()


def test_8_and_16_bits_become_the_same_pixels(store: Store) -> None:
    """Colour is constant; near infrared is 40 on the left and the image's number on the right."""
    samples = store.samples
    numbers = samples["path"].str.extract(r"/(\d{4})_")[0].astype(int)
    for domain in ("epfl/rgb", "epfl/nir"):
        array = store.array(domain)
        assert array.dtype == np.uint8 and array.shape[:3] == (477, 4, 4)
        for row, number in zip(
            samples.loc[samples["domain"] == domain, "row"],
            numbers[samples["domain"] == domain],
            strict=True,
        ):
            if domain == "epfl/rgb":
                assert (array[row] == [200, 30, number]).all()
            else:
                assert (array[row] == [40, 40, number, number]).all()


@pytest.mark.parametrize("protocol", ["transductive", "held_out", "transductive_last_six"])
def test_every_protocol_opens(protocol: str, store: Store) -> None:
    rules = store.manifest.protocol(protocol)
    views = open_views(store, protocol=protocol, source="epfl/rgb", target="epfl/nir")
    relevant = sum(PAIRS[name] for name in rules.task_relevant)
    assert len(rules.task_relevant) == 6 and len(rules.task_irrelevant) == 3
    assert views.pairs is not None and len(views.pairs) == 477 - relevant
    if protocol == "held_out":
        assert len(views.target.images.ids) == 222 and len(views.evaluation.images.ids) == 96
        assert not set(views.target.images.ids) & set(views.evaluation.images.ids)
    else:
        assert len(views.target.images.ids) == len(views.evaluation.images.ids) == relevant


def test_a_missing_pair_is_named_by_its_count(manifest: Manifest, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive(tmp_path / "nirscene1.zip")) as file:
        file.extractall(tmp_path)
    for kind in ("rgb", "nir"):
        (tmp_path / "nirscene1" / "urban" / f"0057_{kind}.tiff").unlink()
    with pytest.raises(PreparationError, match=r"epfl/nir, class urban, split .*: expected"):
        prepare(manifest, root=tmp_path, size=4, data_dir=tmp_path / "data")


def test_another_archive_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "nirscene1.zip"
    path.write_bytes(b"not it")
    with pytest.raises(AcquireError, match=r"952,?431,?486"):
        acquire(load_manifest("rgb_nir_scene"), data_dir=tmp_path / "data", archives=[path])
