"""What the cameras saw: manifests, prepared images, and views that say who may see what."""

from socketlab.data.manifest import (
    Manifest,
    ManifestError,
    Modality,
    UnknownName,
    describe,
    known_manifests,
    load_manifest,
)

__all__ = [
    "Manifest",
    "ManifestError",
    "Modality",
    "UnknownName",
    "describe",
    "known_manifests",
    "load_manifest",
]
