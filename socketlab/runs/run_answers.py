"""Whether a model still gives the answers that its run has kept, and in which number format."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from socketlab.models.deployment import RunAnswers
from socketlab.models.mixture import AnyClassifier
from socketlab.models.modes import evaluating
from socketlab.runs.check_images import Sample
from socketlab.runs.keeping import answers_file, load_answers
from socketlab.runs.record import Run
from socketlab.training.precision import Precision, choose_precision


def run_answers(
    run: Run, stage: str, original: AnyClassifier, sample: Sample, answers: Sequence[int]
) -> RunAnswers | None:
    """The answers that a run has kept to the images of `sample`, against those given now.

    A run often computes in bfloat16 and an exported model in float32, which is another answer where
    two classes are near each other. So the original is asked once more in the run's own format: if
    its answers are others even then, images or manifest are no longer those of the run.

    Args:
        run, stage: whose last model it is.
        original: that model.
        sample: what it was given.
        answers: of the exported model, in float32.

    Returns:
        None where the run has kept no answer to any of the images.
    """
    if not sample.ids or not answers_file(run, stage).is_file():
        return None
    kept = load_answers(run, stage).set_index("id")
    known = [row for row, name in enumerate(sample.ids) if name in kept.index]
    if not known:
        return None
    theirs = kept.loc[[sample.ids[row] for row in known]]
    given, truth = theirs["answer"].tolist(), theirs["truth"].tolist()
    mine = [answers[row] for row in known]
    form = run.read().device.get("dtype", "float32")
    again = _answers(original, sample.batches, choose_precision("cpu", form))  # type: ignore[arg-type]
    return RunAnswers(
        images=len(known),
        format=form,
        same=_equal(mine, given),
        same_in_format=_equal([again[row] for row in known], given),
        right=_equal(mine, truth),
        run_right=_equal(given, truth),
    )


def _answers(model: AnyClassifier, batches: Sequence[Tensor], precision: Precision) -> list[int]:
    with evaluating(model), precision.autocast():
        found = [model(batch).float().argmax(1) for batch in batches]
    return list(torch.cat(found).tolist())


def _equal(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(one == other for one, other in zip(first, second, strict=True))


def told_answers(found: RunAnswers) -> str:
    """The same in a sentence."""
    if found.same == found.images:
        return f"The run's own answers to {found.images} of them: all the same."
    text = (
        f"The run's own answers to {found.images} of them: {found.same} the same. It computed in "
        f"{found.format}, where {found.run_right} are right; in float32, as this model computes, "
        f"{found.right} are."
    )
    if found.same_in_format < found.images:
        text += (
            f" In {found.format} too only {found.same_in_format} are the same now: the manifest or "
            "the images may have changed since, or the run used another device."
        )
    return text
