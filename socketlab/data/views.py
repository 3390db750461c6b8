"""Who may see what: each part of an experiment gets the images, and only the labels, it may see.

A method's ``fit`` is handed `TargetImages` and `ImagePairs`, whose types hold no labels; the ids
of images hold no class either. Labels of the target are in `Evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, cast

import torch
from torch import Tensor

from socketlab.data.free_memory import in_words
from socketlab.data.modality import PixelFormat
from socketlab.data.placing import Raw, chosen, placed
from socketlab.data.streaming import Streamed


@dataclass(frozen=True)
class Images:
    """Stored images: uint8 [N, H, W, 3], or uint8 / uint16 [N, H, W]; `ids` in row order.

    What does not fit where it is needed is streamed (`data/streaming.py`): `raw` is then no tensor,
    and gives one when it is indexed.
    """

    raw: Raw
    format: PixelFormat
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.raw):
            raise ValueError(f"{len(self.raw)} images but {len(self.ids)} ids.")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Images:
        """The same images on another device, or streamed to it where they do not fit."""
        return replace(self, raw=placed(self.raw, device))

    @property
    def where(self) -> str:
        """How many there are, where, and why not there: `1,449 images (68 MiB) on cuda`."""
        said = f"{len(self):,} images ({in_words(self.raw.nbytes)})"
        if isinstance(self.raw, Streamed):
            return f"{said} streamed to {self.raw.device.type}: {self.raw.reason}"
        return f"{said} on {self.raw.device.type}"

    def rows(self, index: Tensor) -> Images:
        """The images at `index` [n], in that order."""
        ids = tuple(self.ids[row] for row in index.tolist())
        return replace(self, raw=chosen(self.raw, index), ids=ids)


class Forbidden(AttributeError):  # noqa: N818 - reads as the thing found
    """Something was asked of a view that must not tell it, a label above all."""


class _Unlabelled:
    """A view that says what it may not be asked for, instead of only not having it."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # what copying and pickling look for
            raise AttributeError(name)
        raise Forbidden(
            f"{type(self).__name__} has no {name!r}: a method sees images and TI pairs, never a "
            "label of the target. An upper reference is given the views; see methods/base.py."
        )


@dataclass(frozen=True)
class Labelled:
    """Images of one domain with the class of each; what may hold them says which."""

    images: Images
    labels: Tensor
    classes: tuple[str, ...]
    domain: str

    def rows(self, index: Tensor) -> Self:
        """The images at `index` [n] with their labels, in that order."""
        return replace(self, images=self.images.rows(index), labels=self.labels[index])

    def by_id(self) -> dict[str, int]:
        """The class index of every image, by its id."""
        return dict(zip(self.images.ids, self.labels.tolist(), strict=True))

    def names_of(self, ids: Iterable[str]) -> list[str]:
        """The class names of the images with these ids."""
        known = self.by_id()
        return [self.classes[known[name]] for name in ids]


class SourceImages(Labelled):
    """Labelled TR images of the source domain, for training the source model alone.

    `labels`: int64 [N], indices into `classes`.
    """


@dataclass(frozen=True)
class TargetImages(_Unlabelled):
    """TR images of the target domain, without labels."""

    images: Images
    domain: str


@dataclass(frozen=True)
class ImagePairs(_Unlabelled):
    """Pairs: row i of `source` and row i of `target` show the same thing. No labels."""

    source: Images
    target: Images
    pair_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pair_ids)

    def to(self, device: torch.device | str) -> ImagePairs:
        """The same pairs on another device."""
        return replace(self, source=self.source.to(device), target=self.target.to(device))

    def rows(self, index: Tensor) -> ImagePairs:
        """The pairs at `index` [n], in that order."""
        ids = tuple(self.pair_ids[row] for row in index.tolist())
        return ImagePairs(self.source.rows(index), self.target.rows(index), ids)


class Evaluation(Labelled):
    """Labelled images to score on; only the loop's scoring hook and reference rows hold them.

    `labels`: int64 [N], indices into `classes`.
    """


class Views:
    """Everything one experiment may look at, each part in a type of its own.

    A part's pixels are read when it is first asked for, and never before: once the source model
    is trained, nothing reads `source` or `source_evaluation` again, and their pixels may be gone.

    Args:
        parts: by name, a value or a function that gives it.
    """

    def __init__(self, **parts: Any) -> None:
        self._parts = parts

    def _part(self, name: str) -> Any:
        if callable(self._parts[name]):
            self._parts[name] = self._parts[name]()
        return self._parts[name]

    def replaced(self, **parts: Any) -> Views:
        """The same views with other parts."""
        return Views(**{**self._parts, **parts})

    @property
    def source(self) -> SourceImages:
        """Labelled RGB, for training the source model alone."""
        return cast(SourceImages, self._part("source"))

    @property
    def source_evaluation(self) -> Evaluation:
        """The score splits of the source domain."""
        return cast(Evaluation, self._part("source_evaluation"))

    @property
    def target(self) -> TargetImages:
        """The adapted-on images of the target domain."""
        return cast(TargetImages, self._part("target"))

    @property
    def pairs(self) -> ImagePairs | None:
        """TI pairs, None where the data set has none."""
        return cast(ImagePairs | None, self._part("pairs"))

    @property
    def evaluation(self) -> Evaluation:
        """The score splits of the target domain."""
        return cast(Evaluation, self._part("evaluation"))

    @property
    def target_labels(self) -> Evaluation:
        """The adapted-on images with labels, for `oracle_labels` alone."""
        return cast(Evaluation, self._part("target_labels"))

    @property
    def target_pairs(self) -> ImagePairs | None:
        """The adapted-on images with their RGB partners, for `oracle_pairs` alone."""
        return cast(ImagePairs | None, self._part("target_pairs"))

    @property
    def evaluation_pairs(self) -> ImagePairs | None:
        """TR pairs of the score splits, for measuring the gap afterwards."""
        return cast(ImagePairs | None, self._part("evaluation_pairs"))
