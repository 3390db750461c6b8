"""From a run to a folder that goes to work: the model, what it takes, and its card for people."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from socketlab.data import Manifest
from socketlab.data.schema import Say
from socketlab.models.checkpoint import Card, load_classifier
from socketlab.models.deployed import load_network
from socketlab.models.deployment import (
    DEPLOYMENT_FILE,
    Check,
    Deployment,
    ModelFormat,
    model_name,
)
from socketlab.models.export import (
    ONNX_PACKAGES,
    OPSET,
    TOLERANCE,
    ExportError,
    check_agreement,
    check_format,
    compare,
    write_model,
)
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.check_images import Sample, check_images, encoding_of
from socketlab.runs.finding import Chosen, choose_stage, find_run
from socketlab.runs.model_card import CARD_FILE, render_card
from socketlab.runs.places import manifest_of
from socketlab.runs.run_answers import run_answers, told_answers


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, and what its deploy.json says."""

    folder: Path
    about: Deployment


def export_run(
    run: str | Path,
    form: ModelFormat,
    *,
    stage: str | None = None,
    chosen: bool = False,
    output: Path | None = None,
    say: Say | None = None,
) -> Exported:
    """Write a model of a run as a folder: the model, deploy.json and MODEL_CARD.md.

    Both models are given 100 images of the run's evaluation (fewer where there are fewer, random
    ones where the prepared images are gone), and must agree. The folder appears when all is well.

    Args:
        run: a folder under runs/, or its path.
        stage: whose model; the run's only one if not given.
        chosen: the model of the epoch that a label-free score has chosen, not of the last.
        output: default `exports/<stage>-<format>` in the run's folder; an earlier export there is
            replaced.
        say: hears one line per stage.

    Raises:
        ExportError: for a stage that is not there, or a model that comes out another one.
        ValueError: for a run or a data set that cannot be found.
    """
    tell = say or (lambda line: None)
    asked = choose_stage(find_run(run), stage, chosen)
    model, card = load_classifier(asked.file)
    check_format(model, form)
    folder = output or asked.run.folder / "exports" / f"{asked.name}-{form}"
    _check_output(folder)
    configuration = card.configuration
    manifest = manifest_of(str(configuration["data"]), configuration.get("scenes_seed"))
    sample = check_images(asked.run, manifest, card, tell)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        tell(f"Writing {asked.stage} as {form}")
        about = _write(partial, form, model, card, manifest, asked, sample)
        text = render_card(asked.run, manifest, card, about)
        (partial / CARD_FILE).write_text(text, "utf-8")
        _open_to_all(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for line in told(about):
        tell(line)
    return Exported(folder, about)


def told(about: Deployment) -> list[str]:
    """What the check has found, in lines for the terminal."""
    check = about.check
    lines = [
        f"Checked on {check.images} {check.of}: largest difference of a logit "
        f"{check.largest_difference:.1g} (tolerance {check.tolerance:g}), every answer the same"
    ]
    if check.run_answers is not None:
        lines.append(told_answers(check.run_answers))
    return lines


def _write(
    folder: Path,
    form: ModelFormat,
    model: AnyClassifier,
    card: Card,
    manifest: Manifest,
    asked: Chosen,
    sample: Sample,
) -> Deployment:
    """The model's file, held against the original, and deploy.json."""
    channels = sample.batches[0].shape[1]
    file = write_model(model, folder, form, channels, card)
    device, network = load_network(file, form, torch.device("cpu"))
    answers: list[int] = []

    def listening(images: Tensor) -> Tensor:
        logits = network(images.to(device))
        answers.extend(logits.argmax(1).tolist())
        return logits

    agreement = compare(model, listening, sample.batches)
    check_agreement(agreement)
    kept = None
    if not asked.chosen:  # a run keeps the answers of its last model alone
        kept = run_answers(asked.run, asked.stage, model, sample, answers)
    about = Deployment(
        format=form,
        file=model_name(form),
        sha256=_sha256(file),
        classes=card.classes,
        data_set=manifest.name,
        domain_name=card.domain,
        domain=manifest.domain(card.domain),
        size=card.size,
        crop=card.crop,
        encoding=encoding_of(card, manifest.domain(card.domain)),
        channels=3 if channels == 3 else 1,
        opset=OPSET if form == "onnx" else None,
        check=Check(
            images=agreement.images,
            of=sample.of,
            largest_difference=agreement.largest_difference,
            tolerance=TOLERANCE,
            run_answers=kept,
        ),
        usual=sample.usual,
        run=asked.run.folder.name,
        stage=asked.stage,
        chosen_by=str(card.configuration.get("chosen_by", "last")),
        versions=_versions(form),
    )
    (folder / DEPLOYMENT_FILE).write_text(about.model_dump_json(indent=2) + "\n", "utf-8")
    return about


def _check_output(folder: Path) -> None:
    """Whether an export may replace what is at `folder`: nothing, or an earlier export."""
    if not folder.exists() or (folder / DEPLOYMENT_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ExportError(
            f"{folder} is there and is no exported model, so it is not replaced. Give another "
            "--output, or remove it."
        )


def _open_to_all(folder: Path) -> None:
    """Exports are handed on, but temporary folders and safetensors files are made private."""
    folder.chmod(0o755)
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def _versions(form: ModelFormat) -> dict[str, str]:
    packages = ("socketlab", "torch", "torchvision", "timm")
    used = (*packages, *(ONNX_PACKAGES if form == "onnx" else ()))
    return {name: importlib.metadata.version(name) for name in used}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
