"""The images that an exported model and its original are both given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import pandas as pd
import torch
from torch import Tensor

from socketlab.data import Manifest
from socketlab.data.domain_schema import Domain
from socketlab.data.encoding_names import THREE_CHANNELS, Encoding
from socketlab.data.opening import stored_images
from socketlab.data.schema import Say
from socketlab.data.store import NotPrepared, Store, open_store
from socketlab.data.views import Images
from socketlab.models.checkpoint import Card
from socketlab.models.deployment import Usual
from socketlab.runs.places import at_home
from socketlab.runs.record import Run
from socketlab.training.batches import centre_window, take

CHECKED_IMAGES: Final = 100
BATCHES: Final = (1, 32)
"""Images of the first batch, and of the others: an exported network must take any number."""


@dataclass(frozen=True)
class Sample:
    """What both models are given.

    Attributes:
        batches: of input, each [B, C, crop, crop] in [0, 1].
        of: what the images are, in words.
        ids: of the images, in order; none of random ones.
        usual: what they are like; None of random ones.
    """

    batches: list[Tensor]
    of: str
    ids: tuple[str, ...] = ()
    usual: Usual | None = None


def encoding_of(card: Card, domain: Domain) -> Encoding:
    """How a model sees its images; the run's encoding is of depth and infrared alone."""
    if domain.modality == "rgb":
        return "replicate"
    return cast(Encoding, card.configuration["encoding"])


def check_images(run: Run, manifest: Manifest, card: Card, tell: Say) -> Sample:
    """Up to 100 images that the run was scored on, or random ones where its store is gone."""
    domain = manifest.domain(card.domain)
    encoding = encoding_of(card, domain)
    try:
        store = open_store(manifest, size=card.size, data_dir=_data_dir(run, card))
    except NotPrepared as error:
        tell(f"{error} The check is on random images instead.")
        colour = domain.modality == "rgb" or encoding in THREE_CHANNELS
        noise = torch.Generator().manual_seed(0)
        shape = (CHECKED_IMAGES, 3 if colour else 1, card.crop, card.crop)
        return Sample(_batches(torch.rand(shape, generator=noise)), "random images")
    rows, of = _rows(store, card)
    images = stored_images(store, card.domain, rows, encoding)
    window = centre_window(len(images), card.size, card.crop)
    pictures = take(images, torch.arange(len(images)), window, encoding)
    means = pictures.mean(dim=(1, 2, 3))
    plain = stored_images(store, card.domain, rows)
    usual = Usual(mean=(float(means.min()), float(means.max())), empty=_empty(plain))
    return Sample(_batches(pictures), f"{card.domain} images ({of})", images.ids, usual)


def _rows(store: Store, card: Card) -> tuple[pd.DataFrame, str]:
    """Samples of the model's domain, evenly from all that its protocol scores; else from any."""
    rules = store.manifest.protocol(str(card.configuration["protocol"]))
    samples = store.samples[store.samples["domain"] == card.domain].sort_values("id")
    named = samples[samples["class"].isin(card.classes)]
    scored = named[named["split"].isin(rules.score_splits)]
    found, of = scored, f"split {', '.join(rules.score_splits)}"
    if scored.empty:
        found, of = samples, "of any class and split, for none is scored"
    count = min(CHECKED_IMAGES, len(found))
    chosen = torch.linspace(0, len(found) - 1, count).round().int().tolist()
    return found.iloc[chosen], of


def _batches(pictures: Tensor) -> list[Tensor]:
    first, others = BATCHES
    rest = torch.split(pictures[first:], others) if len(pictures) > first else ()
    return [pictures[:first], *rest]


def _empty(images: Images) -> float:
    """The largest share of pixels without a reading in one of the images."""
    if images.format.invalid is None:
        return 0.0
    empty = images.raw[:].int() == images.format.invalid
    return float(empty.flatten(1).float().mean(1).max())


def _data_dir(run: Run, card: Card) -> Path:
    """Where the run's notebooks kept the prepared images that this model was made with."""
    about = (card.configuration["data"], card.size)
    for given in run.read().configuration.values():
        if (given.get("data"), given.get("size")) == about:
            return at_home(str(given.get("data_dir", "data")))
    return at_home("data")
