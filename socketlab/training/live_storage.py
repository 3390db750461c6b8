"""What tensors take while they live, counted operation by operation on any device."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveStorage(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, the bytes of all storages that operations have made and nobody has let go.

    Views share a storage, which counts once. Not counted: tensors made before, those that no
    operation of torch made (`from_numpy`), and what an operation needs within itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._living: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._now = 0
        self._history: list[int] = []

    def taken(self) -> tuple[int, ...]:
        """Bytes in use after each operation since the last call; one value at least."""
        history, self._history = self._history or [self._now], []
        return tuple(history)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it made."""
        given = {s._cdata for s in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if storage._cdata not in given:  # else a view of it, or the same changed in place
                self._add(storage)
        self._history.append(self._now)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._living:
            return

        def forget(_: object) -> None:
            self._now -= size
            del self._living[key]

        self._living[key] = weakref.ref(storage, forget)
        self._now += size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for value in tree_iter(values):
        if isinstance(value, Tensor):
            yield value.untyped_storage()
