from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from socketlab.data import preparing
from socketlab.data.layouts import files
from socketlab.data.layouts.records import PreparationError, partner_keys
from socketlab.data.manifest import Manifest
from socketlab.data.store import Store, prepare

STOPPED_AT = 8
PREPARE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from socketlab.data import preparing
from socketlab.data.manifest import load_manifest
from socketlab.data.store import prepare

preparing.GROUPS_PER_CORE, preparing.GROUPS_PER_PART = 0, 2

def die(done, total):
    if done >= int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)

prepare(load_manifest(Path(sys.argv[1])), root=Path(sys.argv[2]), data_dir=Path(sys.argv[3]),
        size=int(sys.argv[4]), progress=die)
"""


@pytest.fixture(autouse=True)
def parts_of_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "GROUPS_PER_CORE", 0)
    monkeypatch.setattr(preparing, "GROUPS_PER_PART", 2)


def prepared(small: Any, **more: Any) -> Store:
    return prepare(small.manifest, root=small.root, size=6, data_dir=small.data_dir, **more)


def partial_folder(data_dir: Path, name: str) -> Path:
    (found,) = (data_dir / name).glob(".*.partial")
    return found


def sums(folder: Path) -> dict[str, str]:
    paths = sorted(folder.iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def stopper(at: int) -> Callable[[int, int], None]:
    def stop(done: int, total: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    return stop


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    original = files.read_image
    monkeypatch.setattr(
        files,
        "read_image",
        lambda path, domain: (read.append(path.name), original(path, domain))[1],
    )
    return read


@pytest.mark.parametrize("kind", ["files", "scenes"])
def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(
    kind: str, small: Any, scenes_manifest: Callable[..., Manifest], tmp_path: Path
) -> None:
    if kind == "files":
        manifest, root, size, yaml = small.manifest, small.root, 6, tmp_path / "small.yaml"
    else:
        manifest, root, size, yaml = scenes_manifest(), tmp_path, 8, tmp_path / "scenes.yaml"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = [str(yaml), str(root), str(killed), str(size), str(STOPPED_AT)]
    done = subprocess.run(
        [sys.executable, "-c", PREPARE_AND_DIE, *words], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = partial_folder(killed, manifest.name)
    assert not (left / "store.json").exists()
    heard: list[str] = []
    seen: list[int] = []
    resumed = prepare(
        manifest,
        root=root,
        size=size,
        data_dir=killed,
        say=heard.append,
        progress=lambda images, _: seen.append(images),
    )
    undisturbed = prepare(manifest, root=root, size=size, data_dir=whole)
    assert sums(resumed.folder) == sums(undisturbed.folder)
    assert resumed.verify() == []
    # whole parts from before the kill were taken over, and the bar began there
    before = STOPPED_AT - (STOPPED_AT % (2 * len(manifest.domains) // len(manifest.sensors)))
    before -= 0 if before < STOPPED_AT else 2 * len(manifest.domains) // len(manifest.sensors)
    assert seen[0] == before > 0 and seen[-1] == len(resumed.samples)
    assert f"Going on after an interruption: {before} images are there ({left})" in heard
    assert sorted(p.name for p in resumed.folder.parent.iterdir() if p.suffix != ".lock") == [
        resumed.folder.name
    ]


def test_only_what_is_not_done_is_read_again(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepared(small, progress=stopper(9))
    read = count_reads(monkeypatch)
    prepared(small)
    # parts follow the paths: bed 0 to 2, gate 5 to 6, sofa 3 to 4; two parts of two were done
    assert sorted(read) == sorted(
        f"{number}_{kind}.png" for number in ("06", "03", "04") for kind in ("rgb", "depth")
    )


@pytest.mark.parametrize("change", ["table", "root", "store version", "library", "array", "record"])
def test_an_interrupted_preparation_of_something_else_is_begun_anew(
    change: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepared(small, progress=stopper(9))
    left = partial_folder(small.data_dir, "small")
    if change == "table":  # as many images of each class and split as before
        lines = small.table()
        assert lines[1:4] == ["00,bed,train", "01,bed,train", "02,bed,test"]
        small.write_table([lines[0], "00,bed,test", "01,bed,train", "02,bed,train", *lines[4:]])
    elif change == "root":
        moved = small.root.with_name("other")
        small.root.rename(moved)
        small.root = moved
    elif change == "store version":
        record = json.loads((left / "progress.json").read_text())
        record["identity"]["store_version"] = 0
        (left / "progress.json").write_text(json.dumps(record))
    elif change == "library":
        monkeypatch.setattr(preparing, "library_versions", lambda: {"pillow": "another"})
    elif change == "array":
        (left / "cam_rgb.npy").write_bytes((left / "cam_rgb.npy").read_bytes()[:-1])
    else:
        (left / "progress.json").write_text('{"identity": {')
    read, heard = count_reads(monkeypatch), list[str]()
    store = prepared(small, say=heard.append)
    assert len(read) == 14 and not any("Going on" in line for line in heard)
    whole = prepare(small.manifest, root=small.root, size=6, data_dir=tmp_path / "whole")
    assert sums(store.folder) == sums(whole.folder)


def test_a_part_with_a_problem_is_done_again_once_it_is_mended(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [small.file("bed/01_rgb.png"), small.file("sofa/04_depth.png")]
    content = [path.read_bytes() for path in bad]
    for path in bad:
        path.write_bytes(b"no image")
    for _ in range(2):  # found again: they are not taken for done
        with pytest.raises(PreparationError) as caught:
            prepared(small)
        assert len(caught.value.problems) == 2
        left = partial_folder(small.data_dir, "small")
        assert f"the parts without one are kept in {left}" in str(caught.value)
    for path, before in zip(bad, content, strict=True):
        path.write_bytes(before)
    read = count_reads(monkeypatch)
    store = prepared(small)
    # bed 0 and 1, and sofa 4, which is the last and alone in its part
    assert sorted({name[:2] for name in read}) == ["00", "01", "04"]
    whole = prepare(small.manifest, root=small.root, size=6, data_dir=tmp_path / "whole")
    assert sums(store.folder) == sums(whole.folder)


def test_images_are_marked_only_after_they_are_on_disk(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    flush, save = np.memmap.flush, preparing._save
    monkeypatch.setattr(np.memmap, "flush", lambda array: (order.append("flush"), flush(array))[1])
    monkeypatch.setattr(preparing, "_save", lambda *given: (order.append("save"), save(*given))[1])
    prepared(small)
    marks = [at for at, what in enumerate(order) if what == "save"]
    assert marks[0] == 0 and len(marks) == 5  # the beginning, and four parts
    assert all(order[at - 2 : at] == ["flush", "flush"] for at in marks[1:])


def test_too_little_space_is_said_before_anything_is_written(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 7 * 36 * 5 - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(PreparationError, match=r"0\.0 MB are needed, 0\.0 are free") as caught:
        prepared(small)
    assert "Free some, or give another folder (--data-dir)" in str(caught.value)
    assert not list((small.data_dir / "small").glob(".*.partial"))
    usage.free += 1
    prepared(small)


def test_a_disk_that_is_full_when_arrays_are_made(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def allocate(file: int, start: int, length: int) -> None:
        sizes.append(length)
        if len(sizes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(PreparationError, match=r"No space for the prepared images in .*small"):
        prepared(small)
    assert sorted(sizes) == [128 + 7 * 36 * 2, 128 + 7 * 36 * 3]  # whole files, headers too
    assert not list((small.data_dir / "small").glob(".*.partial"))


def test_a_disk_that_is_full_later_keeps_what_is_done(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, left = np.memmap.flush, iter(range(4))

    def run_out(array: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(array)

    monkeypatch.setattr(np.memmap, "flush", run_out)
    with pytest.raises(PreparationError, match="No space left on device"):
        prepared(small)
    monkeypatch.setattr(np.memmap, "flush", flush)
    heard: list[str] = []
    assert prepared(small, say=heard.append).verify() == []
    assert any("Going on after an interruption: 8 images" in line for line in heard)


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(array: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(np.memmap, "flush", fail)
    with pytest.raises(OSError, match="Input/output error"):
        prepared(small)


@pytest.fixture
def many(small: Any) -> Iterator[Callable[[int], Any]]:
    def build(pairs: int) -> Any:
        names = {"rgb": np.zeros((4, 4, 3), np.uint8), "depth": np.full((4, 4), 900, np.uint16)}
        for kind, image in names.items():
            first = small.file(f"bed/many_{kind}.png")
            Image.fromarray(image).save(first)
            for number in range(pairs):
                os.link(first, small.file(f"bed/{number + 100:04}_{kind}.png"))
            first.unlink()
        small.write_table(
            [*small.table(), *(f"{number + 100:04},bed,train" for number in range(pairs))]
        )
        for counts in small.raw["expected"].values():
            counts["bed"] = {"train": 2 + pairs, "test": 1}
        return small

    yield build


def test_memory_does_not_grow_with_the_data_set(
    many: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, size = 600, 160
    store_bytes = pairs * size * size * 5
    given = many(pairs)
    monkeypatch.setattr(preparing, "GROUPS_PER_PART", 32)
    process, held = psutil.Process(), []

    def watch(done: int, total: int) -> None:
        held.append((done, process.memory_info().rss))

    prepare(given.manifest, root=given.root, size=size, data_dir=given.data_dir, progress=watch)
    early = max(rss for done, rss in held if done <= 2 * pairs * 0.2)
    late = max(rss for done, rss in held if done >= 2 * pairs * 0.8)
    assert store_bytes > 70e6 and late - early < 0.2 * store_bytes


def test_parts_take_no_more_memory_than_they_may(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    original = files.fill
    bytes_per_pair = 36 * 5

    def fill(manifest: Any, root: Any, samples: Any, *more: Any) -> list[str]:
        lengths.append(len(set(partner_keys(samples))))
        return original(manifest, root, samples, *more)

    layout = preparing.layout_functions("paired_folders")
    monkeypatch.setattr(
        preparing, "layout_functions", lambda kind: type("L", (), {**vars(layout), "fill": fill})
    )
    monkeypatch.setattr(preparing, "GROUPS_PER_PART", 100)
    monkeypatch.setattr(preparing, "BYTES_PER_PART", 3 * bytes_per_pair)
    prepared(small)
    assert lengths == [3, 3, 1]


def test_images_without_a_partner_are_groups_of_their_own(small: Any) -> None:
    samples = prepared(small).samples.assign(pair_id="")
    assert len(set(partner_keys(samples))) == 14
    assert len(set(preparing._group_numbers(samples))) == 14
