"""`socketlab export` and `socketlab predict`: from a run to a model that works elsewhere."""

import time
from pathlib import Path
from typing import Annotated

import typer

from socketlab.cli.terminal import say
from socketlab.models.deployment import ModelFormat

ANSWERS_SHOWN = 20


def export(
    run: Annotated[str, typer.Argument(help="a folder under runs/, or its path")],
    form: Annotated[
        ModelFormat, typer.Option("--format", help="safetensors for socketlab, onnx, or pt2")
    ],
    stage: Annotated[
        str | None, typer.Option(help="whose model; default: the run's only transfer")
    ] = None,
    chosen: Annotated[
        bool, typer.Option("--chosen", help="of the epoch that a score has chosen, not the last")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="default: exports/STAGE-FORMAT in the run's folder")
    ] = None,
) -> None:
    """Write a run's model as a folder that goes to work: the model, deploy.json, MODEL_CARD.md.

    The exported model is held against the original on 100 images of the run's
    evaluation, and is not kept where it differs.
    """
    from socketlab.runs.exporting import export_run

    done = export_run(run, form, stage=stage, chosen=chosen, output=output, say=say)
    say(f"Model: {done.folder / done.about.file}")
    say(f"Card: {done.folder / 'MODEL_CARD.md'}")
    say(f"Use it: socketlab predict {done.folder} IMAGES --csv answers.csv")


def predict(
    model: Annotated[Path, typer.Argument(help="folder that `socketlab export` has written")],
    images: Annotated[list[str], typer.Argument(help="files of the sensor, folders, or patterns")],
    csv: Annotated[
        Path | None, typer.Option(help="where all answers and probabilities are written")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="images given at once")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
) -> None:
    """What an exported model says of raw sensor files.

    They are decoded as the model's own data were. A file that cannot be read is
    listed at the end, and the exit status is then 1. With --csv the first 20
    answers are shown.
    """
    if csv is not None and csv.is_dir():
        raise ValueError(f"--csv {csv} is a folder. Give the name of a file.")
    from socketlab.cli.answers import Answers
    from socketlab.data.layouts.threads import cores
    from socketlab.models.deployed import load_deployed
    from socketlab.runs.predicting import image_files, predictions
    from socketlab.training.precision import choose_precision

    wanted = "cpu" if device == "auto" and _is_onnx(model) else device
    precision = choose_precision(wanted, "float32")  # type: ignore[arg-type]
    loaded = load_deployed(model, precision.device)
    began = time.monotonic()
    with Answers(loaded.about.classes, csv, shown=ANSWERS_SHOWN if csv else None) as answers:
        for found in predictions(loaded, image_files(images), batch_size):
            answers.add(found)
    if not answers.finish(time.monotonic() - began, f"{loaded.device}, {cores()} threads decode"):
        raise typer.Exit(1)


def _is_onnx(folder: Path) -> bool:
    from socketlab.models.deployment import read_deployment

    return read_deployment(folder).format == "onnx"
