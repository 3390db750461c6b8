"""Files are replaced whole, and what a killed process was writing is told from what is written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from socketlab.data.whole_files import is_full, remove_abandoned, replace_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_of_its_pieces_and_the_one_before_is_kept(tmp_path: Path) -> None:
    file, before = tmp_path / "a", tmp_path / "a.before"
    replace_file(file, b"one", memoryview(b" two"), keep=before)
    assert file.read_bytes() == b"one two" and names(tmp_path) == ["a"]
    replace_file(file, b"three", keep=before)
    assert (file.read_bytes(), before.read_bytes()) == (b"three", b"one two")
    replace_file(file, b"four")
    assert (file.read_bytes(), before.read_bytes()) == (b"four", b"one two")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = tmp_path / "a"
    replace_file(file, b"before")

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"/a'$") as caught:
        replace_file(file, b"after", keep=tmp_path / "kept")
    assert is_full(caught.value)
    assert file.read_bytes() == b"before" and names(tmp_path) == ["a"]


def test_whether_a_disk_was_full() -> None:
    assert not is_full(None) and not is_full(OSError(errno.ENOENT, "x")) and not is_full(KeyError())
    try:
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as error:
            raise RuntimeError("papermill") from error
    except RuntimeError as found:
        assert is_full(found)


WRITER = """
import os, sys
from pathlib import Path
from socketlab.data import whole_files
def wait(_):
    print("writing", flush=True)
    sys.stdin.readline()
whole_files.os.fsync = wait
whole_files.replace_file(Path(sys.argv[1]), b"content")
"""


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old.1.partial").write_bytes(b"half")
    words = [sys.executable, "-c", WRITER, str(tmp_path / "new")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for killed in (False, True):
        with subprocess.Popen(words, **pipes) as writer:  # type: ignore[call-overload]
            assert writer.stdout.readline() == "writing\n"
            being_written = tmp_path / f"new.{writer.pid}.partial"
            assert being_written not in remove_abandoned(tmp_path.glob("*.partial"))
            assert being_written.exists() and not (tmp_path / "old.1.partial").exists()
            if killed:
                writer.kill()
            else:
                writer.stdin.write("\n")
        assert (writer.wait() == 0) is not killed
        assert (tmp_path / "new").read_bytes() == b"content"
    assert remove_abandoned(tmp_path.glob("*.partial")) == [being_written]
    assert names(tmp_path) == ["new"]
