"""The state of a training that was interrupted: one file, replaced whole after every epoch."""

import hashlib
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

DIGEST_BYTES = hashlib.sha256().digest_size


class StateError(ValueError):
    """A state file that cannot be read or belongs to another training."""


@dataclass(frozen=True)
class StateFile:
    """Where a training keeps its state.

    Attributes:
        path: the file; the state before it is kept beside it as `<name>.previous`.
        fingerprint: hash of all that decides the result; another one's state is never loaded.
    """

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """Write under a temporary name, keep the state before as `.previous`, then rename."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".partial")
        content = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, **state}, content)
        with temporary.open("wb") as file:
            # torch.load returns other numbers, silently, where a byte of a tensor has changed.
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            os.replace(self.path, self._previous)
        os.replace(temporary, self.path)

    def load(self) -> dict[str, Any] | None:
        """The last whole state, or None where there is none.

        A damaged file is passed over for the one before it.

        Raises:
            StateError: if a state is there but belongs to another configuration.
        """
        for path in (self.path, self._previous):
            if not path.exists():
                continue
            whole = path.read_bytes()
            digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
            if hashlib.sha256(content).digest() != digest:
                continue
            try:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content), map_location="cpu", weights_only=True
                )
            except (RuntimeError, EOFError, pickle.UnpicklingError):
                continue
            if state.get("fingerprint") != self.fingerprint:
                raise StateError(
                    f"{str(path)!r} belongs to a training with other parameters. Use another run "
                    "name, or remove the file to begin again."
                )
            return state
        return None

    def remove(self) -> None:
        """Forget the state: the training is done and its model is saved."""
        self.path.unlink(missing_ok=True)
        self._previous.unlink(missing_ok=True)

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")
