"""The files of a store: what they are called, what they hold, how they are written whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.threads import cores, in_threads

STORE_VERSION = 1
SAMPLES_FILE = "samples.parquet"


def array_file(domain: str) -> str:
    """The name of the file that holds a domain's images."""
    return domain.replace("/", "_") + ".npy"


def dtype_of(domain: Domain) -> type[np.uint8] | type[np.uint16]:
    """What a domain's images are kept as: depth in millimetres takes 16 bits."""
    return np.uint16 if domain.modality == "depth" or domain.bits == 16 else np.uint8


def sha256_of(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, files: Sequence[str]) -> dict[str, str | None]:
    """SHA-256 of each file in `folder`; None where there is none."""

    def checksum(name: str) -> str | None:
        path = folder / name
        return sha256_of(path) if path.is_file() else None

    return dict(zip(files, in_threads(checksum, files, at_once=cores()), strict=True))


def damaged_files(folder: Path) -> list[str]:
    """Files of a store that are gone, or are not as its ``store.json`` says they were written."""
    try:
        written = json.loads((folder / "store.json").read_text())["sha256"]
        found = checksums(folder, list(written))
        return [name for name in written if found[name] != written[name]]
    except (ValueError, LookupError, TypeError):
        return ["store.json"]


def library_versions() -> dict[str, str]:
    """Releases of the libraries that decide what the pixels become."""
    return {name: version(name) for name in ("numpy", "pandas", "pillow", "scipy", "torch")}


def open_array(
    folder: Path, domain: str, mode: Literal["r", "r+"]
) -> np.memmap[Any, np.dtype[Any]]:
    """A domain's images, mapped into memory to look at (``r``) or to write into (``r+``)."""
    array: np.memmap[Any, np.dtype[Any]] = np.load(folder / array_file(domain), mmap_mode=mode)
    return array
