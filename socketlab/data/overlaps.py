"""Data sets that hold some of the same images: what is trained on one is no test of the other."""

from __future__ import annotations

from pathlib import Path

from socketlab.data.manifest import Manifest, UnknownName, load_manifest


def check_overlap(first: Manifest | str, second: Manifest | str) -> None:
    """Refuse two data sets of which one holds images of the other.

    It is enough that one manifest says so, in `overlaps`. A data set and itself are no overlap:
    there the protocol keeps apart what must be. A name (or path) without a manifest here, as in
    the card of a model that was handed on, is known by what the other manifest says of it.

    Raises:
        ValueError: naming both data sets, what they share, and what to do.
        ManifestError: if a manifest that is here cannot be read.
    """
    one, other = _named(first), _named(second)
    if one[0] == other[0]:
        return
    for (name, manifest), (partner, _) in ((one, other), (other, one)):
        if manifest is not None and partner in manifest.overlaps:
            raise ValueError(
                f"Data sets {one[0]!r} and {other[0]!r} share images; the manifest of {name!r} "
                f"says of {partner!r}: {manifest.overlaps[partner]}. What was trained on one may "
                "have seen what is scored on the other. Take another data set for one of them."
            )


def _named(one: Manifest | str) -> tuple[str, Manifest | None]:
    """The name of a data set, and its manifest where there is one."""
    if isinstance(one, Manifest):
        return one.name, one
    path = Path(one)
    if path.suffix in (".yaml", ".yml") and not path.is_file():
        return path.stem, None
    try:
        manifest = load_manifest(one)
    except UnknownName:
        return one, None
    return manifest.name, manifest
