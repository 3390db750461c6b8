"""Pixels out of files of every bit depth that Pillow's modes do not tell apart."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from socketlab.data.layouts.decoding import is_wide, read_pixels

Array = np.ndarray[Any, np.dtype[Any]]

COLOUR = np.array([[[0x1234, 0x00FF, 0xFF00], [0xFFFF, 0x0100, 0x80A0]]] * 2, np.uint16)
UPPER = [[[0x12, 0x00, 0xFF], [0xFF, 0x01, 0x80]]] * 2
GREY = np.array([[0, 1, 258], [4000, 32769, 65535]], np.uint16)


def png_16_bit_colour(path: Path, colour: Array) -> Path:
    """A PNG of 16 bits a channel, written by hand: Pillow cannot."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width, _ = colour.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def pixels(path: Path) -> tuple[bool, Array]:
    with Image.open(path) as image:
        return is_wide(image), read_pixels(image, path)


def test_16_bit_colour_png_is_its_upper_8_bits(tmp_path: Path) -> None:
    wide, array = pixels(png_16_bit_colour(tmp_path / "x.png", COLOUR))
    assert wide and array.dtype == np.uint8 and array.tolist() == UPPER


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_colour_tiff_is_its_upper_8_bits(
    order: Any, planes: Any, compression: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x.tiff"
    colour = COLOUR if planes == "contig" else np.moveaxis(COLOUR, -1, 0)
    options: dict[str, Any] = {"planarconfig": planes, "compression": compression}
    tifffile.imwrite(path, colour, byteorder=order, photometric="rgb", **options)
    wide, array = pixels(path)
    assert wide and array.dtype == np.uint8 and array.tolist() == UPPER


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_grey_tiff_in_either_byte_order(
    order: Any, compression: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x.tiff"
    tifffile.imwrite(path, GREY, byteorder=order, photometric="minisblack", compression=compression)
    wide, array = pixels(path)
    assert wide and array.dtype == np.dtype("=u2") and array.tolist() == GREY.tolist()


def test_16_bit_grey_png_keeps_its_numbers(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "x.png")
    wide, array = pixels(tmp_path / "x.png")
    assert wide and array.tolist() == GREY.tolist()


def test_8_bits_are_not_wide(tmp_path: Path) -> None:
    for name, array in (
        ("grey.png", GREY.astype(np.uint8)),
        ("grey.tiff", GREY.astype(np.uint8)),
        ("colour.jpg", np.zeros((16, 16, 3), np.uint8)),
        ("colour.tiff", COLOUR.astype(np.uint8)),
    ):
        Image.fromarray(array).save(tmp_path / name)
        wide, found = pixels(tmp_path / name)
        assert not wide and found.dtype == np.uint8 and found.tolist() == array.tolist()


def test_planes_of_8_bits_are_read_as_they_are(tmp_path: Path) -> None:
    colour = COLOUR.astype(np.uint8)
    options: dict[str, Any] = {"planarconfig": "separate", "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "x.tiff", np.moveaxis(colour, -1, 0), **options)
    wide, array = pixels(tmp_path / "x.tiff")
    assert not wide and array.tolist() == colour.tolist()


def test_16_bits_that_count_down_from_white_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tiff", GREY, byteorder="<", photometric="miniswhite")
    with pytest.raises(ValueError, match=r"16-bit TIFF whose 0 is white; save it with 0 as black"):
        pixels(tmp_path / "x.tiff")


def test_planes_of_another_number_are_refused(tmp_path: Path) -> None:
    planes = np.zeros((4, 2, 2), np.uint16)
    options: dict[str, Any] = {"planarconfig": "separate", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "x.tiff", planes, photometric="rgb", **options)
    with pytest.raises(ValueError, match=r"expected 3 planes of 16 bits, found uint16 \(4, 2, 2\)"):
        pixels(tmp_path / "x.tiff")


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tiff", "compressed.tiff"])
def test_a_picture_on_its_side_is_turned_upright(name: str, tmp_path: Path) -> None:
    """Stored 16 high and 48 wide, to be turned by 90 degrees: the left block ends up on top."""
    stored = np.repeat(np.array([0, 120, 240], np.uint8), 16)[None].repeat(16, 0)
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[274] = 6
    options = {"compression": "tiff_lzw"} if name.startswith("compressed") else {}
    image.save(tmp_path / name, exif=exif, **options)
    _, array = pixels(tmp_path / name)
    assert array.shape == (48, 16)
    np.testing.assert_allclose(array[[8, 24, 40]], np.repeat([[0], [120], [240]], 16, 1), atol=2)
