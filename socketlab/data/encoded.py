"""Arrays that are made of a store's, once, and kept beside them: the encoding `hha`.

Such an array is ``<domain>_hha-<12 hexadecimal digits>.npy`` in the store's folder, uint8
[N, S, S, 3], row by row of the domain's own. The digits depend on the camera, the range and the
version of the encoding, so that another camera in the manifest makes another array.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from socketlab.data.encoding_names import HHA_VERSION, Encoding, check_encoding
from socketlab.data.hha import at_size, hha
from socketlab.data.layouts.threads import in_threads
from socketlab.data.manifest import Domain
from socketlab.data.modality import HHA_FORMAT, PixelFormat, pixel_format
from socketlab.data.schema import Progress, Say
from socketlab.data.store import Store

PIXELS_AT_ONCE = 2**16
BATCHES_AT_ONCE = 32

Memmap = np.memmap[Any, np.dtype[Any]]


def encoded_array(
    store: Store,
    name: str,
    encoding: Encoding = "replicate",
    *,
    say: Say | None = None,
    progress: Progress | None = None,
) -> tuple[Memmap, PixelFormat]:
    """A domain's images as `Images` hold them under an encoding, and what their integers mean.

    All encodings but ``hha`` are made of batches (`to_unit`), so theirs is the store's own array.
    That of ``hha`` is made now if it is not there: on the CPU, so that its bytes do not depend on
    the machine's GPU. `say` hears a line then, `progress` (images done, images in all).

    Raises:
        UnknownName: for a domain that the store does not have.
        ImpossibleEncoding: for an encoding that its images cannot have.
    """
    domain = store.manifest.domain(name)
    check_encoding(encoding, name, domain)
    if encoding != "hha":
        return store.array(name), pixel_format(domain)
    path = store.folder / _file_name(name, domain)
    if not path.is_file():
        # beside the folder, for what is in the folder is prepared data and nothing else
        with FileLock(store.folder.parent / f".{store.folder.name}.{path.stem}.lock"):
            if not path.is_file():
                _make(store.array(name), name, domain, path, say, progress)
    array = np.load(path, mmap_mode="r")
    assert isinstance(array, np.memmap), path
    return array, HHA_FORMAT


def encode(
    stored: Tensor, name: str, domain: Domain, encoding: Encoding
) -> tuple[Tensor, PixelFormat]:
    """The same for whole frames that are in memory: what `Images` hold of them.

    Args:
        stored: square frames in the integers of a store, [B, S, S] or [B, S, S, 3].
        name, domain: whose images they are.
        encoding: what `to_unit` will be asked for.

    Raises:
        ImpossibleEncoding: for an encoding that its images cannot have.
    """
    check_encoding(encoding, name, domain)
    if encoding != "hha":
        return stored, pixel_format(domain)
    assert domain.intrinsics is not None, "has been checked"
    camera, size = at_size(domain.intrinsics, stored.shape[1]), stored.shape[1]
    at_once = max(1, PIXELS_AT_ONCE // size**2)
    made = [hha(part, camera, *domain.range) for part in torch.split(stored, at_once)]
    return torch.cat(made), HHA_FORMAT


def _file_name(name: str, domain: Domain) -> str:
    decides = [HHA_VERSION, domain.range, domain.model_dump(mode="json")["intrinsics"]]
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
    return f"{name.replace('/', '_')}_hha-{digest}.npy"


def _make(
    stored: Memmap,
    name: str,
    domain: Domain,
    path: Path,
    say: Say | None,
    progress: Progress | None,
) -> None:
    if say is not None:
        say(f"Making hha of {len(stored)} images of {name}, once: {path.name}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        made = np.lib.format.open_memmap(
            partial, mode="w+", dtype=np.uint8, shape=(*stored.shape, 3)
        )
        at_once = max(1, PIXELS_AT_ONCE // len(stored[0]) ** 2) if len(stored) else 1

        def write(start: int) -> int:
            frames = torch.from_numpy(np.array(stored[start : start + at_once]))
            made[start : start + at_once] = encode(frames, name, domain, "hha")[0].numpy()
            return min(start + at_once, len(stored))

        starts = range(0, len(stored), at_once)
        for done in in_threads(write, starts, at_once=BATCHES_AT_ONCE):
            if progress is not None:
                progress(done, len(stored))
        made.flush()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
