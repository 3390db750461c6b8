"""What a run records of versions and of the machine that computes it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from socketlab.runs import versions
from socketlab.runs.parameters import validate
from socketlab.runs.record import Run
from socketlab.runs.session import Session


@pytest.fixture
def mode() -> Iterator[None]:
    """The mode belongs to the process: it ends with the test."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def test_python_and_system_are_among_the_versions() -> None:
    found = versions.versions()
    assert found["python"] == platform.python_version() and found["platform"]
    assert found["torch"] == versions.packages()["torch"]


def test_the_cpu_and_the_driver_are_read_where_linux_says_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").write_text("processor\t: 0\nmodel name\t: Fast One\nmodel\t: 17\n")
    words = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build"
    (tmp_path / "driver").write_text(words)
    monkeypatch.setattr(versions, "_CPU", tmp_path / "cpu")
    monkeypatch.setattr(versions, "_DRIVER", tmp_path / "driver")
    found = versions.machine("cuda")
    assert (found["cpu"], found["driver"]) == ("Fast One", "570.86.15")
    words = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19"
    (tmp_path / "driver").write_text(words)
    (tmp_path / "cpu").unlink()
    found = versions.machine("cuda")
    assert found["cpu"] != "Fast One" and found["driver"] == "535.129.03"


@pytest.fixture
def rounding() -> Iterator[None]:
    """What is rounded belongs to the process, too."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.mark.usefixtures("rounding")
def test_tf32_is_said_where_it_rounds() -> None:
    for convolutions, products, words in (
        (True, False, "convolutions"),
        (True, True, "convolutions, products"),
        (False, False, "no"),
    ):
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = products
        assert versions.machine("cuda")["tf32"] == words
    assert "tf32" not in versions.machine("cpu")


@pytest.mark.usefixtures("mode")
def test_a_session_records_its_machine_and_its_mode(tmp_path: Path) -> None:
    """The number of threads is that of the process; the mode goes both ways."""
    given = {"runs_dir": str(tmp_path), "run": "x", "device": "cpu", "dtype": "float32"}
    for deterministic, word in ((True, "yes"), (False, "no")):
        Session(validate("02_train_source", given | {"deterministic": deterministic}))
        device = Run(tmp_path / "x").read().device
        assert device["deterministic"] == word and device["threads"] == "1"
        assert ("deterministic" in device["reason"]) == deterministic
        assert device["instructions"] and device["cpu"]
        assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_what_a_library_carries_with_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = tmp_path / "carried-1.0.dist-info"
    carried.mkdir()
    (carried / "METADATA").write_text("Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    versions._installed.cache_clear()
    assert importlib.metadata.version("carried") == "1.0"
    assert "carried" not in versions.packages()
    assert versions.packages()["socketlab"] == versions.versions()["socketlab"]
