"""What a stage leaves in a run's folder: numbers of every epoch, the model, a row of results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socketlab.models.checkpoint import (
    Card,
    CheckpointError,
    describe_classifier,
    load_card,
    save_classifier,
)
from socketlab.models.classifier import Classifier
from socketlab.runs.parameters import Parameters
from socketlab.runs.record import Part, Result, Run
from socketlab.runs.stages import Trip, step_values
from socketlab.training.inference import Score
from socketlab.training.loop import Step
from socketlab.training.state import StateFile


def model_file(run: Run, stage: str) -> Path:
    """Where the model of a stage is kept."""
    return run.folder / "models" / f"{stage}.safetensors"


def state_file(run: Run, stage: str, fingerprint: str) -> StateFile:
    """Where a training that was interrupted continues from."""
    return StateFile(run.folder / "state" / f"{stage}-{fingerprint}.pt", fingerprint)


def has_model(run: Run, stage: str, fingerprint: str) -> bool:
    """Whether a model of a stage is kept that was made with this configuration.

    Also one of a training that was stopped by hand: what was learnt is kept.
    """
    card = _card(run, stage)
    same = card is not None and card.configuration.get("fingerprint") == fingerprint
    return same and model_file(run, stage).is_file()


def source_weights(run: Run, stage: str) -> str:
    """sha256 of the source model's weights, or nothing where there is none."""
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


def recorded(run: Run, stage: str, steps: Iterator[Step], part: Part) -> Iterator[Step]:
    """Hand steps on, and write down the numbers of every epoch before the next one begins."""
    for step in steps:
        if step.kind in ("start", "epoch"):
            run.add_metrics(stage, step.epoch, step.step, step_values(step))
        if step.kind == "stopped":
            # Under the epoch that was broken off: a resume replaces it, and none before it.
            run.add_metrics(stage, step.epoch + 1, step.step, step_values(step))
            part.status = "stopped"
            part.reason = f"stopped by hand at step {step.step} of {step.steps}"
        yield step


def keep_model(
    run: Run,
    model: Classifier,
    trip: Trip,
    parameters: Parameters,
    score: Score,
    options: dict[str, Any],
    stage: str,
    fingerprint: str,
) -> None:
    """Keep a model with the card that says what it is and how it scored."""
    card = describe_classifier(
        model,
        domain=trip.target,
        crop=parameters.crop_pixels,
        size=parameters.size,
        method=trip.method,
        configuration={
            "data": parameters.data,
            "source": parameters.source,
            "protocol": trip.protocol,
            "seed": trip.seed,
            "encoding": parameters.encoding,
            "options": options,
            "fingerprint": fingerprint,
        },
        scores={"accuracy": score.accuracy, "balanced_accuracy": score.balanced_accuracy},
    )
    save_classifier(model, model_file(run, stage), card)


def keep_result(run: Run, trip: Trip, parameters: Parameters, score: Score, stage: str) -> None:
    """Add the row of a stage to the results, with the label-free scores of its last epoch."""
    run.add_result(
        Result(
            method=trip.method,
            protocol=trip.protocol,
            source=parameters.source,
            target=trip.target,
            seed=trip.seed,
            accuracy=score.accuracy,
            balanced_accuracy=score.balanced_accuracy,
            chosen_by="last",
            n=score.n,
            stage=stage,
            scores=_last_scores(run, stage),
        )
    )


def _last_scores(run: Run, stage: str) -> dict[str, float]:
    rows = run.metrics(stage)
    last = rows[(rows["epoch"] == rows["epoch"].max()) & rows["name"].str.startswith("score/")]
    names = last["name"].str.removeprefix("score/")
    return dict(zip(names, last["value"].astype(float), strict=True))
