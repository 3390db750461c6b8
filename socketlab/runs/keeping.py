"""What a stage leaves in a run's folder: numbers of every epoch, models, answers, results."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from socketlab.data.views import Evaluation
from socketlab.data.whole_files import replace_file
from socketlab.gap.selection import choose_epoch
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source
from socketlab.models.checkpoint import (
    Card,
    CheckpointError,
    check_weights,
    describe_classifier,
    load_card,
    save_classifier,
)
from socketlab.runs.progress import Progress
from socketlab.runs.record import Part, Run
from socketlab.runs.rows import result_row
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip, step_values
from socketlab.runs.steering import (
    asked_changes,
    changes_of,
    count_by_hand,
    forget_changes,
    record_changes,
    steps_before,
)
from socketlab.runs.tensorboard import Curves, begin_curves
from socketlab.training.inference import Score
from socketlab.training.state import StateFile
from socketlab.training.steps import Step


def model_file(run: Run, stage: str, chosen: bool = False) -> Path:
    """Where the model of a stage is kept: its last epoch's, or the one a score has chosen."""
    return run.folder / "models" / f"{stage}{'.chosen' if chosen else ''}.safetensors"


def saved_model_file(run: Run, stage: str, step: int) -> Path:
    """Where a model is kept that somebody asked for while it trained, after so many steps."""
    return run.folder / "models" / f"{stage}.step{step}.safetensors"


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

    Also one of a training that was stopped by hand: what was learnt is kept. One whose file is
    damaged is none, and is said to be made again.
    """
    card = _card(run, stage)
    if card is None or card.configuration.get("fingerprint") != fingerprint:
        return False
    try:
        check_weights(model_file(run, stage))
    except CheckpointError as damaged:
        print(f"{stage} is made again: {damaged}")
        return False
    return True


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
        """Hand steps on, and write down changes, epochs and progress before the next is taken."""
        progress, begun = Progress(self._run, self._stage, part), False
        curves: Curves | None = None
        with ExitStack() as at_end:
            for step in steps:
                if not begun:
                    forget_changes(self._run, self._stage, steps_before(step))
                    if self._parameters.tensorboard:
                        curves = begin_curves(self._run, self._stage, step)
                        at_end.callback(curves.close)
                    begun = True
                record_changes(self._run, self._stage, step.changes)
                if step.kind == "saved":
                    self._keep_saved(step)
                if step.kind in ("start", "epoch", "stopped"):
                    self._keep_epoch(step, curves)
                progress.heard(step)
                if step.kind == "stopped":
                    part.status = "stopped"
                    part.reason = f"stopped by hand at step {step.step} of {step.steps}"
                yield step

    def _keep_epoch(self, step: Step, curves: Curves | None) -> None:
        """The numbers of an epoch, and its model where it is the one to choose so far."""
        # A broken-off epoch counts as the next one: a resume replaces it, and none before it.
        epoch, values = step.epoch + (step.kind == "stopped"), step_values(step)
        self._run.add_metrics(self._stage, epoch, step.step, values)
        if curves is not None:
            curves.add(epoch, values)
        if step.kind != "start" and self._chooses:
            history = self._run.metrics(self._stage)
            if choose_epoch(history, self._choose_by) == epoch:
                self._keep_model(step.evaluation, self._choose_by)

    def keep(self, score: Score, evaluation: Evaluation, seconds: float, memory: float) -> None:
        """The last model, its answers, and the rows: last epoch, chosen epoch, best epoch."""
        if self._trip.method != "source_only":  # its model is the source model, which is kept
            self._keep_model(score, "last")
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
        of_training = {
            "seconds": seconds,
            "peak_memory": memory,
            **self._expected(),
            "parameters": self._trained(),
            "steered": self._steered(),
        }
        place = (self._trip, self._stage, history)
        last = result_row(*place, "last", int(history["epoch"].max()), score)
        rows = [last]
        # By labels only where there are some.
        choices = (self._choose_by, "oracle") if score.accuracies else (self._choose_by,)
        for chosen_by in choices if self._chooses else ():
            rows.append(result_row(*place, chosen_by, choose_epoch(history, chosen_by), score))
        if not self._chooses:  # of an earlier training with more epochs
            model_file(self._run, self._stage, chosen=True).unlink(missing_ok=True)
        self._run.put_results(self._stage, [row.model_copy(update=of_training) for row in rows])

    def _expected(self) -> dict[str, float]:
        found = self._task.expected
        if found is None:
            return {}
        return {"expected_memory": found.peak, "batch_size": found.batch_size}

    def _steered(self) -> int:
        asked = asked_changes(self._parameters, self._trip.name)
        return count_by_hand(changes_of(self._run, self._stage), asked)

    def _trained(self) -> int:
        task = self._task
        if task.epochs * task.steps_per_epoch == 0:
            return 0
        return sum(p.numel() for group in task.optimiser.param_groups for p in group["params"])

    def _keep_saved(self, step: Step) -> None:
        """The model as it is at this moment; nothing is settled, for that would change it."""
        statistics = "as they were after this step, not settled as at the end of an epoch"
        about = {"step": step.step, "normalisation_statistics": statistics}
        file = saved_model_file(self._run, self._stage, step.step)
        save_classifier(self._task.model, file, self._card(None, chosen_by="hand", **about))

    def _keep_model(self, score: Score | None, chosen_by: str) -> None:
        file = model_file(self._run, self._stage, chosen=chosen_by != "last")
        save_classifier(self._task.model, file, self._card(score, chosen_by=chosen_by))

    def _card(self, score: Score | None, **about: Any) -> Card:
        """What the model is and how it scored."""
        given, trip = self._parameters, self._trip
        inferred = getattr(self._task, "inferred", "")
        scores = score.accuracies if score is not None else {}
        return describe_classifier(
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
                **about,
                "options": self._task.options.model_dump(mode="json"),
                "fingerprint": self._fingerprint,
                **({"inferred": inferred} if inferred else {}),
            },
            scores=scores,
        )
