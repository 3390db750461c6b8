from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from socketlab.data.acquiring import acquire as module
from socketlab.data.acquiring import archives, downloads
from socketlab.data.acquiring.acquire import AcquireError, acquire
from socketlab.data.schema import Progress
from socketlab.data.store import prepare


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("SOCKETLAB_ROOT", raising=False)
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0)
    monkeypatch.setattr(downloads, "BLOCK", 1000)


def zipped(small: Any, path: Path) -> bytes:
    """The images and the table of `small` as a zip archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(small.root.rglob("*.*")):
            archive.write(file, file.relative_to(small.root))
    return path.read_bytes()


def publish(small: Any, loopback: Any, name: str, content: bytes, **changes: Any) -> None:
    """Add an archive to the manifest of `small` and serve it."""
    small.raw["archives"].append(
        {
            "url": loopback.publish(name, content),
            "filename": name,
            "bytes": len(content),
            "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
            **changes,
        }
    )


@pytest.fixture
def published(small: Any, loopback: Any, tmp_path: Path) -> bytes:
    """`small` as one archive with a checksum, served on this machine."""
    content = zipped(small, tmp_path / "made" / "small.zip")
    publish(small, loopback, "small.zip", content)
    return content


def unchecked(small: Any) -> None:
    small.raw["archives"][0].update(checksum="none published", bytes=None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def gets(loopback: Any) -> list[str]:
    return [name for method, name, _ in loopback.heard if method == "GET"]


def test_an_archive_is_fetched_verified_and_unpacked_once(
    small: Any, loopback: Any, published: bytes
) -> None:
    heard: list[str] = []
    counted: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def bars(title: str) -> Iterator[Progress]:
        steps = counted.setdefault(f"{title} {len(counted)}", [])
        yield lambda done, total: steps.append((done, total))

    folder = acquire(small.manifest, data_dir=small.data_dir, say=heard.append, bars=bars)
    assert folder == small.data_dir / "raw" / "small"
    assert files(folder) == files(small.root)
    assert names(folder.parent) == [".archives", "small"]
    assert files(folder.parent / ".archives").get("small.zip") == published
    assert list(counted) == ["small.zip 0", "small.zip 1"]  # downloading, unpacking
    assert counted["small.zip 0"][-1] == (len(published), len(published))
    assert counted["small.zip 1"][-1][0] == counted["small.zip 1"][-1][1] > 0
    assert acquire(small.manifest, data_dir=small.data_dir, say=heard.append) == folder
    assert [line.split()[0] for line in heard] == ["Downloading", "Unpacking", "small"]
    assert heard[-1].startswith("small is already in")
    assert gets(loopback) == ["small.zip"]
    store = prepare(small.manifest, root=None, size=8, data_dir=small.data_dir)
    assert len(store.samples) == 14


def test_a_broken_download_goes_on_with_the_next_call(
    small: Any, loopback: Any, published: bytes
) -> None:
    loopback.breaks = [2000, 0, 0, 0]
    with pytest.raises(AcquireError, match=r"Start again to go on"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert names(small.data_dir / "raw") == [".archives"]
    loopback.heard.clear()
    folder = acquire(small.manifest, data_dir=small.data_dir)
    assert loopback.heard == [("GET", "small.zip", "bytes=2000-")]
    assert files(folder) == files(small.root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": 17}, r"bytes, expected 17; nothing was downloaded\. Get it again"),
        ({"checksum": "md5:" + "0" * 32}, r"does not match.*0{32}"),
        ({"url": "http://127.0.0.1:1/small.zip"}, r"cannot be downloaded: .*by hand"),
    ],
)
def test_a_wrong_archive_is_refused_and_does_not_stay(
    small: Any, published: bytes, changes: dict[str, Any], message: str
) -> None:
    small.raw["archives"][0].update(changes)
    with pytest.raises(AcquireError, match=message):
        acquire(small.manifest, data_dir=small.data_dir)
    assert names(small.data_dir / "raw") == [".archives"]
    assert names(small.data_dir / "raw" / ".archives") == []


def test_a_truncated_archive_leaves_no_data_folder_and_is_not_trusted(
    small: Any, loopback: Any, published: bytes
) -> None:
    unchecked(small)
    loopback.publish("small.zip", published[:-30])
    with pytest.raises(AcquireError, match=r"small\.zip cannot be unpacked.*delete it"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert names(small.data_dir / "raw") == [".archives"]
    (small.data_dir / "raw" / ".archives" / "small.zip").unlink()
    loopback.publish("small.zip", published)
    assert files(acquire(small.manifest, data_dir=small.data_dir)) == files(small.root)


def test_a_file_without_a_checksum_must_stay_the_same(
    small: Any, loopback: Any, published: bytes, tmp_path: Path
) -> None:
    unchecked(small)
    raw = small.data_dir / "raw"
    folder = acquire(small.manifest, data_dir=small.data_dir)
    written = json.loads((raw / "archives.lock.json").read_text())["small/small.zip"]
    assert written["sha256"] == hashlib.sha256(published).hexdigest()

    shutil.rmtree(folder)
    (raw / ".archives" / "small.zip").write_bytes(published[::-1])
    with pytest.raises(AcquireError, match=r"It is not the file first used on"):
        acquire(small.manifest, data_dir=small.data_dir)

    (raw / ".archives" / "small.zip").unlink()
    changed = bytearray(published)
    changed[40] ^= 1
    loopback.publish("small.zip", bytes(changed))
    with pytest.raises(AcquireError, match=r"does not match.*archives\.lock\.json"):
        acquire(small.manifest, data_dir=small.data_dir)
    loopback.publish("small.zip", published + b"more")
    with pytest.raises(AcquireError, match=r"expected \d+.*archives\.lock\.json"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert not folder.exists()
    assert names(raw / ".archives") == []

    (raw / "archives.lock.json").unlink()
    loopback.publish("small.zip", zipped(small, tmp_path / "new" / "small.zip"))
    assert files(acquire(small.manifest, data_dir=small.data_dir)) == files(small.root)


@pytest.mark.parametrize("place", ["given", "root", "archives"])
def test_an_archive_on_disk_is_used_where_it_is(
    small: Any,
    loopback: Any,
    published: bytes,
    tmp_path: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOCKETLAB_ROOT", str(tmp_path / "everything"))
    there = {
        "given": tmp_path / "downloads" / "small (1).zip",
        "root": tmp_path / "everything" / "small" / "small.zip",
        "archives": small.data_dir / "raw" / ".archives" / "small.zip",
    }[place]
    there.parent.mkdir(parents=True)
    there.write_bytes(published)
    given = [there] if place == "given" else []
    folder = acquire(small.manifest, data_dir=small.data_dir, archives=given)
    assert folder == small.data_dir / "raw" / "small"
    assert files(folder) == files(small.root)
    assert loopback.heard == []
    copies = [path for path in small.data_dir.rglob("*.zip") if path != there]
    assert copies == []


def test_a_wrong_archive_on_disk_is_refused_before_anything_is_downloaded(
    small: Any, loopback: Any, published: bytes
) -> None:
    publish(small, loopback, "more.zip", published)
    there = small.data_dir / "raw" / ".archives" / "more.zip"
    there.parent.mkdir(parents=True)
    there.write_bytes(published[:-1])
    with pytest.raises(AcquireError, match=r"more\.zip: \d+ bytes, expected \d+\. Get it again"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert loopback.heard == []
    assert there.is_file()


def test_a_file_that_is_no_archive_is_linked(
    small: Any, loopback: Any, published: bytes, tmp_path: Path
) -> None:
    publish(small, loopback, "labelled.mat", b"arrays")
    publish(small, loopback, "splits.mat", b"splits")
    mine = tmp_path / "mine" / "labelled.mat"
    mine.parent.mkdir()
    mine.write_bytes(b"arrays")
    folder = acquire(small.manifest, data_dir=small.data_dir, archives=[mine])
    assert (folder / "labelled.mat").samefile(mine)
    assert (folder / "splits.mat").samefile(folder.parent / ".archives" / "splits.mat")
    assert gets(loopback) == ["small.zip", "splits.mat"]


def test_to_another_disk_the_link_is_a_symbolic_one(
    small: Any, loopback: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    publish(small, loopback, "labelled.mat", b"arrays")
    folder = acquire(small.manifest, data_dir=Path("data"))
    assert (folder / "labelled.mat").is_symlink()
    assert (folder / "labelled.mat").read_bytes() == b"arrays"


def test_a_link_is_never_written_through(small: Any, loopback: Any, tmp_path: Path) -> None:
    """An archive may hold a file of the same name as one that is linked."""
    mine = tmp_path / "labelled.mat"
    mine.write_bytes(b"mine")
    publish(small, loopback, "labelled.mat", b"mine")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("labelled.mat", b"theirs")
    publish(small, loopback, "x.zip", (tmp_path / "x.zip").read_bytes())
    with pytest.raises(AcquireError, match=r"labelled\.mat is there twice"):
        acquire(small.manifest, data_dir=small.data_dir, archives=[mine])
    assert mine.read_bytes() == b"mine"


def test_an_interrupted_unpacking_begins_again(
    small: Any, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = small.data_dir / "raw" / ".small.partial"
    (partial / "sofa").mkdir(parents=True)
    (partial / "sofa" / "00_rgb.png").write_bytes(b"half")
    (partial / "old").write_bytes(b"")
    folder = acquire(small.manifest, data_dir=small.data_dir)
    assert files(folder) == files(small.root)

    shutil.rmtree(folder)

    def killed(*arguments: object) -> None:
        assert partial.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        acquire(small.manifest, data_dir=small.data_dir)
    assert names(small.data_dir / "raw") == [".archives"]


def test_a_folder_that_holds_only_a_part_is_not_replaced(
    small: Any, loopback: Any, published: bytes
) -> None:
    publish(small, loopback, "splits.mat", b"splits")
    folder = small.data_dir / "raw" / "small"
    folder.mkdir(parents=True)
    (folder / "notes").write_text("mine")
    with pytest.raises(AcquireError, match=r"does not hold all of 'small'\. Move the archives"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert (folder / "notes").read_text() == "mine"
    (folder / "notes").unlink()
    assert "splits.mat" in files(acquire(small.manifest, data_dir=small.data_dir))


def test_a_disk_that_is_too_small_is_seen_first(
    small: Any, loopback: Any, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "free_space", lambda folder: 2 * len(published) - 1)
    with pytest.raises(AcquireError, match=r"raw: getting 'small' takes about .* are free"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert loopback.heard == []
    monkeypatch.setattr(archives, "free_space", lambda folder: 2 * len(published))
    acquire(small.manifest, data_dir=small.data_dir)


def test_a_person_must_download_what_no_program_may(
    small: Any, loopback: Any, published: bytes
) -> None:
    publish(small, loopback, "by_hand.zip", published, manual="Click 'Indoor'.", bytes=None)
    publish(small, loopback, "more.mat", b"more", manual="Click 'More'.", bytes=None)
    small.raw["archives"] = small.raw["archives"][1:]
    with pytest.raises(AcquireError) as caught:
        acquire(small.manifest, data_dir=small.data_dir)
    path = small.data_dir / "raw" / ".archives" / "by_hand.zip"
    first, second, last = str(caught.value).split("\n")
    assert "Click 'Indoor'." in first and f"Put the file at {path}" in first
    assert "Click 'More'." in second
    assert last == "Then run again: socketlab data get small"
    assert loopback.heard == []
    path.write_bytes(published)
    with pytest.raises(AcquireError, match=r"^more\.mat of 'small'"):
        acquire(small.manifest, data_dir=small.data_dir)
    small.raw["archives"].pop()
    assert files(acquire(small.manifest, data_dir=small.data_dir)) == files(small.root)


def test_no_archive_says_where_to_get_the_data(small: Any) -> None:
    with pytest.raises(AcquireError, match=r"no archive to download.*example\.org/small"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert not small.data_dir.exists()


@pytest.mark.parametrize("lock", [".small.lock", ".archives/.small.zip.lock"])
def test_of_two_processes_one_waits(small: Any, loopback: Any, published: bytes, lock: str) -> None:
    """Of the same data set, and of two that are made of the same archive."""
    raw = small.data_dir / "raw"
    (raw / ".archives").mkdir(parents=True)
    heard: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        heard.append(line)
        if line.startswith("Another process"):
            waits.set()

    manifest = small.manifest
    with FileLock(raw / lock):
        thread = threading.Thread(
            target=acquire, args=(manifest,), kwargs={"data_dir": small.data_dir, "say": say}
        )
        thread.start()
        assert waits.wait(10)
        assert not (raw / "small").exists()
        # what the other process does meanwhile
        if "archives" in lock:
            (raw / ".archives" / "small.zip").write_bytes(published)
        else:
            shutil.copytree(small.root, raw / "small")
    thread.join(10)
    assert files(raw / "small") == files(small.root)
    assert gets(loopback) == []


def test_what_another_process_has_downloaded_meanwhile_is_verified(
    small: Any, loopback: Any, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(folder: Path, needed: int, purpose: str) -> None:
        (folder / ".archives" / "small.zip").write_bytes(published[::-1])

    monkeypatch.setattr(module, "require_space", meanwhile)
    with pytest.raises(AcquireError, match=r"sha256 is [0-9a-f]{64}, expected"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert loopback.heard == []
