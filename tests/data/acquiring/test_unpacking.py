from __future__ import annotations

import errno
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from socketlab.data.acquiring import archives, unpacking
from socketlab.data.acquiring.archives import AcquireError
from socketlab.data.acquiring.unpacking import allowed, is_packed, unpack

FILES = {"set/kitchen/0001_rgb.png": b"colour" * 500, "set/kitchen/0001_depth.png": b"", "a": b"1"}


def zip_of(path: Path, files: dict[str, bytes], mode: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode is not None:
                info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def tar_of(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = "a"
            archive.addfile(member, io.BytesIO(content))
    return path


def archive_of(folder: Path, ending: str, files: dict[str, bytes]) -> Path:
    make = zip_of if ending == ".zip" else tar_of
    return make(folder / f"published{ending}", files)


def found(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


ENDINGS = pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz"])
EACH_KIND = pytest.mark.parametrize("ending", [".zip", ".tar.gz"])


@ENDINGS
def test_everything_is_unpacked(tmp_path: Path, ending: str) -> None:
    counted: list[tuple[int, int]] = []
    path = archive_of(tmp_path, ending, FILES)
    unpack(path, tmp_path / "into", lambda done, total: counted.append((done, total)))
    assert found(tmp_path / "into") == FILES
    assert counted == sorted(counted)
    assert counted[-1][0] == counted[-1][1] > 0


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("SUNRGBD.zip", True),
        ("x.tar.gz", True),
        ("x.TGZ", True),
        ("x.tar", True),
        ("labelled.mat", False),
        ("zip", False),
        ("x.gz", False),
    ],
)
def test_archives_are_known_by_their_ending(name: str, packed: bool) -> None:
    assert is_packed(name) == packed


def test_folders_are_made_also_where_an_archive_names_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("empty")
        archive.writestr("empty/a", b"1")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo("./other")
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    for name in ("x.zip", "x.tar"):
        unpack(tmp_path / name, tmp_path / "into")
    assert found(tmp_path / "into") == {"empty/a": b"1"}
    assert (tmp_path / "into" / "other").is_dir()


def test_backslashes_of_a_zip_are_folders(tmp_path: Path) -> None:
    unpack(zip_of(tmp_path / "x.zip", {"set\\kitchen\\1.png": b"1"}), tmp_path / "into")
    assert found(tmp_path / "into") == {"set/kitchen/1.png": b"1"}


def test_names_that_differ_in_case_alone_pass(tmp_path: Path) -> None:
    files = {"set/Readme": b"1", "set/README": b"2"}
    unpack(zip_of(tmp_path / "x.zip", files), tmp_path / "into")
    assert found(tmp_path / "into") == files


@EACH_KIND
@pytest.mark.parametrize(
    "name", ["../outside", "a/../../b", "/outside", "C:\\outside", "\\outside", "a\\..\\..\\b"]
)
def test_nothing_lands_outside(tmp_path: Path, ending: str, name: str) -> None:
    path = archive_of(tmp_path, ending, {"inside": b"1", name: b"2"})
    with pytest.raises(AcquireError, match=r"would land outside of the data set's folder"):
        unpack(path, tmp_path / "deep" / "into")
    assert found(tmp_path / "deep") == {"into/inside": b"1"}
    assert not Path("/outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_a_tar_makes_no_links_and_no_devices(tmp_path: Path, kind: bytes) -> None:
    path = tar_of(tmp_path / "x.tar", {"b": b""}, kind)
    with pytest.raises(AcquireError, match=r"x\.tar: member 'b' is a link or a device"):
        unpack(path, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_zip_makes_no_links_and_no_devices(tmp_path: Path, kind: int) -> None:
    path = zip_of(tmp_path / "x.zip", {"b": b"/etc/hostname"}, kind | 0o777)
    with pytest.raises(AcquireError, match=r"x\.zip: member 'b' is a link or a device"):
        unpack(path, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_usual_mode_is_no_device(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"b": b"1"}, stat.S_IFREG | 0o644)
    unpack(path, tmp_path / "into")
    assert found(tmp_path / "into") == {"b": b"1"}


@EACH_KIND
def test_what_grows_past_the_bound_is_refused(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(tmp_path, ending, {"a": bytes(600_000), "b": bytes(600_000)})
    monkeypatch.setattr(unpacking, "FLOOR", 1_200_000)
    unpack(path, tmp_path / "into")
    monkeypatch.setattr(unpacking, "FLOOR", 1_199_999)
    with pytest.raises(AcquireError, match=r"its members would unpack from .* to 1\.2 MB; at most"):
        unpack(path, tmp_path / "again")
    assert "b" not in found(tmp_path / "again")


def test_a_single_member_that_grows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hides beside members that do not shrink."""
    path = zip_of(tmp_path / "x.zip", {"a": bytes(200_000)})
    with zipfile.ZipFile(path, "a") as archive:  # stored, so that the archive as a whole is fine
        archive.writestr("b", bytes(20_000))
    monkeypatch.setattr(unpacking, "FLOOR", 100_000)
    with pytest.raises(AcquireError, match=r"member 'a' would unpack from .* to 200\.0 kB"):
        unpack(path, tmp_path / "into")
    assert found(tmp_path / "into") == {}


def test_the_bound_grows_with_the_archive() -> None:
    assert allowed(0) == allowed(1_000_000) == 1 << 30
    assert allowed(10**9) == 20 * 10**9


def test_a_zip_that_lies_about_its_size_is_caught_while_writing(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": bytes(5_000_000)})
    lie = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(lie)
    with pytest.raises(AcquireError, match=r"cannot be unpacked: Bad CRC-32.*delete it"):
        unpack(path, tmp_path / "into")
    assert sum(map(len, found(tmp_path / "into").values())) <= 10


@ENDINGS
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_archive_is_an_error(tmp_path: Path, ending: str, share: float) -> None:
    content = bytes(range(256)) * 400
    path = archive_of(tmp_path, ending, {"a": content, "b": content[::-1]})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AcquireError, match=r"cannot be unpacked: .*: delete it and get"):
        unpack(path, tmp_path / "into")


@pytest.mark.parametrize("missing", [1, 4, 8])
def test_a_gzip_without_its_check_sum_is_an_error(tmp_path: Path, missing: int) -> None:
    path = tar_of(tmp_path / "x.tar.gz", FILES)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(AcquireError, match=r"cannot be unpacked: .*end-of-stream"):
        unpack(path, tmp_path / "into")


def test_a_tar_that_ends_between_two_members_is_an_error(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", {"a": bytes(512), "b": bytes(512)})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(AcquireError, match=r"does not end as a tar archive does"):
        unpack(path, tmp_path / "into")


def test_a_tar_with_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", {"a": bytes(512), "b": bytes(512)})
    content = bytearray(path.read_bytes())
    content[1024:1028] = b"oops"
    path.write_bytes(content)
    with pytest.raises(AcquireError, match=r"does not end as a tar archive does"):
        unpack(path, tmp_path / "into")


@pytest.mark.parametrize(("written", "called"), [(".tar", ".tar.gz"), (".tar.gz", ".tar")])
def test_a_tar_is_known_by_its_beginning(tmp_path: Path, written: str, called: str) -> None:
    """What a server or a browser has unpacked already, or not."""
    path = archive_of(tmp_path, written, FILES)
    unpack(path.rename(tmp_path / f"renamed{called}"), tmp_path / "into")
    assert found(tmp_path / "into") == FILES


@EACH_KIND
def test_a_page_instead_of_an_archive_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"published{ending}"
    path.write_text("<html>Please log in</html>" * 100)
    with pytest.raises(AcquireError, match=r"damaged, or no archive of its kind"):
        unpack(path, tmp_path / "into")


@pytest.mark.parametrize(
    ("ending", "place", "value"),
    [
        (".zip", 31, 0x07),  # no kind of block that there is
        (".tar.gz", 10 + len("published.tar") + 1, 0x07),
        (".zip", 200, None),
        (".tar.gz", 200, None),
        (".tar.gz", -8, None),  # the check sum
    ],
)
def test_damage_inside_is_an_error(
    tmp_path: Path, ending: str, place: int, value: int | None
) -> None:
    path = archive_of(tmp_path, ending, {"a": bytes(range(256)) * 4000})
    content = bytearray(path.read_bytes())
    content[place] = content[place] ^ 1 if value is None else value
    path.write_bytes(content)
    with pytest.raises(AcquireError, match=r"cannot be unpacked: .* It is damaged"):
        unpack(path, tmp_path / "into")


def test_a_name_with_a_zero_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", {"\u00e9\0.png": b"1"})  # beyond ASCII: in a pax header
    with pytest.raises(AcquireError, match=r"would land outside"):
        unpack(path, tmp_path / "into")


def test_a_way_to_compress_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": b"1" * 100})
    deflate, deflate64 = b"\x08\x00\x00\x00\x21", b"\x09\x00\x00\x00\x21"
    assert deflate in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(deflate, deflate64))
    with pytest.raises(AcquireError, match=r"not supported.*do that by hand and pass .*--root"):
        unpack(path, tmp_path / "into")


@EACH_KIND
def test_a_name_that_is_there_twice_is_an_error(tmp_path: Path, ending: str) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "a").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(AcquireError, match=r"a is there twice"):
        unpack(archive_of(tmp_path, ending, {"a": b"1"}), tmp_path / "into")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_zip_needs_its_space_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": bytes(60_000), "b": bytes(40_000)})
    monkeypatch.setattr(archives, "free_space", lambda folder: 99_999)
    with pytest.raises(AcquireError, match=r"unpacking x\.zip takes about 100\.0 kB"):
        unpack(path, tmp_path / "into")
    assert found(tmp_path / "into") == {}
    monkeypatch.setattr(archives, "free_space", lambda folder: 100_000)
    unpack(path, tmp_path / "into")


@EACH_KIND
def test_a_full_disk_is_said(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = archive_of(tmp_path, ending, FILES)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(AcquireError, match=r"No space left on device\. Mend that") as caught:
        unpack(path, tmp_path / "into")
    assert "delete it" not in str(caught.value)
