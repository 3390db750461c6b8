"""Trainings of a version on the images of a file, for the table that says how good they are."""

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from before_after_cases import knows

from socketlab.data.modality import PixelFormat
from socketlab.data.views import (
    Evaluation,
    ImagePairs,
    Images,
    Labelled,
    SourceImages,
    TargetImages,
    Views,
)
from socketlab.methods import build_method
from socketlab.methods.source import Source, check_source_options
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.training.inference import scorer
from socketlab.training.precision import choose_precision

Answer = dict[str, Any]


def as_plain(images: Images) -> Answer:
    """Images as tensors and words, which any version can make its own of."""
    found = images.format
    pixels = (found.modality, found.low, found.high, found.invalid)
    return {"raw": images.raw, "format": list(pixels), "ids": list(images.ids)}


def write_views(views: Views, file: Path) -> None:
    """All that a transfer looks at, in a file that knows nothing of the package.

    Raises:
        ValueError: where the views have no TI pairs.
    """
    if views.pairs is None:
        raise ValueError("These views have no TI pairs, and socket learns from them.")
    halves = {"source": views.pairs.source, "target": views.pairs.target}
    content: Answer = {"target": as_plain(views.target.images), "domain": views.target.domain}
    content["pairs"] = {name: as_plain(half) for name, half in halves.items()}
    content["pairs"]["ids"] = list(views.pairs.pair_ids)
    labelled: dict[str, Labelled] = {
        "source": views.source,
        "source_evaluation": views.source_evaluation,
        "evaluation": views.evaluation,
    }
    for name, part in labelled.items():
        about = {"labels": part.labels, "classes": list(part.classes), "domain": part.domain}
        content[name] = as_plain(part.images) | about
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)


@lru_cache(maxsize=1)
def read_views(file: str) -> Views:
    """The views that were written."""
    content = torch.load(file, weights_only=True)

    def images(of: Answer) -> Images:
        return Images(of["raw"], PixelFormat(*of["format"]), tuple(of["ids"]))

    def labelled(kind: type[Labelled], name: str) -> Any:
        part = content[name]
        return kind(images(part), part["labels"], tuple(part["classes"]), part["domain"])

    pairs = content["pairs"]
    halves = images(pairs["source"]), images(pairs["target"])
    return Views(
        source=labelled(SourceImages, "source"),
        source_evaluation=labelled(Evaluation, "source_evaluation"),
        target=TargetImages(images(content["target"]), content["domain"]),
        pairs=ImagePairs(*halves, tuple(pairs["ids"])),
        evaluation=labelled(Evaluation, "evaluation"),
    )


def train_source(views: str, model: str, options: Answer, crop: int, seed: int) -> Answer:
    """Train the source model once for all versions, and leave its weights in the file `model`."""
    seen, precision = read_views(views), choose_precision()
    trainer = Source(check_source_options(options), crop=crop, seed=seed, precision=precision)
    began = time.perf_counter()
    for _ in trainer.fit(seen.source):
        pass
    seconds = time.perf_counter() - began
    # As the checkpoints of the package: tensors by name, whatever the layout in memory.
    weights = {k: v.detach().cpu().contiguous() for k, v in trainer.model.state_dict().items()}
    part = Path(f"{model}.partial")
    torch.save(weights, part)
    part.replace(model)
    score = scorer(seen.source_evaluation, crop, precision)(trainer.model)
    return {**score.accuracies, "seconds": seconds}


def transfer(
    views: str,
    model: str,
    backbone: str,
    method: str,
    options: Answer,
    new: Answer,
    crop: int,
    seed: int,
) -> Answer:
    """Adapt the source model of the file `model`, and score it once at the end.

    Nothing is trained where the version does not know the options that are `new`.
    """
    if not knows({"method": method}, {"options": new}):
        return {"known": False}
    seen, precision = read_views(views), choose_precision()
    source = Classifier(backbone, seen.evaluation.classes)
    source.load_state_dict(torch.load(model, weights_only=True))
    given = options | new
    adapting = build_method(method, given, seen, crop=crop, seed=seed, precision=precision)
    began = time.perf_counter()
    for _ in adapting.fit(source.eval().to(precision.device), seen.target, seen.pairs):
        pass
    seconds = time.perf_counter() - began
    adapted: AnyClassifier = adapting.model
    score = scorer(seen.evaluation, crop, precision)(adapted)
    return {"known": True, **score.accuracies, "seconds": seconds}
