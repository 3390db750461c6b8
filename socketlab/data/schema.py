"""The schema of a manifest; ``manifest.py`` reads one from its file. Imports no torch."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Modality = Literal["rgb", "depth", "nir"]
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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Part):
    """One published file: where it is, how large it is and how to know that it is the right one."""

    url: str
    filename: str
    bytes: Annotated[int, Field(gt=0)] | None = None
    checksum: Annotated[
        str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|none published)$")
    ]


class ScenesLayout(_Part):
    """Rendered scenes: nothing to download. `counts` holds images per class, by role and split."""

    kind: Literal["scenes"]
    seed: int
    size: Annotated[int, Field(gt=0)]
    counts: dict[Literal["task_relevant", "task_irrelevant"], Counts]


class PairedFoldersLayout(_Part):
    """A folder per class; within it, one file per domain of a sensor shares one id.

    `patterns` gives, per domain, the file name within the class folder (``{id}_rgb.jpg``);
    `table` names a CSV file (columns id, class, split), without it every split is ``all``.
    """

    kind: Literal["paired_folders"]
    size: Annotated[int, Field(gt=0)]
    patterns: dict[str, str]
    table: str | None = None

    @field_validator("patterns")
    @classmethod
    def _one_id_each(cls, patterns: dict[str, str]) -> dict[str, str]:
        for domain, pattern in patterns.items():
            if pattern.count("{id}") != 1:
                raise ValueError(f"pattern {pattern!r} of {domain} must hold {{id}} exactly once")
        return patterns


NOT_STATED = "not stated"
"""What a manifest of one's own camera may leave out."""

Layout = Annotated[ScenesLayout | PairedFoldersLayout, Field(discriminator="kind")]


class Domain(_Part):
    """One sensor's images of one modality, as the published files hold them.

    ``value in unit = stored integer * scale``; `invalid` is the stored integer that means "no
    reading" (null where every pixel holds one); `range` is in the unit, so in metres for depth.
    """

    modality: Modality
    unit: str
    bits: Literal[8, 16]
    scale: Annotated[float, Field(gt=0)] = 1.0
    invalid: int | None = None
    range: tuple[float, float]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 <= self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} must satisfy 0 <= min < max")
        if self.modality == "depth" and self.unit != "metre":
            raise ValueError(f"unit {self.unit!r} of a depth domain must be 'metre'")
        if self.modality == "rgb" and self.bits != 8:
            raise ValueError("rgb domains hold 8 bits a channel; found bits: 16")
        if self.invalid is not None and self.modality == "rgb":
            raise ValueError("rgb domains have no invalid value; leave it out")
        return self


class Classes(_Part):
    """The classes to recognise and the classes that only serve as pairs."""

    task_relevant: Annotated[Names, Field(min_length=1)]
    task_irrelevant: Names = ()


class Protocol(_Part):
    """Which classes and which splits play which part. Class lists default to the manifest's.

    `pair_sensors`: TI pairs come from the target's sensor, or from every sensor that has both
    modalities.
    """

    description: str
    task_relevant: Annotated[Names, Field(min_length=1)]
    task_irrelevant: Names
    source_splits: Annotated[Names, Field(min_length=1)]
    adapt_splits: Annotated[Names, Field(min_length=1)]
    score_splits: Annotated[Names, Field(min_length=1)]
    pair_splits: Names = ()
    pair_sensors: Literal["target", "all"] = "target"


class Manifest(BaseModel):
    """All that the project knows about one data set; see `load_manifest`."""

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
    expected: dict[str, dict[str, Counts]]

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
        for name, domain in self.domains.items():
            if sensor_of(name) + "/" + domain.modality != name:
                raise ValueError(f"domains: {name!r} must be named <sensor>/{domain.modality}")
        _same("expected", self.expected, "domains", self.domains)
        if isinstance(self.layout, PairedFoldersLayout):
            _same("layout.patterns", self.layout.patterns, "domains", self.domains)
        for domain_name, counts in self.expected.items():
            _within(f"expected.{domain_name}", counts, "class", known)
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
        """Every split that the expected counts name, sorted."""
        return tuple(
            sorted({s for by in self.expected.values() for counts in by.values() for s in counts})
        )

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
