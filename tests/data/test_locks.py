"""One at a time: between processes, and within one where that is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from socketlab.data.locks import alone, is_held

HOLDER = """
import functools, sys
from pathlib import Path
from socketlab.data.locks import alone
with alone(Path(sys.argv[1]), functools.partial(print, flush=True), "at it"):
    print("holding", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def holder(lock: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", HOLDER, str(lock)]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "holding\n"
    return process


def test_whoever_comes_second_waits_and_says_so(lock: Path) -> None:
    assert not is_held(lock)
    with holder(lock) as first:
        assert is_held(lock)
        second = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "Another process is at it; waiting for it\n"
        first.communicate("\n", timeout=60)
        assert second.communicate("\n", timeout=60)[0] == "holding\n"
    assert not is_held(lock)


def test_a_killed_process_holds_nothing(lock: Path) -> None:
    with holder(lock) as first:
        first.kill()
        first.wait(60)
        said: list[str] = []
        with alone(lock, said.append, "at it") as waited:
            assert not waited and said == [] and is_held(lock)


def test_a_process_may_hold_it_again_where_that_is_asked_for(lock: Path) -> None:
    """A generator that a notebook's cell has broken off holds it until Python lets go of it."""
    left = alone(lock, print, "at it", again=True)
    left.__enter__()
    with alone(lock, print, "at it", again=True) as waited:
        assert not waited
    assert is_held(lock)
    left.gen.close()  # type: ignore[attr-defined]
    assert not is_held(lock)
