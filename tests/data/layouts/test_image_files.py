from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
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


def changed(domain: Domain, **changes: Any) -> Domain:
    return Domain.model_validate({**domain.model_dump(), **changes})


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
    path = tmp_path / "deep.tiff"
    tifffile.imwrite(path, np.array([[[1000, 2000, 3000]]], np.uint16), photometric="rgb")
    assert Image.open(path).convert("RGB").getpixel((0, 0)) == (3, 7, 11)  # high bytes
    with pytest.raises(ValueError, match=r"expected 8-bit RGB, found mode RGB, 16 bits.*rescale"):
        read_image(path, RGB)
    rescaled = read_image(path, changed(RGB, other_bits="rescale"))
    assert rescaled.dtype == np.uint8 and rescaled.tolist() == [[[3, 7, 11]]]


def test_another_depth_is_rescaled_where_the_manifest_says_so(tmp_path: Path) -> None:
    narrow = saved(tmp_path / "narrow.png", np.array([[0, 1, 128, 255]], np.uint8))
    wide = saved(tmp_path / "wide.tiff", np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    deep = changed(NIR, bits=16, range=(0, 65535), other_bits="rescale")
    found = read_image(narrow, deep)
    assert found.dtype == np.uint16 and found.tolist() == [[0, 257, 32896, 65535]]
    flat = read_image(wide, changed(NIR, other_bits="rescale"))
    assert flat.dtype == np.uint8 and flat.tolist() == [[0, 0, 1, 128, 255]]
    # files of the stated depth are not touched
    assert read_image(wide, deep).tolist() == [[0, 255, 256, 32768, 65535]]
    with pytest.raises(ValueError, match=r"8-bit grey, found mode I;16; other_bits: rescale in"):
        read_image(wide, NIR)


def test_rotated_depth_is_turned_back_and_never_8_bits(tmp_path: Path) -> None:
    rotated = changed(DEPTH, packing="rotated_3", other_bits="rescale")
    path = saved(tmp_path / "x.png", np.array([[5001 << 3, 0, 5]], np.uint16))
    assert read_image(path, rotated).tolist() == [[5001, 0, 40960]]
    grey = saved(tmp_path / "grey.png", np.zeros((1, 1), np.uint8))
    with pytest.raises(ValueError, match=r"expected 16-bit grey, found mode L$"):
        read_image(grey, rotated)


def test_exposure_and_gaps_are_those_of_the_frame_before_it_is_resized(tmp_path: Path) -> None:
    path = saved(tmp_path / "nir.png", np.array([[0, 100, 150, 200]], np.uint8))
    stretched = read_image(path, changed(NIR, exposure="percentile", invalid=0, gaps="fill"))
    # p1 and p99 of 100, 150, 200 are 101 and 199; 0 takes its neighbour's
    assert stretched.tolist() == [[1, 1, 128, 255]]
    holes = np.full((4, 4), 3000, np.uint16)
    holes[0, :3] = 0
    path = saved(tmp_path / "depth.png", holes)
    assert resize(read_image(path, DEPTH), DEPTH, 2)[0, 0] == 3000
    holes[:, :2] = 0
    path = saved(tmp_path / "depth.png", holes)
    filled = changed(DEPTH, gaps="fill")
    assert resize(read_image(path, DEPTH), DEPTH, 2).tolist() == [[0, 3000], [0, 3000]]
    assert (resize(read_image(path, filled), filled, 2) == 3000).all()
    path = saved(tmp_path / "empty.png", np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match=r"no pixel has a reading"):
        read_image(path, filled)


def test_palettes_and_alpha_are_refused_whatever_may_be_rescaled(tmp_path: Path) -> None:
    for mode in ("P", "LA", "RGBA", "1", "I", "F"):
        path = tmp_path / f"{mode}.tiff"
        Image.new(mode, (3, 3)).save(path)
        for domain in (RGB, NIR, changed(DEPTH)):
            with pytest.raises(ValueError, match=rf"found mode {mode}$"):
                read_image(path, changed(domain, other_bits="rescale"))


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
    expected = v2.Resize((8, 8), antialias=True)(torch.from_numpy(rgb).permute(2, 0, 1))
    np.testing.assert_array_equal(resize(rgb, RGB, 8), expected.permute(1, 2, 0).numpy())


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
    for valid_of_twenty, expected in ((9, 0), (11, 4000)):
        depth = np.zeros((80, 80), dtype=np.uint16)
        for column in range(valid_of_twenty):
            depth[:, column::20] = 4000
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


def test_a_whole_frame_is_averaged_as_one_without_an_invalid_value() -> None:
    depth = np.random.default_rng(3).integers(500, 8000, (30, 41)).astype(np.uint16)
    plain = resize(depth, changed(DEPTH, invalid=None), 8)
    np.testing.assert_array_equal(resize(depth, DEPTH, 8), plain)
    # an average that rounds to "no reading" is none
    near = changed(DEPTH, scale=1e-5)
    assert (resize(np.full((4, 4), 20, np.uint16), near, 2) == 1).all()
