"""Images that are read batch by batch are the images, whatever is read ahead."""

import pickle
import threading
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data.streaming import THREAD_NAME, Streamed

CPU = torch.device("cpu")


def stored(folder: Path, name: str = "a", *, channels: bool = False, seed: int = 0) -> Any:
    """A memory-mapped array of 20 images."""
    shape = (20, 6, 6, 3) if channels else (20, 6, 6)
    high, dtype = (256, np.uint8) if channels else (65536, np.uint16)
    values = np.random.default_rng(seed).integers(0, high, shape).astype(dtype)
    np.save(folder / f"{name}.npy", values)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def streamed(array: Any, rows: list[int]) -> Streamed:
    return Streamed([array], np.zeros(len(rows), int), np.array(rows), device=CPU, reason="a test")


def tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))


def same(found: Tensor, wanted: Tensor) -> bool:
    return found.dtype == wanted.dtype and torch.equal(found.int(), wanted.int())


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def no_thread_is_left() -> bool:
    for thread in reading():
        thread.join(timeout=10)
    return not reading()


@pytest.mark.parametrize("channels", [True, False])
def test_it_is_indexed_as_the_tensor_would_be(channels: bool, tmp_path: Path) -> None:
    array = stored(tmp_path, channels=channels)
    rows = [3, 0, 7, 7, 19]
    images, whole = streamed(array, rows), tensor(array)[rows]
    assert images.shape == whole.shape and len(images) == 5
    assert images.dtype == whole.dtype and images.nbytes == whole.nbytes
    assert images.device == CPU
    for index in (
        torch.tensor([4, 1, 1]),
        torch.tensor([-1, 0]),
        torch.tensor([], dtype=torch.long),
    ):
        assert same(images[index], tensor(np.array(array)[rows][index.numpy()]))
    assert same(images[2], tensor(np.array(array)[7]))
    assert same(images[-1], tensor(np.array(array)[19]))
    assert same(images[1:4:2], tensor(np.array(array)[[0, 7]]))
    assert same(images.loaded(CPU), whole)
    for wrong in (5, torch.tensor([5])):
        with pytest.raises(IndexError):
            images[wrong]


def test_loading_goes_on_after_the_first_part(tmp_path: Path) -> None:
    array = stored(tmp_path)
    rows = [row % 20 for row in range(600)]
    assert same(streamed(array, rows).loaded(CPU), tensor(np.array(array)[rows]))


def test_what_is_expected_is_read_once_and_ahead(tmp_path: Path) -> None:
    counted = Counting(stored(tmp_path))
    images = counted.images
    batches = [torch.tensor([k, k + 5]) for k in range(4)]
    images.expect(batches[:3])
    assert no_thread_is_left()
    assert counted.reads == 3
    for index in batches[:3]:
        assert same(images[index], tensor(np.array(counted.array)[index.numpy()]))
    assert counted.reads == 3
    images[batches[0]]  # it is not kept
    assert counted.reads == 4
    images.expect(batches[1:3])
    images.expect(batches[2:4])
    assert no_thread_is_left()
    assert counted.reads == 7


def test_a_wrong_guess_changes_nothing(tmp_path: Path) -> None:
    array = stored(tmp_path)
    images = streamed(array, list(range(20)))
    images.expect([torch.tensor([1, 2]), torch.tensor([3, 4])])
    for asked in ([9, 8], [3, 4], [2, 1], [1, 2], [1, 2]):
        assert same(images[torch.tensor(asked)], tensor(np.array(array)[asked]))
    assert no_thread_is_left()


class Counting:
    """Images of which the reads are counted."""

    def __init__(self, array: Any) -> None:
        self.array, self.reads = array, 0
        self.images = streamed(array, list(range(20)))
        read = self.images._gathered

        def counted(index: Tensor, **about: Any) -> Tensor:
            self.reads += 1
            return read(index, **about)

        self.images._gathered = counted  # type: ignore[method-assign]


def test_an_error_of_the_reading_thread_comes_out_with_its_traceback(tmp_path: Path) -> None:
    images = streamed(stored(tmp_path), list(range(20)))

    def broken_disk(index: Tensor, **about: Any) -> Tensor:
        raise OSError("the disk is gone")

    images._gathered = broken_disk  # type: ignore[method-assign]
    images.expect([torch.tensor([1])])
    assert no_thread_is_left()
    with pytest.raises(OSError, match="the disk is gone") as caught:
        images[torch.tensor([1])]
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "broken_disk" in names


def test_it_does_not_wait_for_what_is_read_ahead(tmp_path: Path) -> None:
    images = streamed(stored(tmp_path), list(range(20)))
    may_read, read = threading.Event(), images._gathered

    def slow(index: Tensor, **about: Any) -> Tensor:
        assert may_read.wait(timeout=10)
        return read(index, **about)

    images._gathered = slow  # type: ignore[method-assign]
    images.expect([torch.tensor([1]), torch.tensor([2])])  # comes back though nothing can be read
    assert len(reading()) == 2
    may_read.set()
    images[torch.tensor([2])]
    assert no_thread_is_left()


def test_several_arrays_one_after_the_other(tmp_path: Path) -> None:
    first, second = stored(tmp_path), stored(tmp_path, "b", seed=1)
    images = Streamed.one_after_the_other([streamed(first, [4, 2]), streamed(second, [0, 9, 1])])
    whole = np.concatenate([np.array(first)[[4, 2]], np.array(second)[[0, 9, 1]]])
    assert images.shape == whole.shape
    assert same(images.loaded(CPU), tensor(whole))
    mixed = torch.tensor([4, 0, 2, 1, 1])
    assert same(images[mixed], tensor(whole[mixed.numpy()]))
    part = images.chosen(mixed).chosen(torch.tensor([1, 2]))
    assert same(part.loaded(CPU), tensor(whole[[0, 2]]))


def test_another_process_gets_the_file_and_not_its_content(tmp_path: Path) -> None:
    array = stored(tmp_path)
    images = streamed(array, [5, 3])
    images.expect([torch.tensor([0])])
    sent = pickle.dumps(images)
    assert len(sent) < array.nbytes
    assert same(pickle.loads(sent).loaded(CPU), images.loaded(CPU))
    in_memory = pickle.loads(pickle.dumps(streamed(np.array(array), [5, 3])))
    assert same(in_memory.loaded(CPU), images.loaded(CPU))
    assert no_thread_is_left()


def test_the_computing_stream_waits_for_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a GPU that is not there: what is asked of torch is looked at."""
    images, happened = streamed(stored(tmp_path), list(range(20))), list[str]()
    computing, read = Stream("computing", happened), images._gathered

    def pinned(index: Tensor, *, pin_memory: bool) -> Tensor:
        happened.append(f"gathered, pinned: {pin_memory}")
        return read(index)

    images._gathered = pinned  # type: ignore[method-assign, assignment]
    images._stream = Stream("copying", happened)  # type: ignore[assignment]
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    monkeypatch.setattr(
        Tensor, "record_stream", lambda rows, stream: happened.append(f"for {stream.name}")
    )
    images.expect([torch.tensor([3])])
    assert no_thread_is_left()
    assert happened == ["gathered, pinned: True", "event of copying"]
    images[torch.tensor([3])]
    assert happened[2:] == ["computing waits for copying", "for computing"]


class Stream:
    """Says what is asked of it."""

    def __init__(self, name: str, happened: list[str]) -> None:
        self.name, self._happened = name, happened

    def record_event(self) -> str:
        self._happened.append(f"event of {self.name}")
        return self.name

    def wait_event(self, event: str) -> None:
        self._happened.append(f"{self.name} waits for {event}")
