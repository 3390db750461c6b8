"""The state of a training that was interrupted: a file, replaced whole after every epoch.

Of one that was asked to end within an epoch a second file keeps how far that epoch had come.
"""

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from socketlab.data.whole_files import replace_file

DIGEST_BYTES = hashlib.sha256().digest_size


class StateError(ValueError):
    """A state file that cannot be read or belongs to another training."""


@dataclass(frozen=True)
class StateFile:
    """Where a training keeps its state.

    Attributes:
        path: the file; the state before it is kept beside it as `<name>.previous`, and how far
            an epoch has come as `<name>.within`.
        fingerprint: hash of all that decides the result; another one's state is never loaded.
    """

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """After an epoch: replace the file whole, and keep the state before as `.previous`."""
        self._write(self.path, state, keep=self._previous)
        self._within.unlink(missing_ok=True)

    def save_within(self, state: dict[str, Any]) -> None:
        """Within an epoch: beside the state of the epoch's beginning, which stays as it is."""
        self._write(self._within, state)

    def _write(self, path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, **state}, content)
        # torch.load returns other numbers, silently, where a byte of a tensor has changed.
        whole = content.getbuffer()
        replace_file(path, hashlib.sha256(whole).digest(), whole, keep=keep)

    def load(self) -> dict[str, Any] | None:
        """The last whole state, or None where there is none.

        A damaged file is passed over for the one before it.

        Raises:
            StateError: if a state is there but belongs to another configuration.
        """
        for path in (self.path, self._previous):
            state = self._read(path)
            if state is not None:
                return state
        return None

    def load_within(self, epoch: int) -> dict[str, Any] | None:
        """How far an epoch had come, with `epoch` whole ones before it, or None if it had not.

        A damaged file, and one of another epoch, are passed over.

        Raises:
            StateError: if it belongs to another configuration.
        """
        state = self._read(self._within)
        return state if state is not None and state.get("epoch") == epoch else None

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        whole = memoryview(path.read_bytes())
        digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        try:
            state: dict[str, Any] = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            return None
        if state.get("fingerprint") != self.fingerprint:
            raise StateError(
                f"{str(path)!r} belongs to a training with other parameters. Use another run "
                "name, or remove the file to begin again."
            )
        return state

    def remove(self) -> None:
        """Forget the state: the training is done and its model is saved."""
        self.path.unlink(missing_ok=True)
        self._previous.unlink(missing_ok=True)
        self._within.unlink(missing_ok=True)

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    @property
    def _within(self) -> Path:
        return self.path.with_name(self.path.name + ".within")
