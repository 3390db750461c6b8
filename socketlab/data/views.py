"""Who may see what: each part of an experiment gets the images, and only the labels, it may see.

A method's ``fit`` is handed `TargetImages` and `ImagePairs`, whose types hold no labels; the ids
of images hold no class either. Labels of the target are in `Evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class TargetImages:
    """TR images of the target domain, without labels."""

    images: Images
    domain: str


@dataclass(frozen=True)
class ImagePairs:
    """Pairs: row i of `source` and row i of `target` show the same thing. No labels."""

    source: Images
    target: Images
    pair_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pair_ids)


class Evaluation(_Labelled):
    """Labelled images to score on; only the loop's scoring hook and reference rows hold them.

    `labels`: int64 [N], indices into `classes`.
    """


@dataclass(frozen=True)
class Views:
    """Everything one experiment may look at, each part in a type of its own.

    `source_evaluation` and `evaluation`: the score splits of the source and the target domain.
    `pairs`: TI pairs, None where the data set has none. `target_labels`: the adapted-on images
    with labels, for ``oracle_labels`` alone. `evaluation_pairs`: TR pairs of the score splits, for
    measuring the gap afterwards, None where no partners exist.
    """

    source: SourceImages
    source_evaluation: Evaluation
    target: TargetImages
    pairs: ImagePairs | None
    evaluation: Evaluation
    target_labels: Evaluation
    evaluation_pairs: ImagePairs | None


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

    def labelled(domain: str, splits: Sequence[str]) -> tuple[Images, Tensor]:
        rows = _select(store, domain, rules.task_relevant, splits)
        if rows.empty:
            raise ValueError(
                f"Protocol {protocol!r} of data set {store.manifest.name!r} selects no image of "
                f"{domain} (splits {', '.join(splits)}). Change its classes or splits."
            )
        index = {name: number for number, name in enumerate(rules.task_relevant)}
        labels = torch.tensor([index[name] for name in rows["class"]], dtype=torch.int64)
        return _images(store, domain, rows), labels

    classes = rules.task_relevant
    partners = _partner_domains(store, source, target, sensor_of(target))
    adapt_images, adapt_labels = labelled(target, rules.adapt_splits)
    return Views(
        source=SourceImages(*labelled(source, rules.source_splits), classes, source),
        source_evaluation=Evaluation(*labelled(source, rules.score_splits), classes, source),
        target=TargetImages(adapt_images, target),
        pairs=_task_irrelevant_pairs(store, rules, source, target),
        evaluation=Evaluation(*labelled(target, rules.score_splits), classes, target),
        target_labels=Evaluation(adapt_images, adapt_labels, classes, target),
        evaluation_pairs=_pairs(store, partners, classes, rules.score_splits),
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
