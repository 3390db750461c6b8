"""Any two encoders on pairs of images, without labels and without training."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.data.opening import by_pair, stored_pairs
from socketlab.data.pair_folder import read_pairs
from socketlab.data.store import prepare
from socketlab.data.views import ImagePairs, Images
from socketlab.gap.procrustes import align
from socketlab.models.encoders import Encoder, build_encoder
from socketlab.runs.encoder_parameters import TwoEncoders
from socketlab.runs.places import at_home, home
from socketlab.runs.session import Session
from socketlab.training.batches import centre_window, in_order, take
from socketlab.training.precision import Precision

DEFAULT_SIZE = 64
SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """What two encoders make of pairs: `first` [n, d], `second` [n, e], row i of both is one pair.

    `rows` [n] are the pairs' numbers, `names` what the two sides are called, `aligned` whether the
    second was rotated onto the first (then only the held-out pairs are here), `note` what was done
    or could not be done.
    """

    first: Tensor
    second: Tensor
    rows: npt.NDArray[np.int64]
    names: tuple[str, str]
    aligned: bool = False
    note: str = ""


class EncoderSession(Session):
    """A notebook at work with two encoders and pairs; nothing is read before it is asked for."""

    parameters: TwoEncoders

    def __init__(self, parameters: TwoEncoders) -> None:
        # A text that names no encoder stops here, before the run says that it is running.
        self.encoders = _build(parameters)
        super().__init__(parameters)
        for name, encoder in zip(("first", "second"), self.encoders, strict=True):
            print(f"{name}: {encoder}")

    @property
    def names(self) -> tuple[str, str]:
        """What the two sides are called: by their encoders, or by their images if those are one."""
        given = self.parameters
        first, second = (encoder.short for encoder in self.encoders)
        if first == second and given.pairs is None:
            first, second = (given.manifest.domain(n).modality for n in (given.first, given.second))
        elif first == second:
            first, second = (_word(pattern) for pattern in (given.first, given.second))
        return (first, second) if first and second and first != second else ("first", "second")

    @cached_property
    def pairs(self) -> ImagePairs:
        """The pairs of the folder, or of the data set; what was left out is printed."""
        given = self.parameters
        size = given.size or max(encoder.size for encoder in self.encoders)
        if given.pairs is None:
            return self._pairs_of_data(given.size or DEFAULT_SIZE)
        found = read_pairs(
            at_home(given.pairs),
            given.first,
            given.second,
            size=size,
            most=given.most_pairs,
            seed=given.seed,
        )
        for note in (f"{len(found.pairs)} pairs at {size} pixels.", *found.notes):
            print(note)
        return found.pairs

    def _pairs_of_data(self, size: int) -> ImagePairs:
        given = self.parameters
        root = at_home(given.root) if given.root else None
        folder = at_home(given.data_dir)
        store = prepare(given.manifest, root=root, size=size, data_dir=folder, say=print)
        samples, domains = store.samples, (given.first, given.second)
        first, second = by_pair(*(samples[samples["domain"] == domain] for domain in domains))
        if first.empty:
            raise ValueError(
                f"{given.first!r} and {given.second!r} share no scene in {given.data!r}. Give a "
                "data set with pairs, or a folder as `pairs`."
            )
        drawn = np.random.default_rng(given.seed).permutation(len(first))[: given.most_pairs]
        rows = sorted(drawn.tolist())
        print(f"{len(rows)} of {len(first)} pairs of {given.data} at {size} pixels.")
        return stored_pairs(store, domains, first.iloc[rows], second.iloc[rows])

    def encode(self) -> EncodedPairs:
        """What each encoder makes of its half of every pair, not rotated.

        Raises:
            ValueError: for images of a size that an encoder cannot take, or no pairs.
        """
        halves = (self.pairs.source, self.pairs.target)
        first, second = (
            encode(encoder.to(self.precision.device), images, self.precision)
            for encoder, images in zip(self.encoders, halves, strict=True)
        )
        return EncodedPairs(first, second, np.arange(len(self.pairs)), self.names)

    def aligned(self, found: EncodedPairs) -> EncodedPairs:
        """`found` as the parameter `align` asks: as it is, or the held-out half, rotated.

        Where no rotation can be found, `found` with a note that says why.
        """
        if self.parameters.align == "none":
            return found
        try:
            made = align(found.first, found.second, seed=self.parameters.seed)
        except ValueError as error:
            return replace(found, note=f"Not aligned: {error}")
        return EncodedPairs(
            made.x, made.y, found.rows[made.rows], found.names, aligned=True, note=made.note
        )


def encode(
    encoder: Encoder, images: Images, precision: Precision, *, batch_size: int = 64
) -> Tensor:
    """Features [N, width], float32 on the CPU, of every image; long work says how far it is."""
    began = said = time.monotonic()
    made = []
    size = images.raw.shape[1]
    with torch.no_grad(), precision.autocast():
        for index in in_order(images, batch_size):
            batch = take(images, index, centre_window(len(index), size, size))
            made.append(encoder(batch.to(precision.device)).float().cpu())
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                print(f"{encoder.short}: {int(index[-1]) + 1} of {len(images)}", flush=True)
    seconds = time.monotonic() - began
    print(f"{encoder.short}: {len(images)} images in {seconds:.1f} s", flush=True)
    return torch.cat(made)


def _build(given: TwoEncoders) -> tuple[Encoder, Encoder]:
    first, *rest = (
        build_encoder(text, size=given.size, seed=given.seed, home=home())
        for text in dict.fromkeys((given.first_encoder, given.second_encoder))
    )
    return first, rest[0] if rest else first


def _word(pattern: str) -> str:
    """What a pattern says beside the id: `rgb` of `{id}_rgb.jpg` and of `rgb/{id}.png`."""
    return re.sub(r"\.\w+$", "", pattern.replace("{id}", "")).strip("_-./ ")
