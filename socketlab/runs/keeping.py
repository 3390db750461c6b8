"""What a stage leaves in a run's folder: numbers of every epoch, models, answers, results."""

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from socketlab.data.views import Evaluation
from socketlab.gap.selection import choose_epoch
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source
from socketlab.models.checkpoint import (
    Card,
    CheckpointError,
    describe_classifier,
    load_card,
    save_classifier,
)
from socketlab.runs.files import replace_file
from socketlab.runs.record import Part, Result, Run
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip, step_values
from socketlab.training.inference import Score
from socketlab.training.state import StateFile
from socketlab.training.steps import Look, Step


def model_file(run: Run, stage: str, chosen: bool = False) -> Path:
    """Where the model of a stage is kept: its last epoch's, or the one a score has chosen."""
    return run.folder / "models" / f"{stage}{'.chosen' if chosen else ''}.safetensors"


def state_file(run: Run, stage: str, fingerprint: str) -> StateFile:
    """Where a training that was interrupted continues from."""
    return StateFile(run.folder / "state" / f"{stage}-{fingerprint}.pt", fingerprint)


def answers_file(run: Run, stage: str) -> Path:
    """Where the answers of a stage's last model are kept, image by image."""
    return run.folder / "answers" / f"{stage}.parquet"


def load_answers(run: Run, stage: str) -> pd.DataFrame:
    """id, truth, answer (class indices) and confidence of every scored image.

    Raises:
        FileNotFoundError: if the stage has not been scored, saying so.
    """
    file = answers_file(run, stage)
    if not file.exists():
        raise FileNotFoundError(f"{str(file)!r}: stage {stage!r} has not been scored yet.")
    return pd.read_parquet(file)


def has_model(run: Run, stage: str, fingerprint: str) -> bool:
    """Whether a model of a stage is kept that was made with this configuration.

    Also one of a training that was stopped by hand: what was learnt is kept.
    """
    card = _card(run, stage)
    same = card is not None and card.configuration.get("fingerprint") == fingerprint
    return same and model_file(run, stage).is_file()


def stage_weights(run: Run, stage: str) -> str:
    """sha256 of the weights of a stage's last model, or nothing where there is none."""
    card = _card(run, stage)
    return card.sha256 if card is not None else ""


def _card(run: Run, stage: str) -> Card | None:
    try:
        return load_card(model_file(run, stage))
    except CheckpointError:
        return None


def is_kept(run: Run, stage: str, fingerprint: str) -> bool:
    """Whether a stage ended well with this configuration, and its model is there."""
    return run.is_done(stage, fingerprint) and has_model(run, stage, fingerprint)


class Keeper:
    """Writes down one training: every epoch while it runs, models and rows at its end."""

    def __init__(
        self,
        run: Run,
        task: Source | Transfer,
        trip: Trip,
        parameters: Parameters,
        stage: str,
        fingerprint: str,
    ) -> None:
        self._run, self._task, self._trip = run, task, trip
        self._parameters, self._stage, self._fingerprint = parameters, stage, fingerprint
        self._choose_by = str(getattr(parameters, "choose_by", "last"))

    @property
    def _chooses(self) -> bool:
        """Whether there are epochs to choose from."""
        return isinstance(self._task, Transfer) and self._task.epochs > 1

    def recorded(self, steps: Iterator[Step], part: Part) -> Iterator[Step]:
        """Hand steps on, and write down every epoch before the next one begins."""
        for step in steps:
            # A broken-off epoch counts as the next one: a resume replaces it, and none before it.
            epoch = step.epoch + (step.kind == "stopped")
            if step.kind in ("start", "epoch", "stopped"):
                self._run.add_metrics(self._stage, epoch, step.step, step_values(step))
            if step.kind in ("epoch", "stopped") and self._chooses:
                history = self._run.metrics(self._stage)
                if choose_epoch(history, self._choose_by) == epoch:
                    self._keep_model(step.evaluation, chosen=True)
            if step.kind == "stopped":
                part.status = "stopped"
                part.reason = f"stopped by hand at step {step.step} of {step.steps}"
            yield step

    def keep(self, score: Score, evaluation: Evaluation, seconds: float, memory: float) -> None:
        """The last model, its answers, and the rows: last epoch, chosen epoch, best epoch."""
        if self._trip.method != "source_only":  # its model is the source model, which is kept
            self._keep_model(score)
        answers = pd.DataFrame(
            {
                "id": evaluation.images.ids,
                "truth": evaluation.labels.numpy(),
                "answer": score.answers.numpy(),
                "confidence": score.confidence.numpy(),
            }
        )
        file = answers_file(self._run, self._stage)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, answers.to_parquet(index=False))
        history = self._run.metrics(self._stage)
        last = self._row("last", int(history["epoch"].max()), history, score)
        last = last.model_copy(
            update={"seconds": seconds, "peak_memory": memory, "parameters": self._trained()}
        )
        rows = [last]
        for chosen_by in (self._choose_by, "oracle") if self._chooses else ():
            epoch = choose_epoch(history, chosen_by)
            row = self._row(chosen_by, epoch, history, score)
            about = last.model_dump(include={"seconds", "peak_memory", "parameters"})
            rows.append(row.model_copy(update=about))
        if not self._chooses:  # of an earlier training with more epochs
            model_file(self._run, self._stage, chosen=True).unlink(missing_ok=True)
        self._run.put_results(self._stage, rows)

    def _trained(self) -> int:
        task = self._task
        if task.epochs * task.steps_per_epoch == 0:
            return 0
        return sum(p.numel() for group in task.optimiser.param_groups for p in group["params"])

    def _row(self, chosen_by: str, epoch: int, history: pd.DataFrame, score: Score) -> Result:
        here = history[history["epoch"] == epoch]
        values = dict(zip(here["name"], here["value"].astype(float), strict=True))
        if chosen_by == "last":
            values |= {
                "accuracy": score.accuracy,
                "balanced_accuracy": score.balanced_accuracy,
            }
        predicted = [int(count) for count in _numbered(values, "predicted/")]
        measures = _named(values, "measure/")
        look = Look(predicted=tuple(predicted), measures=measures)
        return Result(
            method=self._trip.name,
            protocol=self._trip.protocol,
            source=self._trip.source,
            target=self._trip.target,
            seed=self._trip.seed,
            accuracy=values["accuracy"],
            balanced_accuracy=values["balanced_accuracy"],
            chosen_by=chosen_by,
            n=score.n,
            stage=self._stage,
            epoch=epoch,
            scores=_named(values, "score/"),
            predicted=predicted,
            mixing=_numbered(values, "mixing/"),
            note=look.note,
            measures=measures,
            advice=look.advice,
        )

    def _keep_model(self, score: Score | None, chosen: bool = False) -> None:
        """A model with the card that says what it is and how it scored."""
        given, trip = self._parameters, self._trip
        inferred = getattr(self._task, "inferred", "")
        scores = {}
        if score is not None:
            scores = {"accuracy": score.accuracy, "balanced_accuracy": score.balanced_accuracy}
        card = describe_classifier(
            self._task.model,
            domain=trip.target,
            crop=given.crop_pixels,
            size=given.size,
            method=trip.method,
            configuration={
                "data": given.data,
                "scenes_seed": given.scenes_seed,
                "sources": list(trip.sources),
                "protocol": trip.protocol,
                "seed": trip.seed,
                "encoding": given.encoding,
                "chosen_by": self._choose_by if chosen else "last",
                "options": self._task.options.model_dump(mode="json"),
                "fingerprint": self._fingerprint,
                **({"inferred": inferred} if inferred else {}),
            },
            scores=scores,
        )
        save_classifier(self._task.model, model_file(self._run, self._stage, chosen), card)


def _named(values: dict[str, float], prefix: str) -> dict[str, float]:
    """The finite values of prefix/name by name: JSON knows no NaN."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and math.isfinite(value)
    }


def _numbered(values: dict[str, float], prefix: str) -> list[float]:
    """The values of prefix/0, prefix/1, ... in that order."""
    count = sum(name.startswith(prefix) for name in values)
    return [values[f"{prefix}{k}"] for k in range(count)]
