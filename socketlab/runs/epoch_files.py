"""Arrays that a stage keeps while it trains: a file of what stays, and one for each epoch."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from socketlab.data.whole_files import replace_file
from socketlab.training.steps import Step

Arrays = dict[str, npt.NDArray[Any]]


class EpochFiles:
    """Compressed arrays in a folder, each file written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def epochs(self) -> list[int]:
        """The epochs that were kept so far, in order."""
        return sorted(int(file.stem) for file in self._folder.glob("[0-9]*.npz"))

    @property
    def has_fixed(self) -> bool:
        """Whether what stays has been kept."""
        return self._file("fixed").is_file()

    def keep_fixed(self, values: Mapping[str, Any]) -> None:
        """Keep what does not change from epoch to epoch."""
        self._write("fixed", values)

    def keep(self, step: Step, values: Mapping[str, Any]) -> None:
        """Keep what belongs to a step's epoch; a broken-off epoch counts as the next one."""
        self._write(f"{step.epoch + (step.kind == 'stopped'):04d}", values)

    def forget_after(self, epoch: int) -> None:
        """Remove later epochs: an earlier training's, or a broken-off one that begins again."""
        for later in self.epochs:
            if later > epoch:
                self._file(f"{later:04d}").unlink()

    def fixed(self) -> Arrays:
        """What does not change."""
        return self._read("fixed")

    def at(self, epoch: int) -> Arrays:
        """What was kept of an epoch."""
        return self._read(f"{epoch:04d}")

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npz"

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, **values)
        replace_file(self._file(name), content.getvalue())

    def _read(self, name: str) -> Arrays:
        with np.load(self._file(name), allow_pickle=False) as found:
            return dict(found)
