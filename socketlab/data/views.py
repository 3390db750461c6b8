"""Who may see what: each part of an experiment gets the images, and only the labels, it may see.

A method's ``fit`` is handed `TargetImages` and `ImagePairs`, whose types hold no labels; the ids
of images hold no class either. Labels of the target are in `Evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from socketlab.data.manifest import Protocol, sensor_of
from socketlab.data.modality import PixelFormat, pixel_format
from socketlab.data.store import Store


@dataclass(frozen=True)
class Images:
    """Stored images: uint8 [N, H, W, 3], or uint8 / uint16 [N, H, W]; `ids` in row order."""

    raw: Tensor
    format: PixelFormat
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.raw):
            raise ValueError(f"{len(self.raw)} images but {len(self.ids)} ids.")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Images:
        """The same images on another device."""
        return replace(self, raw=self.raw.to(device))


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
class _Labelled:
    images: Images
    labels: Tensor
    classes: tuple[str, ...]
    domain: str


class SourceImages(_Labelled):
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


class Evaluation(_Labelled):
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


def open_views(store: Store, *, protocol: str, source: str, target: str) -> Views:
    """The views of `protocol` from domain `source` to domain `target`.

    Labels are indices into the protocol's task-relevant classes; rows are in sorted id order.
    Raises `UnknownName` for a protocol or a domain that the manifest does not have, ValueError
    where source and target are the same or where a view that a method cannot do without is empty.
    """
    rules = store.manifest.protocol(protocol)
    for domain in (source, target):
        store.manifest.domain(domain)
    if source == target:
        raise ValueError(f"Source and target are both {source!r}; name two different domains.")
    classes = rules.task_relevant

    def rows(domain: str, splits: Sequence[str]) -> pd.DataFrame:
        found = _select(store, domain, classes, splits)
        if found.empty:
            raise ValueError(
                f"Protocol {protocol!r} of data set {store.manifest.name!r} selects no image of "
                f"{domain} (splits {', '.join(splits)}). Change its classes or splits."
            )
        return found

    def labelled(kind: type[_Labelled], domain: str, splits: Sequence[str]) -> Callable[[], Any]:
        chosen = rows(domain, splits)
        index = {name: number for number, name in enumerate(classes)}
        labels = torch.tensor([index[name] for name in chosen["class"]], dtype=torch.int64)
        return lambda: kind(_images(store, domain, chosen), labels, classes, domain)

    partners = _partner_domains(store, source, target, sensor_of(target))
    adapted = rows(target, rules.adapt_splits)
    return Views(
        source=labelled(SourceImages, source, rules.source_splits),
        source_evaluation=labelled(Evaluation, source, rules.score_splits),
        target=lambda: TargetImages(_images(store, target, adapted), target),
        pairs=lambda: _task_irrelevant_pairs(store, rules, source, target),
        evaluation=labelled(Evaluation, target, rules.score_splits),
        target_labels=labelled(Evaluation, target, rules.adapt_splits),
        target_pairs=lambda: _pairs(store, partners, classes, rules.adapt_splits),
        evaluation_pairs=lambda: _pairs(store, partners, classes, rules.score_splits),
    )


def _select(
    store: Store, domain: str, classes: Sequence[str], splits: Sequence[str]
) -> pd.DataFrame:
    samples = store.samples
    chosen = (
        (samples["domain"] == domain)
        & samples["class"].isin(list(classes))
        & samples["split"].isin(list(splits))
    )
    return samples[chosen].sort_values("id", kind="stable")


def _images(store: Store, domain: str, rows: pd.DataFrame) -> Images:
    raw = torch.from_numpy(np.ascontiguousarray(store.array(domain)[rows["row"].to_numpy()]))
    return Images(raw, pixel_format(store.manifest.domain(domain)), tuple(rows["id"]))


def _partner_domains(store: Store, source: str, target: str, sensor: str) -> tuple[str, str] | None:
    """`sensor`'s domains of the modalities of source and target, where it has both."""
    domains = store.manifest.domains
    names = tuple(f"{sensor}/{domains[domain].modality}" for domain in (source, target))
    if names[0] == names[1] or any(name not in domains for name in names):
        return None
    return names[0], names[1]


def _pairs(
    store: Store,
    domains: tuple[str, str] | None,
    classes: Sequence[str],
    splits: Sequence[str],
) -> ImagePairs | None:
    if domains is None:
        return None
    halves = [_select(store, domain, classes, splits) for domain in domains]
    halves = [half[half["pair_id"] != ""].set_index("pair_id") for half in halves]
    shared = sorted(set(halves[0].index) & set(halves[1].index))
    if not shared:
        return None
    first, second = (
        _images(store, domain, half.loc[shared])
        for domain, half in zip(domains, halves, strict=True)
    )
    return ImagePairs(first, second, tuple(shared))


def _task_irrelevant_pairs(
    store: Store, rules: Protocol, source: str, target: str
) -> ImagePairs | None:
    sensors = store.manifest.sensors if rules.pair_sensors == "all" else (sensor_of(target),)
    found = [
        _pairs(
            store,
            _partner_domains(store, source, target, sensor),
            rules.task_irrelevant,
            rules.pair_splits,
        )
        for sensor in sensors
    ]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    return ImagePairs(
        _joined([part.source for part in parts]),
        _joined([part.target for part in parts]),
        tuple(pair_id for part in parts for pair_id in part.pair_ids),
    )


def _joined(parts: Sequence[Images]) -> Images:
    formats = {part.format for part in parts}
    if len(formats) > 1:
        raise ValueError(
            f"Pairs of all sensors cannot be joined, their pixel formats differ: "
            f"{sorted(map(str, formats))}. Give the domains one range, or set "
            "pair_sensors: target in the protocol."
        )
    raw = parts[0].raw if len(parts) == 1 else torch.cat([part.raw for part in parts])
    return Images(raw, parts[0].format, tuple(name for part in parts for name in part.ids))
