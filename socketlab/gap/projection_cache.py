"""Projections kept on disk: one .npz each, named by a hash of the features and settings."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Quality: TypeAlias = tuple[float, float, float]  # trustworthiness, neighbour agreement, seconds


def cache_file(
    folder: Path,
    features: Mapping[str, npt.NDArray[np.float32]],
    kept: Mapping[str, npt.NDArray[np.int64]],
    settings: Mapping[str, int | str],
) -> Path:
    """Where a fit of these features with these settings is kept: sha256 of all bytes of both."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for name, rows in features.items():
        digest.update(json.dumps([name, rows.shape, len(kept[name])]).encode())
        digest.update(rows.tobytes())
        digest.update(kept[name].tobytes())
    return folder / f"projection-{digest.hexdigest()}.npz"


def read_cache(
    file: Path, kept: Mapping[str, npt.NDArray[np.int64]], *, say: Callable[[str], None]
) -> tuple[npt.NDArray[np.float32], Quality] | None:
    """The stored plane [n, 2] and its quality, or None where there is none that can be read."""
    if not file.is_file():
        return None
    try:
        # Opened here: np.load leaves the file open when what it finds is no archive.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            plane = np.asarray(stored["plane"], dtype=np.float32)
            trustworthiness, agreement, seconds = (float(v) for v in stored["quality"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        say(f"The cached projection {file.name} cannot be read ({problem}): fitting anew.")
        return None
    expected = (sum(len(rows) for rows in kept.values()), 2)
    if plane.shape != expected:
        say(f"The cached projection {file.name} has shape {plane.shape}: fitting anew.")
        return None
    say(f"Coordinates read from the cache ({file.name}).")
    return plane, (trustworthiness, agreement, seconds)


def write_cache(file: Path, plane: npt.NDArray[np.float32], quality: Quality) -> None:
    """Store a plane so that a reader sees the whole file or none: temporary name, then rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, plane=plane, quality=np.array(quality, dtype=np.float64))
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
