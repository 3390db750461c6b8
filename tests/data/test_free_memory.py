"""What is free, as Linux and a container's limit say."""

from pathlib import Path

import pytest
import torch

from socketlab.data import free_memory as module
from socketlab.data.free_memory import free_memory, in_words

CPU = torch.device("cpu")


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the system's tables: 3000 KiB are available, nothing is limited."""
    for constant in ("MEMINFO", "GROUP_LIMIT", "GROUP_USED", "GROUP_DETAILS"):
        monkeypatch.setattr(module, constant, tmp_path / constant)
    (tmp_path / "MEMINFO").write_text("MemFree:  100 kB\nMemAvailable:    3000 kB\n")
    return tmp_path


def limited(tables: Path, limit: str) -> None:
    (tables / "GROUP_LIMIT").write_text(limit + "\n")
    (tables / "GROUP_USED").write_text("900000\n")
    (tables / "GROUP_DETAILS").write_text("anon 5\ninactive_file 300000\n")


def test_what_linux_calls_available(tables: Path) -> None:
    assert free_memory(CPU) == 3000 * 1024
    limited(tables, "max")
    assert free_memory(CPU) == 3000 * 1024


def test_a_container_has_what_is_left_of_its_limit(tables: Path) -> None:
    limited(tables, "1000000")
    assert free_memory(CPU) == 400000
    limited(tables, "100000")
    assert free_memory(CPU) == 0
    limited(tables, "100000000")
    assert free_memory(CPU) == 3000 * 1024


def test_nobody_says(tables: Path) -> None:
    assert free_memory(torch.device("meta")) is None
    (tables / "MEMINFO").unlink()
    assert free_memory(CPU) is None


def test_of_a_gpu_what_torch_keeps_is_free_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_memory(torch.device("cuda")) == 1200


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 MiB"), (220 * 2**20, "220 MiB"), (3 * 2**29, "1.5 GiB"), (90 * 2**30, "90.0 GiB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
