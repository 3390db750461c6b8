from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.data.layouts.image_files import UNREADABLE, read_image, resize
from socketlab.data.manifest import Domain

RGB = Domain(modality="rgb", unit="intensity", bits=8, range=(0, 255))
DEPTH = Domain(modality="depth", unit="metre", bits=16, scale=0.001, invalid=0, range=(0.5, 8))
BYTE_DEPTH = Domain(modality="depth", unit="metre", bits=8, scale=1 / 25.5, range=(0.5, 10))
NIR = Domain(modality="nir", unit="intensity", bits=8, range=(0, 255))

Array = np.ndarray[Any, np.dtype[Any]]


def saved(path: Path, array: Array) -> Path:
    Image.fromarray(array).save(path)
    return path


def png_16_bit_rgb(path: Path) -> Path:
    """A 1 x 1 PNG of 16 bits a channel, written by hand: Pillow cannot."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">3H", 1000, 2000, 3000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return path


def test_stored_integers_come_back(tmp_path: Path) -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    depth = np.array([[0, 700, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", rgb), RGB), rgb)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "b.png", depth), DEPTH), depth)
    grey = np.array([[0, 9, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "c.png", grey), NIR), grey)


def test_other_modes_and_bit_depths_are_refused(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.png", np.full((4, 4), 3000, dtype=np.uint16))
    grey = saved(tmp_path / "grey.png", np.zeros((4, 4), dtype=np.uint8))
    alpha = saved(tmp_path / "alpha.png", np.zeros((4, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"expected 8-bit RGB, found mode I;16"):
        read_image(wide, RGB)
    with pytest.raises(ValueError, match=r"expected 8-bit RGB, found mode L"):
        read_image(grey, RGB)
    with pytest.raises(ValueError, match=r"expected 8-bit RGB, found mode RGBA"):
        read_image(alpha, RGB)
    with pytest.raises(ValueError, match=r"expected 16-bit grey, found mode L"):
        read_image(grey, DEPTH)
    with pytest.raises(ValueError, match=r"expected 8-bit grey, found mode I;16"):
        read_image(wide, BYTE_DEPTH)


def test_16_bit_rgb_is_refused_although_pillow_reads_it(tmp_path: Path) -> None:
    path = png_16_bit_rgb(tmp_path / "deep.png")
    assert Image.open(path).convert("RGB").getpixel((0, 0)) == (3, 7, 11)  # high bytes
    with pytest.raises(ValueError, match=r"expected 8-bit RGB, found mode RGB, 16 bits"):
        read_image(path, RGB)


def test_cut_and_empty_files_raise_what_the_layouts_catch(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg"):
        path = saved(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UNREADABLE):
            read_image(path, RGB)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UNREADABLE):
        read_image(tmp_path / "empty.png", RGB)


def test_rgb_is_squashed_as_torchvision_does() -> None:
    from torchvision.transforms import v2

    rgb = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    expected = v2.Resize((8, 8), antialias=True)(Image.fromarray(rgb))
    np.testing.assert_array_equal(resize(rgb, RGB, 8), np.asarray(expected))


def test_depth_becomes_millimetres() -> None:
    values = np.array([[18, 255], [51, 0]], dtype=np.uint8)
    expected = [[round(18 / 25.5 * 1000), 10000], [2000, 0]]
    assert resize(values, BYTE_DEPTH, 2).tolist() == expected
    assert resize(values, BYTE_DEPTH, 2).dtype == np.uint16
    far = np.full((2, 2), 60000, dtype=np.uint16)
    metres = DEPTH.model_copy(update={"scale": 0.01})
    assert resize(far, metres, 2).max() == 65535


def test_holes_do_not_pull_depth_towards_zero() -> None:
    depth = np.full((16, 16), 4000, dtype=np.uint16)
    depth[np.random.default_rng(0).random((16, 16)) < 0.3] = 0
    small = resize(depth, DEPTH, 4)
    assert set(np.unique(small)) <= {0, 4000}
    assert (small == 4000).mean() > 0.8


def test_half_of_the_weight_decides_about_a_reading() -> None:
    # A constant share of columns is valid, so away from the border the weight is that share.
    for valid_of_four, expected in ((1, 0), (3, 4000)):
        depth = np.zeros((64, 64), dtype=np.uint16)
        for column in range(valid_of_four):
            depth[:, column::4] = 4000
        assert (resize(depth, DEPTH, 4)[:, 1:-1] == expected).all()


def test_average_is_over_valid_pixels_with_the_filters_weights() -> None:
    draw = np.random.default_rng(1)
    depth = draw.integers(500, 8000, (16, 16)).astype(np.uint16)
    depth[draw.random((16, 16)) < 0.2] = 0
    # Pillow's antialiased bilinear filter as a matrix: a triangle of twice the scale's width
    centres, places = (np.arange(4) + 0.5) * 4, np.arange(16) + 0.5
    weights = np.clip(1 - np.abs(places[None] - centres[:, None]) / 4, 0, None)
    weights /= weights.sum(1, keepdims=True)
    valid = (depth > 0).astype(float)
    share = weights @ valid @ weights.T
    expected = np.where(share >= 0.5, weights @ (depth * valid) @ weights.T / share, 0)
    np.testing.assert_allclose(resize(depth, DEPTH, 4), expected, atol=0.51)


def test_nir_keeps_its_integers_and_its_invalid_value() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(resize(grey, NIR, 8), grey)
    saturated = NIR.model_copy(update={"invalid": 255})
    grey[:, 4:] = 255
    small = resize(grey, saturated, 2)
    assert small.dtype == np.uint8
    assert (small[:, 1] == 255).all() and (small[:, 0] < 255).all()
