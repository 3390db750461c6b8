"""From prepared images to the views of them that a protocol allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from socketlab.data.encoded import encoded_array
from socketlab.data.encoding_names import Encoding, check_encoding
from socketlab.data.manifest import Protocol, sensor_of
from socketlab.data.overlaps import check_overlap
from socketlab.data.placing import joined, mapped
from socketlab.data.schema import UNLABELLED
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


def open_views(
    store: Store,
    *,
    protocol: str,
    source: str,
    target: str,
    pair_store: Store | None = None,
    encoding: Encoding = "replicate",
) -> Views:
    """The views of `protocol` from domain `source` to domain `target`.

    Labels are indices into the protocol's task-relevant classes; rows are in sorted id order.
    Images that nobody has named (class `unlabelled`) are adapted on with the others and never
    scored: where there are some, `evaluation` may hold no image at all. `pair_store` holds the
    data set that the protocol takes its TI pairs from, if it says `pairs_from`; `source` may then
    be a domain of that one, of which nothing but the pairs is seen. `encoding` is what
    the target's images will be asked for (`to_unit`); the source's are always as they are.

    Raises `UnknownName` for a protocol or a domain that the manifest does not have, ValueError
    where source and target are the same, where there is nothing to adapt on or to score, and
    where `pair_store` is not what the protocol says. `source` raises it when it is asked for.
    Raises `ImpossibleEncoding` for an encoding that the target's images cannot have.
    """
    rules = store.manifest.protocol(protocol)
    names = store.manifest.domains
    store.manifest.domain(target)
    if pair_store is None or source not in pair_store.manifest.domains:
        store.manifest.domain(source)
    if source == target:
        raise ValueError(f"Source and target are both {source!r}; name two different domains.")
    check_encoding(encoding, target, store.manifest.domain(target))
    classes = rules.task_relevant

    def check(domain: str, splits: Sequence[str], found: pd.DataFrame) -> pd.DataFrame:
        if found.empty:
            raise ValueError(
                f"Protocol {protocol!r} of data set {store.manifest.name!r} selects no image of "
                f"{domain} (splits {', '.join(splits)}). Change its classes or splits."
            )
        return found

    def labelled(kind: type[Labelled], domain: str, splits: Sequence[str]) -> Callable[[], Any]:
        chosen = _select(store, domain, classes, splits)
        index = {name: number for number, name in enumerate(classes)}
        labels = torch.tensor([index[name] for name in chosen["class"]], dtype=torch.int64)
        made: Encoding = encoding if domain == target else "replicate"
        home = pair_store if pair_store is not None and domain not in names else store
        return lambda: kind(stored_images(home, domain, chosen, made), labels, classes, domain)

    def source_images() -> Any:
        # not before it is asked for: who brings a source model needs none of its images
        check(source, rules.source_splits, _select(store, source, classes, rules.source_splits))
        return labelled(SourceImages, source, rules.source_splits)()

    adapted = _select(store, target, (*classes, UNLABELLED), rules.adapt_splits)
    check(target, rules.adapt_splits, adapted)
    if not (adapted["class"] == UNLABELLED).any():
        scored = _select(store, target, classes, rules.score_splits)
        check(target, rules.score_splits, scored)
    _check_pair_store(store, rules, pair_store)
    partners = _partner_domains(store, source, target, sensor_of(target))
    return Views(
        source=source_images,
        source_evaluation=labelled(Evaluation, source, rules.score_splits),
        target=lambda: TargetImages(stored_images(store, target, adapted, encoding), target),
        pairs=lambda: _task_irrelevant_pairs(store, rules, source, target, pair_store, encoding),
        evaluation=labelled(Evaluation, target, rules.score_splits),
        target_labels=labelled(Evaluation, target, rules.adapt_splits),
        target_pairs=lambda: _pairs(store, partners, classes, rules.adapt_splits, encoding),
        evaluation_pairs=lambda: _pairs(store, partners, classes, rules.score_splits, encoding),
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


def stored_images(
    store: Store, domain: str, rows: pd.DataFrame, encoding: Encoding = "replicate"
) -> Images:
    """The images of a domain that `rows` of the store's samples name, in that order.

    They can be asked for `encoding` then; raises as `encoded_array` does. More than fit into
    memory stay in their file.
    """
    array, pixels = encoded_array(store, domain, encoding)
    return Images(mapped(array, rows["row"].to_numpy()), pixels, tuple(rows["id"]))


def by_pair(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The samples of both domains whose pair both have, by pair id and sorted by it."""
    halves = [half[half["pair_id"] != ""].set_index("pair_id") for half in (first, second)]
    shared = sorted(set(halves[0].index) & set(halves[1].index))
    return halves[0].loc[shared], halves[1].loc[shared]


def stored_pairs(
    store: Store,
    domains: tuple[str, str],
    first: pd.DataFrame,
    second: pd.DataFrame,
    encoding: Encoding = "replicate",
) -> ImagePairs:
    """The images of two domains whose samples, as `by_pair` gives them, are partners.

    `encoding` is of the second half.
    """
    images = stored_images(store, domains[0], first)
    encoded = stored_images(store, domains[1], second, encoding)
    return ImagePairs(images, encoded, tuple(first.index))


def _partner_domains(store: Store, source: str, target: str, sensor: str) -> tuple[str, str] | None:
    """`sensor`'s domains of the modalities of source and target, where it has both."""
    # a domain is named <sensor>/<modality>
    first, second = (f"{sensor}/{domain.rpartition('/')[2]}" for domain in (source, target))
    if first == second or not {first, second} <= store.manifest.domains.keys():
        return None
    return first, second


def _pairs(
    store: Store,
    domains: tuple[str, str] | None,
    classes: Sequence[str],
    splits: Sequence[str],
    encoding: Encoding,
) -> ImagePairs | None:
    if domains is None:
        return None
    first, second = by_pair(*(_select(store, domain, classes, splits) for domain in domains))
    return stored_pairs(store, domains, first, second, encoding) if len(first) else None


def _check_pair_store(store: Store, rules: Protocol, pair_store: Store | None) -> None:
    given = None if pair_store is None else pair_store.manifest.name
    if given != rules.pairs_from:
        raise ValueError(
            f"The protocol takes its TI pairs from {rules.pairs_from or 'its own data set'!r}, "
            f"but pair_store holds {given or 'nothing'!r}. Give open_views the prepared store of "
            "that data set, or change pairs_from."
        )
    if pair_store is None:
        return
    check_overlap(store.manifest, pair_store.manifest)
    if pair_store.size != store.size:
        raise ValueError(
            f"TI pairs of {given!r} are prepared at {pair_store.size} px, the images of "
            f"{store.manifest.name!r} at {store.size} px. Prepare both at one size."
        )


def _task_irrelevant_pairs(
    store: Store,
    rules: Protocol,
    source: str,
    target: str,
    pair_store: Store | None,
    encoding: Encoding,
) -> ImagePairs | None:
    if pair_store is None:
        sensors = store.manifest.sensors if rules.pair_sensors == "all" else (sensor_of(target),)
        classes, splits = rules.task_irrelevant, rules.pair_splits
    else:
        # another camera's data: its own classes, and no split of it means anything here
        store, manifest = pair_store, pair_store.manifest
        sensors = manifest.sensors
        classes, splits = manifest.classes.task_irrelevant, tuple(store.samples["split"].unique())
    found = [
        _pairs(store, _partner_domains(store, source, target, sensor), classes, splits, encoding)
        for sensor in sensors
    ]
    parts = [part for part in found if part is not None]
    if not parts and pair_store is not None:
        modalities = " and ".join(domain.rpartition("/")[2] for domain in (source, target))
        raise ValueError(
            f"Data set {store.manifest.name!r} (pairs_from) has no task-irrelevant pair of "
            f"{modalities}. Name another data set, or leave pairs_from out."
        )
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
    raw = joined([part.raw for part in parts])
    return Images(raw, parts[0].format, tuple(name for part in parts for name in part.ids))
