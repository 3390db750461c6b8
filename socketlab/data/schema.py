"""The schema of a manifest; ``manifest.py`` reads one from its file. Imports no torch."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from socketlab.data.domain_schema import Domain, Frozen
from socketlab.data.layout_schema import (
    Layout,
    PairedFoldersLayout,
)

Counts = dict[str, Annotated[int, Field(ge=0)]]
Names = tuple[str, ...]
Say = Callable[[str], None]
"""Hears one line per stage of a long piece of work."""
Progress = Callable[[int, int], None]
"""Hears (done, in all)."""


class UnknownName(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """A name that nothing answers to; the message lists the known ones."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(names) or "none"
        super().__init__(f"Unknown {kind} {str(name)!r}. Known: {listed}.{hint}")


class Archive(Frozen):
    """One published file: where it is, how large it is and how to know that it is the right one.

    `manual` says what a person must click where no program may download it; `url` is then the page.
    """

    url: str
    filename: str
    bytes: Annotated[int, Field(gt=0)] | None = None
    checksum: Annotated[
        str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|none published)$")
    ]
    manual: str | None = None


NOT_STATED = "not stated"
"""What a manifest of one's own camera may leave out."""

UNLABELLED = "unlabelled"
"""The class of images that nobody has named: adapted on, never scored."""


class Classes(Frozen):
    """The classes to recognise and the classes that only serve as pairs."""

    task_relevant: Annotated[Names, Field(min_length=1)]
    task_irrelevant: Names = ()


class Protocol(Frozen):
    """Which classes and which splits play which part. Class lists default to the manifest's.

    `pair_sensors`: TI pairs come from the target's sensor, or from every sensor that has both
    modalities. `pairs_from` names another data set whose TI pairs are used instead of one's own.
    """

    description: str
    task_relevant: Annotated[Names, Field(min_length=1)]
    task_irrelevant: Names
    source_splits: Annotated[Names, Field(min_length=1)]
    adapt_splits: Annotated[Names, Field(min_length=1)]
    score_splits: Annotated[Names, Field(min_length=1)]
    pair_splits: Names = ()
    pair_sensors: Literal["target", "all"] = "target"
    pairs_from: str | None = None


class Manifest(BaseModel):
    """All that the project knows about one data set; see `load_manifest`.

    `overlaps`: data sets that hold some of the same images, each with a sentence on which.
    `expected`: how many images per domain, class and split; left out where nobody has published
    the numbers, and then nothing is checked. `unknown_labels`: by sensor, how many more images a
    domain may have, for their classes were not known when `expected` was written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    title: str = NOT_STATED
    citation: str = NOT_STATED
    licence: str = NOT_STATED
    terms: str = NOT_STATED
    homepage: str = NOT_STATED
    archives: list[Archive] = []
    layout: Layout
    domains: Annotated[dict[str, Domain], Field(min_length=1)]
    classes: Classes
    protocols: Annotated[dict[str, Protocol], Field(min_length=1)]
    expected: dict[str, dict[str, Counts]] = {}
    unknown_labels: Counts = {}
    overlaps: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _protocols_inherit_classes(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        classes, protocols = raw.get("classes"), raw.get("protocols")
        if not isinstance(classes, dict) or not isinstance(protocols, dict):
            return raw
        inherited = {"task_irrelevant": [], **classes}
        filled = {
            key: {**inherited, **protocol} if isinstance(protocol, dict) else protocol
            for key, protocol in protocols.items()
        }
        return {**raw, "protocols": filled}

    @model_validator(mode="after")
    def _names_refer(self) -> Self:
        known = set(self.class_names)
        if len(known) != len(self.class_names):
            raise ValueError("classes: a class is listed twice")
        if UNLABELLED in known:
            raise ValueError(f"classes: {UNLABELLED!r} is the name of no class; leave it out")
        for name, domain in self.domains.items():
            if sensor_of(name) + "/" + domain.modality != name:
                raise ValueError(f"domains: {name!r} must be named <sensor>/{domain.modality}")
        if self.expected:
            _same("expected", self.expected, "domains", self.domains)
        _within("unknown_labels", self.unknown_labels, "sensor", set(self.sensors))
        if isinstance(self.layout, PairedFoldersLayout):
            patterns = {name for part in self.layout.parts for name in part.patterns}
            _same("layout.parts.patterns", patterns, "domains", self.domains)
        for domain_name, counts in self.expected.items():
            _within(f"expected.{domain_name}", counts, "class", known | {UNLABELLED})
        for name, protocol in self.protocols.items():
            key = f"protocols.{name}"
            _within(f"{key}.task_relevant", protocol.task_relevant, "class", known)
            _within(f"{key}.task_irrelevant", protocol.task_irrelevant, "class", known)
            shared = set(protocol.task_relevant) & set(protocol.task_irrelevant)
            if shared:
                raise ValueError(f"{key}: both task relevant and irrelevant: {sorted(shared)}")
            for part in ("source_splits", "adapt_splits", "score_splits", "pair_splits"):
                _within(f"{key}.{part}", getattr(protocol, part), "split", set(self.splits))
        return self

    @property
    def class_names(self) -> Names:
        """Every class, task-relevant ones first, in the manifest's order."""
        return self.classes.task_relevant + self.classes.task_irrelevant

    @property
    def splits(self) -> Names:
        """Every split that the expected counts or the parts of the layout name, sorted."""
        splits = {s for by in self.expected.values() for counts in by.values() for s in counts}
        if isinstance(self.layout, PairedFoldersLayout):
            splits |= {s for part in self.layout.parts for s in part.splits}
        return tuple(sorted(splits))

    @property
    def sensors(self) -> Names:
        """Every sensor, in the order of its first domain."""
        return tuple(dict.fromkeys(sensor_of(name) for name in self.domains))

    def domain(self, name: str) -> Domain:
        """The domain called `name`; raises `UnknownName`."""
        if name not in self.domains:
            raise UnknownName(f"domain of data set {self.name!r}", name, self.domains)
        return self.domains[name]

    def protocol(self, name: str) -> Protocol:
        """The protocol called `name`; raises `UnknownName`."""
        if name not in self.protocols:
            raise UnknownName(f"protocol of data set {self.name!r}", name, self.protocols)
        return self.protocols[name]

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of everything that the manifest says."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def sensor_of(domain: str) -> str:
    """The sensor of a domain: ``kv1`` of ``kv1/depth``."""
    return domain.rpartition("/")[0]


def _within(key: str, names: Iterable[str], kind: str, known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: {UnknownName(kind, name, known)}")


def _same(key: str, names: Iterable[str], other_key: str, others: Iterable[str]) -> None:
    difference = set(names) ^ set(others)
    if difference:
        raise ValueError(f"{key} and {other_key} must name the same; differ: {sorted(difference)}")
