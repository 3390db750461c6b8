"""From prepared images to the views of them that a protocol allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from socketlab.data.manifest import Protocol, sensor_of
from socketlab.data.modality import pixel_format
from socketlab.data.store import Store
from socketlab.data.views import (
    Evaluation,
    ImagePairs,
    Images,
    Labelled,
    SourceImages,
    TargetImages,
    Views,
)


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

    def labelled(kind: type[Labelled], domain: str, splits: Sequence[str]) -> Callable[[], Any]:
        chosen = rows(domain, splits)
        index = {name: number for number, name in enumerate(classes)}
        labels = torch.tensor([index[name] for name in chosen["class"]], dtype=torch.int64)
        return lambda: kind(stored_images(store, domain, chosen), labels, classes, domain)

    partners = _partner_domains(store, source, target, sensor_of(target))
    adapted = rows(target, rules.adapt_splits)
    return Views(
        source=labelled(SourceImages, source, rules.source_splits),
        source_evaluation=labelled(Evaluation, source, rules.score_splits),
        target=lambda: TargetImages(stored_images(store, target, adapted), target),
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


def stored_images(store: Store, domain: str, rows: pd.DataFrame) -> Images:
    """The images of a domain that `rows` of the store's samples name, in that order."""
    raw = torch.from_numpy(np.ascontiguousarray(store.array(domain)[rows["row"].to_numpy()]))
    return Images(raw, pixel_format(store.manifest.domain(domain)), tuple(rows["id"]))


def by_pair(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The samples of both domains whose pair both have, by pair id and sorted by it."""
    halves = [half[half["pair_id"] != ""].set_index("pair_id") for half in (first, second)]
    shared = sorted(set(halves[0].index) & set(halves[1].index))
    return halves[0].loc[shared], halves[1].loc[shared]


def stored_pairs(
    store: Store, domains: tuple[str, str], first: pd.DataFrame, second: pd.DataFrame
) -> ImagePairs:
    """The images of two domains whose samples, as `by_pair` gives them, are partners."""
    halves = zip(domains, (first, second), strict=True)
    images = [stored_images(store, domain, half) for domain, half in halves]
    return ImagePairs(images[0], images[1], tuple(first.index))


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
    first, second = by_pair(*(_select(store, domain, classes, splits) for domain in domains))
    return stored_pairs(store, domains, first, second) if len(first) else None


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
