"""Finished stages that several runs share: made once, found again by what decided them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from socketlab.data.locks import alone
from socketlab.data.whole_files import replace_file
from socketlab.models.checkpoint import CheckpointError, check_weights
from socketlab.runs.entries import Part, Result
from socketlab.runs.record import Run
from socketlab.runs.stages import digest
from socketlab.training.precision import Precision

_NUMBERS: Final = "metrics.parquet"
_KEPT: Final = "stage.json"
# What a stage may have left in the folder of its run.
_FILES: Final = (
    "models/{stage}.*",
    "answers/{stage}.parquet",
    "previews/{stage}/**/*",
    "tensorboard/{stage}/*",
)


class Kept(BaseModel):
    """What `run.json` says of a stage that is shared."""

    model_config = ConfigDict(extra="forbid")

    part: Part
    results: list[Result]


class SharedStages:
    """A folder with one folder per finished stage.

    Its name is the stage's, its fingerprint, and a digest of device and number format: what a GPU
    has made is no CPU's. Files are linked, not copied, where the file system can.
    """

    def __init__(self, folder: Path, precision: Precision) -> None:
        self.folder = folder
        about = precision.compiler, precision.devices, precision.deterministic
        self._machine = digest(precision.device.type, str(precision.dtype), *about)

    @contextmanager
    def making(self, run: Run, stage: str, fingerprint: str) -> Iterator[bool]:
        """Hold the right to make a stage; gives whether it was made, and then `run` has it.

        Where it is not, whoever holds the right makes it, and it is kept if it was finished.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self._place(stage, fingerprint)
        with alone(place.with_name(f".{place.name}.lock"), print, f"making {stage}"):
            taken = self.take(run, stage, fingerprint)
            yield taken
            if not taken and run.is_done(stage, fingerprint):
                self._put(run, stage, fingerprint)

    def take(self, run: Run, stage: str, fingerprint: str) -> bool:
        """Give a stage to `run` as if it had been made there; False where nobody has made it."""
        place = self._place(stage, fingerprint)
        try:
            kept = Kept.model_validate_json((place / _KEPT).read_text())
            numbers = pd.read_parquet(place / _NUMBERS)
            for model in (place / "models").glob("*.safetensors"):
                check_weights(model)
        except FileNotFoundError:
            return False
        except (ValidationError, ValueError, OSError, CheckpointError) as problem:
            print(f"shared {stage} is damaged and is made again ({problem})")
            shutil.rmtree(place, ignore_errors=True)
            return False
        for file in _files(place, stage):
            _link(file, run.folder / file.relative_to(place))
        run.put_metrics(stage, numbers)
        run.put_results(stage, kept.results)
        run.put_stage(stage, kept.part)
        return True

    def _put(self, run: Run, stage: str, fingerprint: str) -> None:
        place = self._place(stage, fingerprint)
        partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        record = run.read()
        part = record.stages[stage]
        kept = Kept(
            part=part.model_copy(update={"taken_from": part.taken_from or run.folder.name}),
            results=[row for row in record.results if row.stage == stage],
        )
        try:
            for file in _files(run.folder, stage):
                _link(file, partial / file.relative_to(run.folder))
            run.metrics(stage).to_parquet(partial / _NUMBERS, index=False)
            replace_file(partial / _KEPT, kept.model_dump_json(indent=2).encode())
            os.replace(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _place(self, stage: str, fingerprint: str) -> Path:
        return self.folder / f"{stage}-{fingerprint}-{self._machine}"


def _files(folder: Path, stage: str) -> Sequence[Path]:
    found = [file for each in _FILES for file in folder.glob(each.format(stage=stage))]
    return [file for file in found if file.is_file() and not file.name.endswith(".partial")]


def _link(source: Path, target: Path) -> None:
    """The same file under another name: nobody writes into one, all are replaced whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, partial)
    os.replace(partial, target)
