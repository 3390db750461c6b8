"""What a manifest asks to be done to a decoded frame before it is resized."""

from __future__ import annotations

import numpy as np

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.decoding import Array

LOW, HIGH = 1, 99
"""The percentiles that ``exposure: percentile`` stretches to the ends of the range."""


def correct(array: Array, domain: Domain) -> Array:
    """One-channel stored integers [H, W] with exposure and gaps as `domain` says.

    A frame of which nothing is asked is handed back as it is. Raises ValueError as `fill_gaps`.
    """
    if domain.exposure == "percentile":
        array = stretch(array, domain)
    if domain.gaps == "fill" and domain.invalid is not None:
        array = fill_gaps(array, domain.invalid)
    return array


def unrotate(array: Array) -> Array:
    """uint16 whose bits were stored rotated left by 3, as SUN RGB-D stores depth, turned back."""
    return (array >> 3) | (array << 13)


def stretch(array: Array, domain: Domain) -> Array:
    """A frame from its own 1st .. 99th percentile to the whole range of the domain's bits.

    ``rint((value - p1) / (p99 - p1) * (2**bits - 1))``, cut off at both ends. Pixels without a
    reading are not counted and stay so; a reading that would land on their integer takes the one
    beside it. Where p1 = p99 nothing can be stretched: values above become the highest, all others,
    so all of a constant frame, 0.
    """
    values = array if domain.invalid is None else array[array != domain.invalid]
    if not values.size:
        return array
    low, high = np.percentile(values, [LOW, HIGH])
    top = 2**domain.bits - 1
    # far fewer integers than pixels: each is worked out once
    steps = np.arange(top + 1)
    share = (steps - low) / (high - low) if high > low else (steps > low).astype(np.float64)
    table: Array = np.rint(np.clip(share, 0, 1) * top).astype(array.dtype)
    if domain.invalid is not None:
        table[table == domain.invalid] = beside(domain.invalid, top)
        table[domain.invalid] = domain.invalid
    stretched: Array = table[array]
    return stretched


def fill_gaps(array: Array, invalid: int) -> Array:
    """Every pixel that holds `invalid` given the value of the nearest one [H, W] that does not.

    Euclidean distance in pixels; which of several equally near ones is the same every time. Raises
    ValueError for a frame without any reading.
    """
    gaps = array == invalid
    if not gaps.any():
        return array
    if gaps.all():
        raise ValueError(
            f"no pixel has a reading (all hold {invalid}), so nothing can fill the gaps; leave the "
            "frame out, or keep gaps as they are (gaps: mask)"
        )
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(gaps, return_distances=False, return_indices=True)
    filled: Array = array[tuple(nearest)]
    return filled


def beside(integer: int, highest: int) -> int:
    """The integer next to `integer`, above where there is one: readings must not round to a gap."""
    return integer + 1 if integer < highest else integer - 1
