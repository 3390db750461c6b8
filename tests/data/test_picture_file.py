"""Pictures of any kind: what a file holds, and that its numbers survive the reading."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from socketlab.data.picture_file import UNREADABLE, kind_of, read_picture


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "colour"),
        ("RGBA", "colour"),
        ("P", "colour"),
        ("L", "grey"),
        ("LA", "grey"),
        ("1", "grey"),
        ("I;16", "wide"),
    ],
)
def test_what_a_file_holds(mode: str, kind: str, tmp_path: Path) -> None:
    Image.new(mode, (6, 4)).save(tmp_path / "x.png")
    assert kind_of(tmp_path / "x.png") == kind


def test_floats_are_wide(tmp_path: Path) -> None:
    Image.new("F", (6, 4)).save(tmp_path / "x.tiff")
    assert kind_of(tmp_path / "x.tiff") == "wide"


def test_colour_and_grey_are_resized_as_pillow_does(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    image = Image.fromarray(raw)
    image.save(tmp_path / "x.png")
    colour = read_picture(tmp_path / "x.png", "colour", 5)
    np.testing.assert_array_equal(colour, image.resize((5, 5), Image.Resampling.BILINEAR))
    grey = read_picture(tmp_path / "x.png", "grey", 5)
    expected = image.convert("L").resize((5, 5), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey, expected)
    assert (colour.dtype, grey.dtype) == (np.uint8, np.uint8)


def test_sixteen_bits_keep_their_numbers(tmp_path: Path) -> None:
    raw = np.array([[1000, 1000, 40000, 40000]] * 4, dtype=np.uint16)
    Image.fromarray(raw).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png", "wide", 4), raw)
    two = read_picture(tmp_path / "x.png", "wide", 2)
    assert 1000 < two[0, 0] < two[0, 1] < 40000


def test_no_reading_is_not_averaged(tmp_path: Path) -> None:
    """Columns 2, 0, 6, 6 and a corner of zeros: plain averaging would make 2 and 0 a 1."""
    raw = np.tile(np.float32([2, 0, 6, 6, 6, 6, 6, 6]), (8, 1))
    raw[4:, 4:] = [[0, np.nan, np.inf, 0]] * 4
    Image.fromarray(raw).save(tmp_path / "x.tiff")
    made = read_picture(tmp_path / "x.tiff", "wide", 4)
    assert made[:2, 1:].tolist() == [[6, 6, 6]] * 2
    assert made[3, 3] == 0
    assert 2 < made[0, 0] < 6
    assert np.isfinite(made).all()


@pytest.mark.parametrize(("valid", "expected"), [(1, 0), (3, 6)])
def test_less_than_half_of_a_pixel_is_no_reading(
    valid: int, expected: float, tmp_path: Path
) -> None:
    raw = np.zeros(4, np.float32)
    raw[:valid] = 6
    Image.fromarray(raw.reshape(2, 2)).save(tmp_path / "x.tiff")
    assert read_picture(tmp_path / "x.tiff", "wide", 1).tolist() == [[expected]]


def test_a_picture_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    raw = np.zeros((4, 4, 3), np.uint8)
    raw[0] = 255
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    Image.fromarray(raw).save(tmp_path / "x.png", exif=turned)
    made = read_picture(tmp_path / "x.png", "colour", 4)
    assert made[:, 0, 0].tolist() == [0, 0, 0, 255]


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("text")
    with pytest.raises(UNREADABLE):
        kind_of(tmp_path / "x.png")


def test_planes_of_16_bits_and_pictures_on_their_side(tmp_path: Path) -> None:
    """Both of which Pillow reads wrongly, and silently, from an uncompressed TIFF."""
    planes = np.zeros((3, 6, 6), np.uint16)
    planes[1] = 0x80FF
    planar: Any = {"planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "planes.tiff", planes, photometric="rgb", **planar)
    assert (read_picture(tmp_path / "planes.tiff", "colour", 3) == [0, 0x80, 0]).all()
    image = Image.fromarray(np.repeat(np.array([0, 240], np.uint8), 24)[None].repeat(16, 0))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "side.tiff", exif=exif)
    upright = read_picture(tmp_path / "side.tiff", "grey", 4)
    assert (upright[0] < 10).all() and (upright[3] > 230).all()
