from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from socketlab.data.acquiring import archives
from socketlab.data.acquiring.archives import (
    AcquireError,
    expected_of,
    free_space,
    remember,
    require_space,
    seen_before,
    verify,
)
from socketlab.data.manifest import Archive

CONTENT = b"published" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


def published(checksum: str = "none published", size: int | None = None) -> Archive:
    address = "https://example.org/small.zip"
    return Archive(url=address, filename="small.zip", bytes=size, checksum=checksum)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.zip"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", f"md5:{MD5}", "none published"])
@pytest.mark.parametrize("size", [900, None])
def test_the_published_file_is_accepted(
    small: Any, file: Path, tmp_path: Path, checksum: str, size: int | None
) -> None:
    verify(tmp_path, small.manifest, published(checksum, size), file)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (published(size=901), r"900 bytes, expected 901\. Get it again from https://example\.org"),
        (published(f"sha256:{'0' * 64}"), rf"sha256 is {SHA256}, expected 0{{64}}\. Get it again"),
        (published(f"md5:{'0' * 32}"), rf"md5 is {MD5}, expected 0{{32}}\. .*file has changed"),
    ],
)
def test_another_file_is_refused(
    small: Any, file: Path, tmp_path: Path, archive: Archive, message: str
) -> None:
    with pytest.raises(AcquireError, match=message):
        verify(tmp_path, small.manifest, archive, file)


def test_an_archive_without_a_checksum_is_remembered(
    small: Any, file: Path, tmp_path: Path
) -> None:
    manifest, archive = small.manifest, published()
    assert expected_of(tmp_path, manifest, archive) == (None, None)
    remember(tmp_path, manifest, archive, file)
    written = json.loads((tmp_path / "archives.lock.json").read_text())
    assert written == {
        "small/small.zip": {
            "url": "https://example.org/small.zip",
            "filename": "small.zip",
            "bytes": 900,
            "sha256": SHA256,
            "first_seen": datetime.now(UTC).date().isoformat(),
        }
    }
    assert expected_of(tmp_path, manifest, archive) == (900, f"sha256:{SHA256}")
    verify(tmp_path, manifest, archive, file)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("content", "message"), [(b"other", r"5 bytes, expected 900"), (CONTENT[::-1], r"sha256 is")]
)
def test_what_was_remembered_must_stay_the_same(
    small: Any, file: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    remember(tmp_path, small.manifest, published(), file)
    file.write_bytes(content)
    with pytest.raises(AcquireError, match=message) as caught:
        verify(tmp_path, small.manifest, published(), file)
    today = datetime.now(UTC).date().isoformat()
    for words in (
        f"not the file first used on {today}",
        f"delete 'small/small.zip' from {tmp_path / 'archives.lock.json'}",
    ):
        assert words in str(caught.value)
    remember(tmp_path, small.manifest, published(), file)  # first use counts, not the last
    seen = seen_before(tmp_path, small.manifest, published())
    assert seen is not None and seen.sha256 == SHA256


def test_a_published_checksum_needs_no_lock_file(small: Any, file: Path, tmp_path: Path) -> None:
    remember(tmp_path, small.manifest, published(f"md5:{MD5}"), file)
    assert not (tmp_path / "archives.lock.json").exists()


def test_a_published_checksum_counts_more_than_what_was_seen(
    small: Any, file: Path, tmp_path: Path
) -> None:
    remember(tmp_path, small.manifest, published(), file)
    archive = published(f"md5:{'0' * 32}", 7)
    assert expected_of(tmp_path, small.manifest, archive) == (7, f"md5:{'0' * 32}")
    with pytest.raises(AcquireError, match=r"expected 7\. Get it again"):
        verify(tmp_path, small.manifest, archive, file)


def test_each_data_set_has_its_own_entries(small: Any, file: Path, tmp_path: Path) -> None:
    remember(tmp_path, small.manifest, published(), file)
    small.raw["name"] = "other"
    remember(tmp_path, small.manifest, published(), file)
    written = json.loads((tmp_path / "archives.lock.json").read_text())
    assert list(written) == ["other/small.zip", "small/small.zip"]


@pytest.mark.parametrize("text", ["{", '{"small/small.zip": {"bytes": 3}}'])
def test_a_damaged_lock_file_is_said(small: Any, file: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "archives.lock.json").write_text(text)
    with pytest.raises(AcquireError, match=r"not readable as a lock file: .*delete it to trust"):
        verify(tmp_path, small.manifest, published(), file)
    assert (tmp_path / "archives.lock.json").read_text() == text


def test_space_is_asked_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "not" / "yet"
    assert free_space(missing) > 0
    require_space(missing, 1, "this")
    monkeypatch.setattr(archives, "free_space", lambda folder: 5_000_000)
    require_space(missing, 5_000_000, "this")
    with pytest.raises(AcquireError, match=r"yet: this takes about 5\.0 MB, and 5\.0 MB are free"):
        require_space(missing, 5_000_001, "this")
