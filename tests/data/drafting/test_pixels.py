from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from socketlab.data.drafting.pixels import Look, look_at, sample_of, sizes_of, values_of


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_kind_bits_and_size(tmp_path: Path) -> None:
    colour = look_at(save(tmp_path / "a.png", np.zeros((3, 5, 3), np.uint8)))
    assert (colour.kind, colour.bits, colour.width, colour.height) == ("colour", 8, 5, 3)
    assert colour.values.size == 0
    grey = look_at(save(tmp_path / "b.png", np.full((3, 5), 7, np.uint8)))
    assert (grey.kind, grey.bits) == ("grey", 8) and set(grey.values) == {7}
    wide = look_at(save(tmp_path / "c.png", np.full((3, 5), 700, np.uint16)))
    assert (wide.kind, wide.bits) == ("grey", 16) and set(wide.values) == {700}
    assert sizes_of([colour, grey, wide]) == {(5, 3): 3}


def test_what_no_domain_holds(tmp_path: Path) -> None:
    alpha = save(tmp_path / "a.png", np.zeros((3, 5, 4), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png is of mode RGBA\. Save it as RGB without alpha"):
        look_at(alpha)
    metres = save(tmp_path / "m.tiff", np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match=r"m\.tiff is of mode F.*whole millimetres"):
        look_at(metres)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"b\.png cannot be read"):
        look_at(tmp_path / "b.png")


def test_a_sample_is_spread_over_all_files() -> None:
    paths = [Path(str(number)) for number in range(100)]
    assert sample_of(paths, 3) == [Path("0"), Path("50"), Path("99")]
    assert sample_of(paths[:3], 3) == paths[:3]


def grey(values: list[int], bits: int = 16) -> Look:
    kind = np.uint16 if bits == 16 else np.uint8
    return Look(Path("a"), "grey", 16 if bits == 16 else 8, 1, 1, np.array(values, kind))


def test_values_leave_out_the_ends() -> None:
    found = values_of([grey([0, 0, 1000, 1000]), grey([2000, 2000, 65535, 2000])])
    assert found.zeros == 0.25 and found.tops == 0.125
    assert (found.low, found.high) == (1000, 2000) and found.eights
    assert not values_of([grey([1001, 2000])]).eights
    assert values_of([grey([255, 0, 3], 8)]).tops == pytest.approx(1 / 3)
    nothing = values_of([grey([0, 0])])
    assert (nothing.low, nothing.high, nothing.eights) == (0, 65535, False)
