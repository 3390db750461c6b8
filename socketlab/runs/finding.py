"""Which model of which run somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from socketlab.models.export import ExportError
from socketlab.runs.folders import find_folder
from socketlab.runs.keeping import model_file
from socketlab.runs.record import Record, Run
from socketlab.runs.sweeps.record import is_sweep


@dataclass(frozen=True)
class Chosen:
    """A model of a run: of a stage's last epoch, or of the one that a score has chosen."""

    run: Run
    stage: str
    chosen: bool

    @property
    def file(self) -> Path:
        """Its weights."""
        return model_file(self.run, self.stage, self.chosen)

    @property
    def name(self) -> str:
        """As its files are named."""
        return f"{self.stage}{'.chosen' if self.chosen else ''}"


def find_run(run: str | Path) -> Run:
    """The run in that folder, or of that name under runs/; `sweep/run` is one of a sweep's runs.

    Raises:
        ValueError: where neither is there, with the runs that are; also for a sweep's folder.
    """
    folder = find_folder(run)
    if is_sweep(folder):
        inside = ", ".join(sorted(file.parent.name for file in folder.glob("*/run.json")))
        raise ValueError(
            f"{str(run)!r} is a sweep. Name one of its runs, as in {folder.name}/RUN. "
            f"It has: {inside or 'none yet'}."
        )
    return Run(folder)


def choose_stage(run: Run, stage: str | None, chosen: bool) -> Chosen:
    """The model of `stage`, or of the one transfer that the run holds.

    Raises:
        ExportError: where that is not one model, with those that are there.
    """
    models = kept_models(run)
    if stage is None:
        # a source model is what a run without a transfer is about
        transfers = [name for name in models if not name.startswith("source-")] or models
        if len(transfers) != 1:
            raise ExportError(
                f"Run {run.folder.name!r} holds {len(transfers) or 'no'} transfers. {_which(run)}"
            )
        stage = transfers[0]
    if stage not in models:
        why = ""
        if stage.startswith("source_only-"):
            why = " Nothing was adapted there: its model is the source model."
        raise ExportError(f"Run {run.folder.name!r} has no model {stage!r}.{why} {_which(run)}")
    found = Chosen(run, stage, chosen)
    if chosen and not found.file.is_file():
        raise ExportError(
            f"No epoch of {stage!r} was chosen by a score, so there is only the last one's model. "
            "Leave out --chosen."
        )
    return found


def kept_models(run: Run) -> list[str]:
    """The stages whose last model is kept, in the order of the run's results."""
    rows = [row.stage for row in run.read().results]
    return [stage for stage in dict.fromkeys(rows) if model_file(run, stage).is_file()]


def _which(run: Run) -> str:
    """The models of a run, one a line with its score, and how one of them is named."""
    record = run.read()
    models = kept_models(run)
    if not models:
        return (
            "It has no model at all. Run 05_transfer, which makes one, and give the run its name."
        )
    lines = "\n".join(f"  {name}{_score(record, name)}" for name in models)
    return f"Name one of these with --stage:\n{lines}"


def _score(record: Record, stage: str) -> str:
    """Its balanced accuracy with the last epoch, where there were labels to measure it by."""
    for row in record.results:
        if (row.stage, row.chosen_by) == (stage, "last") and row.balanced_accuracy is not None:
            return f"  (balanced accuracy {row.balanced_accuracy:.1%}, n = {row.n})"
    return ""
