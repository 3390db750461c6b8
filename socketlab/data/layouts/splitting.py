"""Fixed splits for data sets that come without one: no generator, no machine has a say in them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from typing import Literal

Split = Literal["train", "test"]


def split_of(key: str, test_share: float) -> Split:
    """`test` for about `test_share` of all keys, else `train`: decided by each key on its own.

    The first 8 bytes of its SHA-256, read as a number in [0, 1), are compared with the share, so
    that no other image has a say. What must not be torn apart (the frames of a recording) shares
    one key.
    """
    position = int.from_bytes(_digest(key)[:8], "big") / 2**64
    return "test" if position < test_share else "train"


def drawn_splits(keys: Collection[str], test_share: float) -> dict[str, Split]:
    """`test` for exactly ``floor(len(keys) * test_share + 0.5)`` of the keys, `train` for the rest.

    Those with the smallest SHA-256. How many there are follows from how many keys there are, so a
    manifest can state it without a list of the files; one key more moves at most one other. Call it
    once per class to take the share of each.
    """
    ordered = sorted(keys, key=_digest)
    tests = math.floor(len(ordered) * test_share + 0.5)
    return {key: "test" if place < tests else "train" for place, key in enumerate(ordered)}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
