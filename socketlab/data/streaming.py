"""Images that do not fit where they are needed: a batch's rows are read when it asks for them.

What will be asked for next is read ahead, each batch in a thread of its own that ends with it, so
that no thread outlives a training by more than a read. A batch is known by its own indices: a wrong
guess of what comes next costs time and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

THREAD_NAME = "read ahead"
LOADED_AT_ONCE = 256

Array = npt.NDArray[Any]
Arrived = tuple[Tensor, torch.cuda.Event | None]


class Streamed:
    """Integers of N images, [N, H, W] or [N, H, W, 3], that stay in files or in another memory.

    Indexed as a tensor is, by a number, a slice or a tensor of indices, it reads those images alone
    and gives them on `device`. On CUDA they go through pinned memory and a stream of their own, for
    which the computing stream waits and the program does not.

    Args:
        arrays: what holds them, memory-mapped or not.
        array: which of the arrays image i is in, int64 [N].
        row: and where in it, int64 [N].
        device: where batches go.
        reason: why the images are not all there, in words.
    """

    def __init__(
        self,
        arrays: Sequence[Array],
        array: Array,
        row: Array,
        *,
        device: torch.device,
        reason: str,
    ) -> None:
        # a memmap's own indexing is slow, and the plain array of it is as lazy
        self._arrays = [np.asarray(each) for each in arrays]
        self._array, self._row = array, row
        self._expected: dict[bytes, Future[Arrived]] = {}
        self.device = device
        self.reason = reason
        self._stream = _new_stream(device)
        empty = torch.from_numpy(np.empty((0, *self._arrays[0].shape[1:]), self._arrays[0].dtype))
        self.dtype: torch.dtype = empty.dtype
        self.shape = torch.Size((len(row), *empty.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all images would take."""
        return self.shape.numel() * self.dtype.itemsize

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        if isinstance(index, int):
            return self[torch.tensor([range(len(self))[index]])][0]
        if isinstance(index, slice):
            return self[torch.arange(len(self))[index]]
        index = index.cpu()
        ahead = self._expected.pop(_key(index), None)
        rows, copied = self._read(index) if ahead is None else ahead.result()
        if copied is not None:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_event(copied)
            rows.record_stream(computing)  # its memory belongs to the stream that copied
        return rows

    def expect(self, batches: Iterable[Tensor]) -> None:
        """Begin to read the `batches` of indices that come next; forget any others."""
        known, self._expected = self._expected, {}
        for index in batches:
            key = _key(index)
            self._expected[key] = known[key] if key in known else self._begin(index)

    def chosen(self, index: Tensor) -> Streamed:
        """The images at `index` [n], in that order; none of them is read."""
        places = index.cpu().numpy()
        return self._about(self._array[places], self._row[places], self.device, self.reason)

    def streamed_to(self, device: torch.device, reason: str) -> Streamed:
        """The same images, read for another device."""
        return self._about(self._array, self._row, device, reason)

    def loaded(self, device: torch.device) -> Tensor:
        """All images at once, on `device`."""
        made = torch.empty(self.shape, dtype=self.dtype, device=device)
        for index in torch.split(torch.arange(len(self)), LOADED_AT_ONCE):
            made[int(index[0]) : int(index[-1]) + 1].copy_(self._gathered(index))
        return made

    def __getstate__(self) -> dict[str, Any]:
        # for another process, which opens the files anew and reads for itself
        files = [_file_of(array) for array in self._arrays]
        return {**vars(self), "_arrays": files, "_expected": {}, "_stream": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._arrays = [
            np.asarray(np.memmap(**each, mode="r")) if isinstance(each, dict) else each
            for each in self._arrays
        ]
        self._stream = _new_stream(self.device)

    @classmethod
    def one_after_the_other(cls, parts: Sequence[Streamed]) -> Streamed:
        """The images of all parts, for the device of the first."""
        arrays: list[Array] = []
        array, first = [], parts[0]
        for part in parts:
            array.append(part._array + len(arrays))
            arrays += part._arrays
        row = np.concatenate([part._row for part in parts])
        return cls(arrays, np.concatenate(array), row, device=first.device, reason=first.reason)

    def _about(self, array: Array, row: Array, device: torch.device, reason: str) -> Streamed:
        return Streamed(self._arrays, array, row, device=device, reason=reason)

    def _begin(self, index: Tensor) -> Future[Arrived]:
        found: Future[Arrived] = Future()

        def read() -> None:
            try:
                found.set_result(self._read(index))
            except BaseException as error:  # raised, with its traceback, where it is needed
                found.set_exception(error)

        Thread(target=read, name=THREAD_NAME).start()
        return found

    def _read(self, index: Tensor) -> Arrived:
        if self._stream is None:
            return self._gathered(index).to(self.device), None
        pinned = self._gathered(index, pin_memory=True)
        with torch.cuda.stream(self._stream):
            rows = pinned.to(self.device, non_blocking=True)
            return rows, self._stream.record_event()

    def _gathered(self, index: Tensor, *, pin_memory: bool = False) -> Tensor:
        """The images at `index` [n] in this machine's memory."""
        shape = (len(index), *self.shape[1:])
        made = torch.empty(shape, dtype=self.dtype, pin_memory=pin_memory)
        places = index.numpy()
        array, row, out = self._array[places], self._row[places], made.numpy()
        if len(self._arrays) == 1:
            # numpy: it leaves the cores alone that the network is using; "clip": it copies once
            np.take(self._arrays[0], row, axis=0, out=out, mode="clip")
        else:
            for number, held in enumerate(self._arrays):
                inside = array == number
                out[inside] = held[row[inside]]
        return made


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _file_of(array: Array) -> dict[str, Any] | Array:
    """Where a memory-mapped array lies, if it is one as it was opened."""
    file = array.base
    if not isinstance(file, np.memmap) or array.nbytes != file.nbytes or file.filename is None:
        return array
    about = {"filename": file.filename, "offset": file.offset, "dtype": file.dtype}
    return about | {"shape": file.shape}


def _key(index: Tensor) -> bytes:
    return index.numpy().tobytes()
