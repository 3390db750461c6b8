"""The folder of a run: `run.json` is the truth about it, every file is replaced whole."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure
from pydantic import ValidationError

from socketlab.data.locks import alone, is_held
from socketlab.data.schema import Say
from socketlab.data.whole_files import is_full, remove_abandoned, replace_file
from socketlab.figures.style import to_png
from socketlab.runs.entries import Changed, Listed, Part, Record, Result, Try
from socketlab.runs.mishaps import explained, release_reserve
from socketlab.runs.versions import packages, versions
from socketlab.training.controls import Preempted
from socketlab.training.term_record import NonFiniteLoss

__all__ = [
    "METRIC_COLUMNS",
    "PART_VARIABLE",
    "Changed",
    "Listed",
    "Part",
    "Picture",
    "Record",
    "Result",
    "Run",
    "RunError",
    "Try",
]
PART_VARIABLE = "SOCKETLAB_PART"
"""Environment variable: what the notebook that is being run is called in `run.json`."""
METRIC_COLUMNS = ["stage", "epoch", "step", "name", "value"]
_at_work: dict[tuple[Path, str], object] = {}


class RunError(ValueError):
    """A run folder that is missing or cannot be read."""


@dataclass(frozen=True)
class Picture:
    """A PNG that a notebook shows when it is the last value of a cell."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png


class Run:
    """One folder under `runs/` with everything that an experiment made.

    Several processes may write to it (the command line and a notebook's kernel): each change
    reads, changes and replaces `run.json` under a lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        with self._lock:
            if not self._file.exists():
                now = datetime.now(UTC).isoformat(timespec="seconds")
                about = {"versions": versions(), "packages": packages()}
                self._write(Record(name=folder.name, created=now, **about))

    @property
    def _file(self) -> Path:
        return self.folder / "run.json"

    def read(self) -> Record:
        """`run.json` as it is now.

        Raises:
            RunError: if it cannot be read, naming the file.
        """
        try:
            return Record.model_validate_json(self._file.read_text())
        except (ValidationError, UnicodeDecodeError, FileNotFoundError) as error:
            raise RunError(
                f"{self._file} is no record of a run ({error}). Put a copy of it back, or use "
                "another run name: nothing in this folder is overwritten."
            ) from error

    def change(self, change: Callable[[Record], None]) -> Record:
        """Apply `change` to the record under the lock and replace `run.json`."""
        with self._lock:
            record = self.read()
            change(record)
            self._write(record)
        return record

    def _write(self, record: Record) -> None:
        content = record.model_dump_json(indent=2).encode()
        while True:
            try:
                return replace_file(self._file, content)
            except OSError as error:  # on a full disk the last word of a run has some space kept
                if not is_full(error) or not release_reserve(self.folder):
                    raise

    @contextmanager
    def stage(self, name: str, fingerprint: str = "") -> Iterator[Part]:
        """Time a piece of work; its status says how it ended, also when it was interrupted.

        Yields the part, so that the work can say that it was stopped before its end. Work that was
        broken off, and of which Python lets go only after it was begun again, says nothing more.
        """
        began, mine = time.monotonic(), object()
        _at_work[self.folder, name] = mine
        before = self.read().stages.get(name)
        earlier = before.seconds if before and before.fingerprint == fingerprint else 0.0
        part = Part(seconds=earlier, fingerprint=fingerprint)
        self.put_stage(name, part)
        try:
            yield part
            if part.status == "running":
                part.status = "done"
        except (KeyboardInterrupt, GeneratorExit):
            part.status, part.reason = "stopped", "interrupted"
            raise
        except (NonFiniteLoss, Preempted) as error:
            part.status, part.reason = "stopped", str(error)
            raise
        except Exception as error:
            part.status = "failed"
            part.reason = explained(f"{type(error).__name__}: {error}", part.memory)
            raise
        finally:
            part.seconds = earlier + time.monotonic() - began
            if _at_work[self.folder, name] is mine:
                self.put_stage(name, part)

    @contextmanager
    def working(self, stage: str, say: Say) -> Iterator[None]:
        """Hold the right to train a stage; while another process trains it, wait and `say` so.

        A generator that this process has broken off may hold it still: then it is ours already.
        """
        (self.folder / "state").mkdir(exist_ok=True)
        with alone(self._stage_lock(stage), say, f"training {stage}", again=True):
            yield

    def _stage_lock(self, stage: str) -> Path:
        return self.folder / "state" / f".{stage}.lock"

    def remove_abandoned(self) -> None:
        """Remove what killed processes were writing; nothing while a stage is being trained.

        For whoever holds the right to run the notebooks of this run.
        """
        if any(is_held(lock) for lock in (self.folder / "state").glob(".*.lock")):
            return
        remove_abandoned(self.folder.rglob("*.partial"))
        remove_abandoned((self.folder / "notebooks").glob(".*.partial.ipynb"))

    def put_stage(self, name: str, part: Part) -> None:
        """What is said of a stage, in the place of what was said before."""

        def change(record: Record) -> None:
            record.stages[name] = part
            if part.status in ("failed", "stopped"):
                record.status, record.reason = part.status, part.reason

        self.change(change)

    def is_done(self, stage: str, fingerprint: str = "") -> bool:
        """Whether a stage ended well, with this configuration."""
        part = self.read().stages.get(stage)
        return part is not None and part.status == "done" and part.fingerprint == fingerprint

    def put_results(self, stage: str, results: Sequence[Result]) -> None:
        """The rows of a stage, in the place of those that it had."""

        def change(record: Record) -> None:
            record.results = [row for row in record.results if row.stage != stage]
            record.results.extend(results)

        self.change(change)

    def add_metrics(self, stage: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of an epoch to `metrics.parquet`, or replace them."""
        rows = pd.DataFrame(
            [(stage, epoch, step, name, float(value)) for name, value in values.items()],
            columns=METRIC_COLUMNS,
        )
        with self._lock:
            before = self.metrics()
            kept = before[(before["stage"] != stage) | (before["epoch"] < epoch)]
            whole = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows
            replace_file(self.folder / "metrics.parquet", whole.to_parquet(index=False))

    def put_metrics(self, stage: str, rows: pd.DataFrame) -> None:
        """The numbers of all epochs of a stage, in the place of those that it had."""
        with self._lock:
            before = self.metrics()
            others = before[before["stage"] != stage]
            whole = pd.concat([others, rows], ignore_index=True) if len(others) else rows
            replace_file(self.folder / "metrics.parquet", whole.to_parquet(index=False))

    def metrics(self, stage: str | None = None) -> pd.DataFrame:
        """The numbers of every epoch in long form: stage, epoch, step, name, value.

        Raises:
            RunError: if they cannot be read, naming the file.
        """
        file = self.folder / "metrics.parquet"
        if not file.exists():
            return pd.DataFrame({name: [] for name in METRIC_COLUMNS})
        try:
            found = pd.read_parquet(file)
        except (ValueError, OSError) as error:  # pyarrow's are ValueErrors, or say less
            raise RunError(
                f"{file} does not hold the numbers of a run ({error}). Put a copy of it back, or "
                "use another run name: nothing in this folder is overwritten."
            ) from error
        return found if stage is None else found[found["stage"] == stage]

    def figure(
        self, figure: Figure, name: str, *, title: str, caption: str, notebook: str
    ) -> Picture:
        """Keep a figure as `figures/<name>.png`, list it for the report, and show it."""
        return self.picture(to_png(figure), name, title=title, caption=caption, notebook=notebook)

    def picture(self, png: bytes, name: str, *, title: str, caption: str, notebook: str) -> Picture:
        """The same of a picture that is a PNG already, which may be animated."""
        file = f"figures/{name}.png"
        replace_file(self.folder / file, png)
        listed = Listed(file=file, title=title, caption=caption, notebook=notebook)

        def change(record: Record) -> None:
            files = [row.file for row in record.figures]
            if file in files:
                record.figures[files.index(file)] = listed
            else:
                record.figures.append(listed)

        self.change(change)
        return Picture(png)
