"""What is done to a frame before it is resized, against pixels worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.corrections import correct, fill_gaps, stretch, unrotate

NIR = Domain(modality="nir", unit="intensity", bits=8, range=(0, 255), exposure="percentile")
DEEP = NIR.model_copy(update={"bits": 16, "range": (0, 65535)})

Array = np.ndarray[Any, np.dtype[Any]]


def nir(**changes: Any) -> Domain:
    return Domain.model_validate({**NIR.model_dump(), **changes})


def test_rotated_bits_are_turned_back() -> None:
    """5001 = 0001 0011 1000 1001, whose bits rotated left by 3 are 1001 1100 0100 1000."""
    stored = np.array([[0b1001_1100_0100_1000, 0, 0b111, 0xFFFF]], np.uint16)
    back = unrotate(stored)
    assert back.tolist() == [[5001, 0, 0b1110_0000_0000_0000, 0xFFFF]]
    assert back.dtype == np.uint16
    assert stored[0, 0] == 0b1001_1100_0100_1000  # not in place


def test_a_frame_is_stretched_from_its_own_percentiles() -> None:
    """101 values 50 .. 150: p1 = 51 and p99 = 149, so 100 is half-way: 127.5, rounded to even."""
    frame = np.arange(50, 151, dtype=np.uint8)[None]
    found = stretch(frame, NIR)[0]
    assert found.dtype == np.uint8
    assert found[[0, 1, 2, 50, 98, 99, 100]].tolist() == [0, 0, 3, 128, 252, 255, 255]
    deep = stretch(frame.astype(np.uint16) * 100, DEEP)[0]
    # 2/98 and 49/98 of 65535
    assert deep.dtype == np.uint16 and deep[[1, 3, 50, 99]].tolist() == [0, 1337, 32768, 65535]


def test_pixels_without_a_reading_are_not_counted_and_stay() -> None:
    frame = np.concatenate([np.arange(50, 151), np.zeros(400)]).astype(np.uint8)[None]
    found = stretch(frame, nir(invalid=0))[0]
    assert (found[101:] == 0).all()
    # what would land on 0 takes the integer beside it
    assert found[[0, 1, 2, 50, 99]].tolist() == [1, 1, 3, 128, 255]
    saturated = np.concatenate([np.arange(50, 151), np.full(9, 255)]).astype(np.uint8)[None]
    found = stretch(saturated, nir(invalid=255))[0]
    assert (found[101:] == 255).all() and found[[98, 99, 100]].tolist() == [252, 254, 254]


@pytest.mark.parametrize("domain", [nir(), nir(invalid=0)])
def test_a_constant_frame_cannot_be_stretched(domain: Domain) -> None:
    frame = np.full((20, 20), 7, np.uint8)
    low = 0 if domain.invalid is None else 1
    assert (stretch(frame, domain) == low).all()
    frame[3, 4] = 9  # a single pixel: both percentiles are 7
    found = stretch(frame, domain)
    assert found[3, 4] == 255 and (np.delete(found.ravel(), 64) == low).all()
    empty = np.zeros((3, 3), np.uint8)
    assert (stretch(empty, domain) == 0).all()


def test_a_gap_takes_the_nearest_reading() -> None:
    depth = np.array(
        [
            [5, 0, 0, 0, 9],
            [0, 0, 0, 0, 0],
            [0, 0, 0, 0, 3],
        ],
        np.uint16,
    )
    filled = fill_gaps(depth, 0)
    # (1, 1) is 1.4 from 5 and 3.2 from 9 and 3; (2, 3) is 1 from 3; (1, 0) is 1 from 5
    assert filled[0].tolist()[:2] == [5, 5] and filled[0].tolist()[3:] == [9, 9]
    assert filled[1, :2].tolist() == [5, 5] and filled[1, 4] in (9, 3)
    assert filled[2].tolist() == [5, 5, 3, 3, 3]
    assert filled.dtype == np.uint16 and (depth[1] == 0).all()
    np.testing.assert_array_equal(fill_gaps(depth, 0), filled)


def test_nothing_to_fill_and_nothing_to_fill_with() -> None:
    whole = np.array([[4, 5]], np.uint16)
    assert fill_gaps(whole, 0) is whole
    with pytest.raises(ValueError, match=r"no pixel has a reading \(all hold 0\).*gaps: mask"):
        fill_gaps(np.zeros((2, 2), np.uint16), 0)


def test_only_what_is_asked_is_done() -> None:
    frame = np.array([[0, 60, 200]], np.uint8)
    asked_nothing = nir(exposure="fixed", invalid=0)
    assert correct(frame, asked_nothing) is frame
    filled = correct(frame, nir(exposure="fixed", invalid=0, gaps="fill"))
    assert filled.tolist() == [[60, 60, 200]]
    # stretched before it is filled, so that what was filled does not count: p1 and p99 of 60, 200
    both = correct(frame, nir(invalid=0, gaps="fill"))
    assert both.tolist() == [[1, 1, 255]]
