from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from socketlab.data.acquire import AcquireError, acquire, candidate_roots, resolve_root, unpack


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOCKETLAB_ROOT", str(tmp_path / "everything"))
    return folder


def test_places_are_looked_at_in_order(small: Any, elsewhere: Path, tmp_path: Path) -> None:
    data_dir = Path("data")
    expected = [
        tmp_path / "everything" / "small",
        data_dir / "raw" / "small",
        elsewhere.parent / "shared" / "data" / "small",
    ]
    assert candidate_roots(small.manifest, data_dir)[:3] == expected
    for folder in reversed(expected):
        folder.mkdir(parents=True)
        assert resolve_root(small.manifest, None, data_dir) == folder
    given = tmp_path / "given"
    given.mkdir()
    assert resolve_root(small.manifest, given, data_dir) == given


def test_an_error_says_where_it_looked_and_what_to_do(small: Any, elsewhere: Path) -> None:
    with pytest.raises(AcquireError) as caught:
        resolve_root(small.manifest, None, Path("data"))
    message = str(caught.value)
    for part in ("data/raw/small", "everything/small", "shared/data/small", "--root"):
        assert part in message
    assert "https://example.org/small (cite the paper)" in message
    with pytest.raises(AcquireError, match=r"given root nowhere is no folder.*--root"):
        resolve_root(small.manifest, Path("nowhere"), Path("data"))


def archive_of(tmp_path: Path, small: Any, **changes: Any) -> Path:
    path = tmp_path / "published" / "small.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(small.root.rglob("*.*")):
            archive.write(file, file.relative_to(small.root))
    content = path.read_bytes()
    small.raw["archives"] = [
        {
            "url": path.as_uri(),
            "filename": "small.zip",
            "bytes": len(content),
            "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
            **changes,
        }
    ]
    return path


def test_an_archive_is_fetched_verified_and_unpacked_once(small: Any, tmp_path: Path) -> None:
    published = archive_of(tmp_path, small)
    heard: list[str] = []
    counted: list[tuple[int, int]] = []
    folder = acquire(
        small.manifest,
        data_dir=small.data_dir,
        say=heard.append,
        progress=lambda done, total: counted.append((done, total)),
    )
    assert folder == small.data_dir / "raw" / "small"
    names = sorted(path.relative_to(small.root) for path in small.root.rglob("*"))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == names
    assert counted[-1] == (published.stat().st_size, published.stat().st_size)
    published.unlink()  # a second call must not need it
    assert acquire(small.manifest, data_dir=small.data_dir, say=heard.append) == folder
    assert heard[-1].startswith("small is already in")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": 17}, r"bytes, expected 17\. Delete it"),
        ({"checksum": "md5:" + "0" * 32}, r"md5 is [0-9a-f]{32}, expected 0{32}"),
        ({"url": "file:///nowhere/small.zip"}, r"cannot be downloaded: .*Get it by hand"),
    ],
)
def test_a_wrong_archive_is_refused_and_does_not_stay(
    small: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    archive_of(tmp_path, small, **changes)
    with pytest.raises(AcquireError, match=message):
        acquire(small.manifest, data_dir=small.data_dir)
    assert [path for path in small.data_dir.rglob("*") if path.is_file()] == []
    assert not (small.data_dir / "raw" / "small").exists()


def test_a_broken_archive_leaves_no_data_folder(small: Any, tmp_path: Path) -> None:
    path = archive_of(tmp_path, small, checksum="none published", bytes=None)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AcquireError, match=r"small\.zip cannot be unpacked"):
        acquire(small.manifest, data_dir=small.data_dir)
    assert sorted(path.name for path in (small.data_dir / "raw").iterdir()) == [".archives"]


def test_no_archive_says_where_to_get_the_data(small: Any) -> None:
    with pytest.raises(AcquireError, match=r"no archive to download.*example\.org/small"):
        acquire(small.manifest, data_dir=small.data_dir)


def test_members_cannot_land_outside(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    with pytest.raises(AcquireError, match=r"bad\.tar\.gz cannot be unpacked"):
        unpack(path, tmp_path / "into")
    assert not (tmp_path / "outside.txt").exists()


def test_a_plain_file_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "labels.mat"
    path.write_bytes(b"content")
    unpack(path, tmp_path / "into")
    assert (tmp_path / "into" / "labels.mat").read_bytes() == b"content"
