"""A manifest: one YAML file in ``data_manifests/`` that says all about a data set.

Nothing here imports torch, so that ``socketlab data info`` answers at once.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from socketlab.data.domain_schema import Domain, Modality
from socketlab.data.layout_schema import PairedFoldersLayout, ScenesLayout
from socketlab.data.schema import (
    Archive,
    Classes,
    Counts,
    Manifest,
    Protocol,
    UnknownName,
    sensor_of,
)

__all__ = [
    "Archive",
    "Classes",
    "CountRow",
    "Counts",
    "Domain",
    "Manifest",
    "ManifestError",
    "Modality",
    "PairedFoldersLayout",
    "Protocol",
    "ScenesLayout",
    "UnknownName",
    "describe",
    "known_manifests",
    "load_manifest",
    "sensor_of",
]

MANIFEST_FOLDER = "data_manifests"


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file and the keys."""


class _Loader(yaml.SafeLoader):
    """Plain YAML, except that a key written twice is an error: YAML itself keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is written twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _folders() -> list[Path]:
    beside_package = Path(__file__).resolve().parents[2]
    return [folder / MANIFEST_FOLDER for folder in (Path.cwd(), beside_package)]


def _known_files() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return files


def known_manifests() -> list[str]:
    """Names of the manifests in ``data_manifests/`` of the working folder and the project."""
    return sorted(_known_files())


def load_manifest(name_or_path: str | Path) -> Manifest:
    """The manifest of that name in ``data_manifests/``, or the one in that file.

    Raises `UnknownName` for a name without a file, `ManifestError` (naming file and key) for a
    file that does not exist, is not YAML or does not follow the schema.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")):
        return _read(Path(name_or_path))
    files = _known_files()
    if text not in files:
        raise UnknownName("data set", text, files)
    manifest = _read(files[text])
    if manifest.name != text:
        raise ManifestError(
            f"{files[text]}: name: found {manifest.name!r}; write {text!r}, as the file is named."
        )
    return manifest


def _read(path: Path) -> Manifest:
    if not path.is_file():
        raise ManifestError(
            f"{path}: no such file. Known data sets: {', '.join(known_manifests())}."
        )
    return _parsed(path, path.read_bytes())


@functools.lru_cache(maxsize=16)
def _parsed(path: Path, content: bytes) -> Manifest:
    """The manifest that a file holds; a sweep asks for the same one hundreds of times."""
    try:
        raw = yaml.load(content.decode(), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: not readable as YAML: {error}") from error
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        lines = [_sentence(str(path), problem) for problem in error.errors()]
        raise ManifestError("\n".join(lines)) from error


def _sentence(path: str, problem: Any) -> str:
    place: Sequence[int | str] = problem["loc"]
    key = ".".join(str(part) for part in place)
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = problem["input"]
    shown = f" (found {found!r})" if isinstance(found, str | int | float) else ""
    return f"{path}: {key + ': ' if key else ''}{message}{shown}"


@dataclass(frozen=True)
class CountRow:
    """How many images of one class one domain holds in one split, as the manifest says."""

    domain: str
    class_name: str
    role: Literal["task_relevant", "task_irrelevant"]
    split: str
    images: int


def describe(manifest: Manifest) -> list[CountRow]:
    """The expected counts as rows, in the manifest's order of domains and classes."""
    relevant = set(manifest.classes.task_relevant)
    return [
        CountRow(
            domain,
            name,
            "task_relevant" if name in relevant else "task_irrelevant",
            split,
            manifest.expected[domain][name][split],
        )
        for domain in manifest.domains
        for name in manifest.class_names
        for split in sorted(manifest.expected.get(domain, {}).get(name, {}))
    ]
