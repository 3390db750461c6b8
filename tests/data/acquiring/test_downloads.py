from __future__ import annotations

import errno
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from socketlab.data.acquiring import archives, downloads
from socketlab.data.acquiring.archives import AcquireError
from socketlab.data.acquiring.downloads import download, part_of, remote_size

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0)
    monkeypatch.setattr(downloads, "BLOCK", 1000)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


def ranges(loopback: Any) -> list[str | None]:
    return [asked for method, _, asked in loopback.heard if method == "GET"]


def broken_off(loopback: Any, url: str, target: Path, after: int) -> None:
    """Leave `after` bytes of a download behind."""
    loopback.breaks = [after] + [0] * downloads.TRIES
    with pytest.raises(AcquireError, match=r"cannot be downloaded: .*Start again to go on"):
        download(url, target)
    loopback.breaks.clear()
    loopback.heard.clear()
    assert part_of(target).stat().st_size == after
    assert not target.exists()


def only(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("checksum", [SHA256, "md5:" + hashlib.md5(CONTENT).hexdigest(), None])
def test_a_file_arrives_whole(loopback: Any, target: Path, checksum: str | None) -> None:
    counted: list[tuple[int, int]] = []
    download(
        loopback.publish("a.zip", CONTENT),
        target,
        size=len(CONTENT),
        checksum=checksum,
        progress=lambda done, total: counted.append((done, total)),
    )
    assert target.read_bytes() == CONTENT
    assert only(target)
    assert counted[-1] == (300_000, 300_000)
    assert len(counted) > 50 and counted == sorted(counted)


def test_a_lost_connection_is_taken_up_again_in_the_same_call(loopback: Any, target: Path) -> None:
    loopback.breaks = [100_000, 50_000]
    download(loopback.publish("a.zip", CONTENT), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert ranges(loopback) == [None, "bytes=100000-", "bytes=150000-"]


def test_the_next_call_goes_on_where_one_broke_off(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    counted: list[int] = []
    download(url, target, checksum=SHA256, progress=lambda done, total: counted.append(done))
    assert ranges(loopback) == ["bytes=123000-"]
    assert counted[0] > 123_000
    assert target.read_bytes() == CONTENT
    assert only(target)


def test_connections_that_bring_something_are_not_counted_as_failures(
    loopback: Any, target: Path
) -> None:
    loopback.breaks = [30_000] * 9
    download(loopback.publish("a.zip", CONTENT), target, checksum=SHA256)
    assert len(ranges(loopback)) == 10


def test_without_ranges_it_begins_anew(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    loopback.ranges = False
    download(url, target, checksum=SHA256)
    assert ranges(loopback) == ["bytes=123000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("length", [300_000, 200_000, 1_000])
def test_a_part_of_another_file_is_not_used(loopback: Any, target: Path, length: int) -> None:
    broken_off(loopback, loopback.publish("a.zip", CONTENT), target, 123_000)
    other = bytes(length)
    download(loopback.publish("a.zip", other), target)
    assert ranges(loopback) == ["bytes=123000-", None]
    assert target.read_bytes() == other


def test_a_part_from_another_address_is_not_used(loopback: Any, target: Path) -> None:
    broken_off(loopback, loopback.publish("a.zip", CONTENT), target, 123_000)
    download(loopback.publish("b.zip", CONTENT), target)
    assert ranges(loopback) == [None]
    assert target.read_bytes() == CONTENT


def test_a_part_that_nobody_knows_is_not_used(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    part_of(target).write_bytes(b"x" * 1000)
    (target.parent / "archive.zip.part.json").write_text("{")
    download(url, target, checksum=SHA256)
    assert ranges(loopback) == [None]


def test_a_part_that_is_whole_is_not_asked_for_again(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    part_of(target).write_bytes(CONTENT)
    download(url, target, size=len(CONTENT), checksum=SHA256)
    assert loopback.heard == []
    assert target.read_bytes() == CONTENT


def test_whoever_stops_during_the_check_keeps_what_has_arrived(
    loopback: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    url = loopback.publish("a.zip", CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", stop)
        with pytest.raises(KeyboardInterrupt):
            download(url, target, checksum=SHA256)
    assert part_of(target).read_bytes() == CONTENT
    killed = target.parent / ".archive.zip.incoming"  # what a kill leaves behind
    killed.mkdir()
    (killed / "tmp123").write_bytes(CONTENT)
    download(url, target, checksum=SHA256)
    assert len(loopback.heard) == 1
    assert only(target)


def test_without_hard_links_a_file_arrives_as_well(
    loopback: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    download(loopback.publish("a.zip", CONTENT), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert only(target)


def test_a_server_that_sends_another_part_is_not_believed(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    loopback.shift = 10
    download(url, target, checksum=SHA256)
    assert ranges(loopback) == ["bytes=123000-", None]


def test_a_part_that_is_whole_but_of_a_wrong_size_is_not_used(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    part_of(target).write_bytes(CONTENT)
    with pytest.raises(AcquireError, match=r"has 300000 bytes, expected 300001"):
        download(url, target, size=300_001)
    assert not target.exists()


def test_a_kill_between_two_files_does_not_mix_them(
    loopback: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(loopback, loopback.publish("a.zip", CONTENT), target, 123_000)
    other = bytes(300_000)
    url = loopback.publish("a.zip", other)
    write_text = Path.write_text

    def killed(path: Path, text: str) -> None:
        write_text(path, text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            download(url, target)
    download(url, target)
    assert target.read_bytes() == other


def test_a_server_that_refuses_for_a_while_does_not_cost_the_part(
    loopback: Any, target: Path
) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 123_000)
    del loopback.files["a.zip"]
    with pytest.raises(AcquireError, match="404"):
        download(url, target)
    loopback.publish("a.zip", CONTENT)
    download(url, target, checksum=SHA256)
    assert ranges(loopback) == ["bytes=123000-", "bytes=123000-"]


def test_a_length_that_is_not_said_is_no_hindrance(loopback: Any, target: Path) -> None:
    loopback.lengths = False
    counted: list[int] = []
    url = loopback.publish("a.zip", CONTENT)
    download(url, target, checksum=SHA256, progress=lambda done, total: counted.append(done))
    assert target.read_bytes() == CONTENT
    assert counted == []


def test_what_the_server_sends_stays_as_it_is(loopback: Any, target: Path) -> None:
    """Some servers call a .tar.gz a compressed .tar, and libraries would unpack it."""
    content = gzip.compress(CONTENT)
    loopback.encoding = "gzip"
    url = loopback.publish("a.tar.gz", content)
    download(url, target, size=len(content))
    assert target.read_bytes() == content


@pytest.mark.parametrize("size", [299_999, 300_001])
def test_another_size_is_seen_before_the_download(loopback: Any, target: Path, size: int) -> None:
    with pytest.raises(AcquireError, match=rf"has 300000 bytes, expected {size}.*has changed"):
        download(loopback.publish("a.zip", CONTENT), target, size=size)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_is_an_error_and_nothing_stays(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT)
    with pytest.raises(AcquireError, match=r"does not match.*0{64}.*Start again; if it stays so"):
        download(url, target, checksum="sha256:" + "0" * 64)
    assert list(target.parent.iterdir()) == []


def test_an_address_without_a_file_is_one_request_and_an_error(loopback: Any, target: Path) -> None:
    url = loopback.publish("a.zip", CONTENT).replace("a.zip", "b.zip")
    with pytest.raises(AcquireError, match=r"b\.zip cannot be downloaded: 404.*by hand") as caught:
        download(url, target)
    assert str(target) in str(caught.value)
    assert len(loopback.heard) == 1
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.zip", "nowhere/a.zip"])
def test_no_server_is_an_error(target: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(AcquireError, match=r"a\.zip cannot be downloaded"):
        download(url, target)


def test_a_disk_that_is_too_small_is_seen_before_the_download(
    loopback: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = loopback.publish("a.zip", CONTENT)
    broken_off(loopback, url, target, 100_000)
    monkeypatch.setattr(archives, "free_space", lambda folder: 199_999)
    with pytest.raises(AcquireError, match=r"takes about 200\.0 kB, and 200\.0 kB are free"):
        download(url, target)
    assert part_of(target).stat().st_size == 100_000
    monkeypatch.setattr(archives, "free_space", lambda folder: 200_000)
    download(url, target, checksum=SHA256)


def test_the_size_is_asked_for_without_a_download(loopback: Any) -> None:
    url = loopback.publish("a.zip", CONTENT)
    assert remote_size(url) == 300_000
    assert remote_size(url.replace("a.zip", "b.zip")) is None
    loopback.lengths = False
    assert remote_size(url) is None
    assert {method for method, _, _ in loopback.heard} == {"HEAD"}


def test_the_size_of_nobody_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert remote_size("http://127.0.0.1:1/a.zip") is None
