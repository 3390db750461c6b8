import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from socketlab.training.loop import run_task
from socketlab.training.precision import CUBLAS_VARIABLE, Precision, choose_precision


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CPU alone, without bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    _native_bfloat16(monkeypatch, False)


def _native_bfloat16(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: there)


def test_the_cpu_where_there_is_nothing_else() -> None:
    found = choose_precision()
    assert (found.device.type, found.dtype) == ("cpu", torch.float32)
    assert "no CUDA device is there" in found.reason
    assert "does not multiply bfloat16 natively" in found.reason
    assert found.name == "cpu"
    assert str(found) == f"cpu, float32: {found.reason}"


def test_bfloat16_where_the_cpu_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _native_bfloat16(monkeypatch, True)
    found = choose_precision("cpu")
    assert found.dtype == torch.bfloat16
    assert "cpu was asked for" in found.reason
    assert "it multiplies bfloat16 natively" in found.reason
    with found.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_number_format_that_was_asked_for(dtype: str) -> None:
    found = choose_precision("cpu", dtype)  # type: ignore[arg-type]
    assert found.dtype == getattr(torch, dtype)
    assert f"{dtype} was asked for" in found.reason
    with found.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == found.dtype


@pytest.mark.parametrize("native", [True, False])
def test_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    found = choose_precision()
    assert found.device.type == "cuda"
    assert found.dtype == (torch.bfloat16 if native else torch.float32)
    assert "a CUDA device is there" in found.reason
    assert str(found).startswith("cuda (NVIDIA H200), ")
    assert choose_precision("cpu").device.type == "cpu"


def test_mps_is_not_chosen_by_itself_and_comes_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_precision().device.type == "cpu"
    found = choose_precision("mps")
    assert (found.device.type, found.dtype) == ("mps", torch.float32)
    assert "BatchNorm statistics differ" in found.reason


def test_a_device_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"'cuda' is not on this machine. It has: cpu\."):
        choose_precision("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ValueError, match="It has: cpu, mps"):
        choose_precision("cuda")


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"Unknown device 'tpu'. Known: auto, cpu, cuda, mps"):
        choose_precision("tpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown dtype 'float16'. Known: auto, float32, bfl"):
        choose_precision("cpu", "float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown compile 'on'. Known: auto, off, default, gra"):
        choose_precision("cpu", "float32", "on")  # type: ignore[arg-type]


def _on_cuda(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """A machine with CUDA and what a compiler needs, but for what is `missing`."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    there = {"triton", "cc", "g++"} - {*missing}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)


def test_nothing_is_compiled_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    found = choose_precision()
    assert found.compiler == "off" and "compile" not in found.reason


def test_on_cuda_auto_compiles_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    found = choose_precision("auto", "auto", "auto")
    assert found.compiler == "default"
    assert found.reason.endswith("; compiled, for triton and a C compiler are there")
    _on_cuda(monkeypatch, "triton")
    found = choose_precision("auto", "auto", "auto")
    assert found.compiler == "off"
    assert found.reason.endswith("; uncompiled, for triton is not installed")
    _on_cuda(monkeypatch, "cc")
    for asked in ("auto", "default", "graphs"):
        found = choose_precision("cuda", "auto", asked)  # type: ignore[arg-type]
        assert found.compiler == "off"
        assert found.reason.endswith("; uncompiled, for no compiler is there (gcc, cc, clang)")
    monkeypatch.setenv("CC", "g++")
    assert choose_precision("auto", "auto", "auto").compiler == "default"


def test_on_a_cpu_it_is_compiled_only_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _on_cuda(monkeypatch, "triton")
    found = choose_precision("cpu", "auto", "auto")
    assert found.compiler == "off"
    assert found.reason.endswith("; uncompiled, for on a CPU it gains nothing")
    found = choose_precision("cpu", "auto", "default")
    assert found.compiler == "default"
    assert found.reason.endswith("; compile: default was asked for")
    _on_cuda(monkeypatch, "g++")
    found = choose_precision("cpu", "auto", "default")
    assert found.compiler == "off"
    assert found.reason.endswith("; uncompiled, for no compiler is there (g++, c++)")


def test_graphs_are_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    assert choose_precision("cuda", "auto", "graphs").compiler == "graphs"
    found = choose_precision("cpu", "auto", "graphs")
    assert found.compiler == "default"
    assert found.reason.endswith("; compiled without graphs, for they need CUDA")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = choose_precision("mps", "auto", "default")
    assert found.compiler == "off" and found.reason.endswith(
        "uncompiled, for on mps it is untested"
    )


# --- deterministic ------------------------------------------------------------------------------


@pytest.fixture
def mode() -> Iterator[None]:
    """The mode belongs to the process: it is afterwards as it was."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]


def _in_force() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_mode_is_set_both_ways(kind: str) -> None:
    strict = Precision(torch.device(kind), torch.float32, "a test", deterministic=True)
    free = Precision(torch.device(kind), torch.float32, "a test")
    for _ in range(2):
        strict.enforce()
        assert _in_force() == (True, True, False)
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
        free.enforce()
        assert _in_force() == (False, False, kind == "cuda")


@pytest.mark.usefixtures("mode")
def test_a_training_is_held_to_its_own_mode(make_task: Any) -> None:
    for deterministic in (True, False):
        task = make_task(1, 1)
        task.precision = Precision(
            torch.device("cpu"), torch.float32, "a test", deterministic=deterministic
        )
        for _ in run_task(task):
            assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_deterministic_is_said_and_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    monkeypatch.delenv(CUBLAS_VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for asked in ("auto", "default", "graphs"):
        found = choose_precision("auto", "auto", asked, deterministic=True)
        assert found.deterministic and found.compiler == "off"
        assert found.reason.endswith("; deterministic, and for that uncompiled")
    assert os.environ[CUBLAS_VARIABLE] == ":4096:8"
    assert not choose_precision().deterministic
    found = choose_precision("cpu", deterministic=True)
    assert found.deterministic and "deterministic" in str(found)


def test_cublas_gets_its_workspace_before_cuda_starts_or_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _on_cuda(monkeypatch)
    started = False
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")
    choose_precision(deterministic=True)
    assert os.environ[CUBLAS_VARIABLE] == ":16:8"
    monkeypatch.setenv(CUBLAS_VARIABLE, ":0:0")
    choose_precision("cpu", deterministic=True)
    assert os.environ[CUBLAS_VARIABLE] == ":0:0"
    started = True
    with pytest.raises(ValueError, match=r"begun .* = ':0:0'.*Restart the kernel"):
        choose_precision(deterministic=True)
    choose_precision()
    started = False
    choose_precision(deterministic=True)
    assert os.environ[CUBLAS_VARIABLE] == ":4096:8"
