"""From the files of a sensor to answers: found, decoded on all cores, encoded, seen in batches.

Files are looked at a few at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from socketlab.data.encoded import encode
from socketlab.data.layouts.image_files import UNREADABLE, Array, read_image, resize
from socketlab.data.layouts.threads import in_threads
from socketlab.data.views import Images
from socketlab.models.deployed import Deployed
from socketlab.models.deployment import Deployment
from socketlab.runs.unusual import unusual_empty, unusual_mean, unusual_range
from socketlab.training.batches import centre_window, take

IMAGE_ENDINGS: Final = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".pgm", ".webp")
"""Of the files that are taken from a folder; a file that is named itself is always taken."""
BATCHES_AHEAD: Final = 4
"""So many batches are decoded while the network is at work on the first of them."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of a file: a class and its probability, and that of every class.

    `warnings` say what is unlike the images that the model was made for.
    """

    file: Path
    answer: str
    confidence: float
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreadable:
    """A file that is no image of the model's sensor, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class _Decoded:
    file: Path
    raw: Array
    warnings: tuple[str, ...]


def image_files(given: Iterable[str]) -> Iterator[Path]:
    """The files that are meant: each file, what a glob matches, all images in a folder and below.

    In the order given, sorted within each folder; nothing is kept in memory but one folder's names.

    Raises:
        FileNotFoundError: for a name that is nothing of these.
    """
    for text in given:
        path = Path(text).expanduser()
        if path.is_dir():
            yield from _in_folder(path)
        elif path.exists():
            yield path
        elif glob.has_magic(str(path)):
            found = False
            for match in sorted(glob.iglob(str(path), recursive=True)):
                found = True
                matched = Path(match)
                yield from _in_folder(matched) if matched.is_dir() else [matched]
            if not found:
                raise FileNotFoundError(f"No file matches {text!r}. Check the pattern's folder.")
        else:
            raise FileNotFoundError(f"{text!r} is no file, folder or pattern. Check the path.")


def _in_folder(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith("."):
                yield Path(where, name)


def predictions(
    model: Deployed, files: Iterable[Path], batch_size: int = 64
) -> Iterator[Prediction | Unreadable]:
    """What the model says of each file, in their order; one that cannot be read stops nothing.

    A file is decoded, resized, encoded and cropped as the images that the model was trained on.

    Raises:
        ValueError: for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch size must be at least 1, found {batch_size}.")

    def decode(file: Path) -> _Decoded | Unreadable:
        return _decode(file, model.about)

    decoded = in_threads(decode, files, at_once=batch_size * BATCHES_AHEAD)
    while batch := list(islice(decoded, batch_size)):
        yield from _answer(model, batch)


def _decode(file: Path, about: Deployment) -> _Decoded | Unreadable:
    try:
        frame = read_image(file, about.domain)
        raw = resize(frame, about.domain, about.size)
    except UNREADABLE as error:
        return Unreadable(file, str(error) or type(error).__name__)
    found = (unusual_range(raw, about.domain), unusual_empty(raw, about))
    return _Decoded(file, raw, tuple(warning for warning in found if warning))


def _answer(
    model: Deployed, batch: Sequence[_Decoded | Unreadable]
) -> Iterator[Prediction | Unreadable]:
    """The batch's files in their order, with the answers to those that could be read."""
    readable = [item for item in batch if isinstance(item, _Decoded)]
    answers = iter(_predict(model, readable) if readable else [])
    for item in batch:
        yield item if isinstance(item, Unreadable) else next(answers)


def _predict(model: Deployed, batch: Sequence[_Decoded]) -> list[Prediction]:
    about = model.about
    stored = torch.from_numpy(np.stack([item.raw for item in batch]))
    raw, form = encode(stored, about.domain_name, about.domain, about.encoding)
    images = Images(raw, form, tuple(str(item.file) for item in batch)).to(model.device)
    window = centre_window(len(batch), about.size, about.crop)
    pictures = take(images, torch.arange(len(batch)), window, about.encoding)
    shares = model.logits(pictures).softmax(1)
    means = pictures.mean(dim=(1, 2, 3)).tolist()
    found = []
    for item, probabilities, mean in zip(batch, shares.tolist(), means, strict=True):
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        warning = unusual_mean(mean, about)
        found.append(
            Prediction(
                item.file,
                about.classes[best],
                probabilities[best],
                tuple(probabilities),
                (*item.warnings, warning) if warning else item.warnings,
            )
        )
    return found
