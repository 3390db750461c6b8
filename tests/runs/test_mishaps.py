"""A full disk and a full memory: in words that say what to do, and room for the last of them."""

import errno
from pathlib import Path

import pytest

from socketlab.runs import mishaps
from socketlab.runs.mishaps import (
    RESERVE,
    RESERVED,
    explained,
    hold_reserve,
    memory_kills,
    release_reserve,
    remove_reserve,
)
from socketlab.runs.record import Run


@pytest.mark.parametrize(
    "text",
    [
        "OSError: [Errno 28] No space left on device: 'state/a.pt'",
        "OSError: [Errno 122] Disk quota exceeded",
        "SafetensorError: I/O error: No space left on device (os error 28)",
    ],
)
def test_a_full_disk(text: str) -> None:
    assert explained(text) == f"no space left on device: {text}; free some, then run again"
    assert explained(explained(text)) == explained(text)


@pytest.mark.parametrize(
    "text",
    [
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB. GPU 0 has ...",
        "MemoryError: ",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 4 bytes.",
    ],
)
def test_a_full_memory(text: str) -> None:
    found = explained(text + "\nand a traceback", "2 GiB expected")
    assert found.startswith(f"out of memory (2 GiB expected): {text.strip().removesuffix('.')}")
    assert found.endswith("Set batch_size: auto or a smaller one, then run again")
    assert "traceback" not in found and explained(found) == found
    assert explained(text).startswith("out of memory: ")


def test_other_reasons_stay_as_they_are() -> None:
    for text in ("ValueError: no images", "KeyError: 'memory'", "interrupted"):
        assert explained(text) == text


def test_the_reserve_is_given_back_by_halves(tmp_path: Path) -> None:
    hold_reserve(tmp_path)
    inode = (tmp_path / RESERVE).stat().st_ino
    hold_reserve(tmp_path)
    assert (tmp_path / RESERVE).stat().st_ino == inode, "written once"
    sizes = [RESERVED]
    while release_reserve(tmp_path):
        sizes.append((tmp_path / RESERVE).stat().st_size if (tmp_path / RESERVE).exists() else 0)
    assert sizes == [RESERVED, RESERVED // 2, RESERVED // 4, RESERVED // 8, RESERVED // 16, 0]
    hold_reserve(tmp_path)
    assert (tmp_path / RESERVE).stat().st_size == RESERVED
    remove_reserve(tmp_path)
    remove_reserve(tmp_path)
    assert not (tmp_path / RESERVE).exists() and not release_reserve(tmp_path)


def test_no_reserve_fits_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mishaps, "replace_file", full)
    hold_reserve(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_record_takes_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "mine")
    hold_reserve(run.folder)
    from socketlab.runs import record as module

    as_it_is = module.replace_file

    def nearly_full(path: Path, *content: bytes) -> None:
        if (run.folder / RESERVE).stat().st_size > RESERVED // 4:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        as_it_is(path, *content)

    monkeypatch.setattr(module, "replace_file", nearly_full)
    run.change(lambda record: setattr(record, "reason", "the last word"))
    assert run.read().reason == "the last word"
    assert (run.folder / RESERVE).stat().st_size == RESERVED // 4
    (run.folder / RESERVE).write_bytes(bytes(RESERVED))
    monkeypatch.setattr(module, "release_reserve", lambda _folder: False)
    with pytest.raises(OSError, match="quota"):
        run.change(lambda record: None)


def test_how_many_were_killed_for_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mishaps, "_EVENTS", tmp_path / "events")
    assert memory_kills() == 0
    (tmp_path / "events").write_text("oom 7\noom_kill 5\n")
    assert memory_kills() == 5
