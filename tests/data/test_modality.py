from __future__ import annotations

import numpy as np
import pytest
import torch

from socketlab.data.colormap import jet
from socketlab.data.encoding_names import Encoding, ImpossibleEncoding
from socketlab.data.manifest import Domain
from socketlab.data.modality import HHA_FORMAT, PixelFormat, pixel_format, to_unit

DEPTH = PixelFormat("depth", 500.0, 8000.0, 0)


def depth(*values: int) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.uint16).reshape(1, 1, -1))


def test_rgb_becomes_channels_first_in_the_unit_interval() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    unit = to_unit(torch.from_numpy(raw), PixelFormat("rgb", 0, 255, None))
    assert unit.dtype == torch.float32 and unit.shape == (2, 3, 3, 5)
    expected = np.moveaxis(raw.astype(np.float64) / 255, -1, 1)
    np.testing.assert_allclose(unit.numpy(), expected, atol=1e-7)


def test_depth_is_clipped_scaled_and_blank_where_there_is_no_reading() -> None:
    unit = to_unit(depth(0, 300, 500, 4250, 8000, 65535), DEPTH)
    assert unit.shape == (1, 1, 1, 6)
    assert unit.flatten().tolist() == pytest.approx([0, 0, 0, 0.5, 1, 1])


def test_zero_is_a_value_like_others_where_nothing_is_invalid() -> None:
    unit = to_unit(depth(0, 100), PixelFormat("depth", 0.0, 100.0, None))
    assert unit.flatten().tolist() == [0.0, 1.0]
    shifted = PixelFormat("nir", 0.0, 100.0, 100)
    assert to_unit(depth(0, 50, 100), shifted).flatten().tolist() == [0.0, 0.5, 0.0]


def test_inverse_is_disparity() -> None:
    unit = to_unit(depth(0, 500, 1000, 8000, 9000), DEPTH, "inverse").flatten().tolist()
    near, far = 1 / 0.5, 1 / 8.0
    assert unit == pytest.approx([0, 1, (1 / 1.0 - far) / (near - far), 0, 0], abs=1e-6)


def test_every_16_bit_value_stays_in_the_unit_interval() -> None:
    every = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 256, 256))
    encodings: tuple[Encoding, ...] = ("replicate", "inverse", "colormap")
    for encoding in encodings:
        unit = to_unit(every, PixelFormat("depth", 300.0, 6000.0, 0), encoding)
        assert float(unit.min()) >= 0.0 and float(unit.max()) <= 1.0


def plainly(raw: torch.Tensor, pixels: PixelFormat, encoding: str) -> torch.Tensor:
    """By the definition, with nothing left out."""
    value = raw.to(torch.float32)
    low, high = pixels.low, pixels.high
    unit = value.clamp(low, high)
    if encoding == "inverse":
        unit = (unit.reciprocal() - 1 / high) / (1 / low - 1 / high)
    else:
        unit = (unit - low) / (high - low)
    unit = unit.clamp(0, 1)
    if encoding == "colormap":
        unit = jet(unit[:, None])
    missing = torch.zeros_like(value, dtype=torch.bool)
    if pixels.invalid is not None:
        missing = value == pixels.invalid
    unit = unit if unit.dim() == 4 else unit[:, None]
    return unit.masked_fill(missing[:, None], 0)


@pytest.mark.parametrize("encoding", ["replicate", "inverse", "colormap"])
@pytest.mark.parametrize(
    ("low", "high", "invalid"),
    [
        (500.0, 8000.0, 0),
        (500.0, 8000.0, None),
        (500.0, 8000.0, 500),
        (500.0, 8000.0, 600),
        (312.3, 319.6, 0),
        (0.0, 10000.0, 0),
        (0.0, 10000.0, 65535),
        (0.0, 65535.0, None),
        (100.0, 65535.0, None),
        (0, 70000, 3),
        (0.25, 65535.5, 0),
    ],
)
def test_what_is_left_out_changes_no_bit(
    low: float, high: float, invalid: int | None, encoding: Encoding
) -> None:
    if encoding == "inverse" and low == 0:
        return
    every = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 256, 256))
    pixels = PixelFormat("depth", low, high, invalid)
    assert torch.equal(to_unit(every, pixels, encoding), plainly(every, pixels, encoding))


def test_colormap_is_the_colour_of_what_replicate_gives_and_black_without_a_reading() -> None:
    raw = depth(0, 300, 500, 4250, 8000, 9000)
    unit = to_unit(raw, DEPTH, "colormap")
    assert unit.shape == (1, 3, 1, 6) and unit.dtype == torch.float32
    assert unit[0, :, 0, 0].tolist() == [0, 0, 0]
    assert torch.equal(unit[..., 1:], jet(to_unit(raw, DEPTH))[..., 1:])
    assert unit[0, :, 0, 1].tolist() == pytest.approx([0, 0, 0.5])  # nearer than the range is near
    assert unit[0, :, 0, 3].tolist() == pytest.approx([0.5, 1, 0.5])
    nir = to_unit(depth(0, 64), PixelFormat("nir", 0, 255, None), "colormap")
    assert nir[0, :, 0, 0].tolist() == [0, 0, 0.5]  # where nothing is invalid, 0 is a value


def test_hha_is_the_bytes_that_were_made() -> None:
    made = torch.tensor([0, 51, 102, 128, 255, 204], dtype=torch.uint8).view(1, 1, 2, 3)
    unit = to_unit(made, HHA_FORMAT, "hha")
    assert unit.shape == (1, 3, 1, 2)
    assert unit[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 0.4])
    assert unit[0, :, 0, 1].tolist() == pytest.approx([128 / 255, 1, 0.8])


def test_the_stored_integers_stay_what_they_were() -> None:
    for raw, pixels in ((depth(0, 300, 9000), DEPTH), (torch.ones(1, 1, 1, 3), HHA_FORMAT)):
        before = raw.clone()
        to_unit(raw, pixels, "hha" if pixels is HHA_FORMAT else "inverse")
        assert torch.equal(raw.to(torch.int64), before.to(torch.int64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    every = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 256, 256))
    on_device = to_unit(every.cuda(), DEPTH, "inverse")
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), to_unit(every, DEPTH, "inverse"))


def test_wrong_shapes_and_encodings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rgb images must have shape \[B, H, W, 3\], found \[1"):
        to_unit(torch.zeros(1, 3, 4, 4), PixelFormat("rgb", 0, 255, None))
    with pytest.raises(ValueError, match=r"depth images must have shape \[B, H, W\]"):
        to_unit(torch.zeros(1, 1, 4, 4), DEPTH)
    with pytest.raises(ValueError, match=r"Unknown encoding 'hah'"):
        to_unit(depth(1), DEPTH, "hah")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a range that starts above 0; found nir"):
        to_unit(depth(1), PixelFormat("nir", 1, 255, None), "inverse")
    with pytest.raises(ValueError, match=r"found depth from 0"):
        to_unit(depth(1), PixelFormat("depth", 0, 255, None), "inverse")
    with pytest.raises(ImpossibleEncoding, match=r"needs depth or nir; found rgb"):
        to_unit(torch.zeros(1, 4, 4, 3), PixelFormat("rgb", 0, 255, None), "colormap")
    with pytest.raises(ImpossibleEncoding, match=r"'hha' is made of whole frames"):
        to_unit(depth(1), DEPTH, "hha")
    with pytest.raises(ImpossibleEncoding, match=r"are 'hha' already, and cannot be 'replicate'"):
        to_unit(torch.zeros(1, 4, 4, 3), HHA_FORMAT)
    with pytest.raises(ValueError, match=r"depth images must have shape \[B, H, W, 3\]"):
        to_unit(torch.zeros(1, 4, 4), HHA_FORMAT, "hha")
    with pytest.raises(ValueError, match=r"0 <= low < high"):
        PixelFormat("depth", 5.0, 5.0, 0)


def test_formats_follow_the_manifest() -> None:
    filled = Domain(modality="depth", unit="metre", bits=8, scale=1 / 25.5, range=(0.5, 10.0))
    assert pixel_format(filled) == PixelFormat("depth", 500.0, 10000.0, None)
    holes = filled.model_copy(update={"invalid": 255})
    assert pixel_format(holes).invalid == 0  # the store writes 0, whatever the files hold
    nir = Domain(modality="nir", unit="share", bits=16, scale=0.5, invalid=7, range=(0, 100))
    assert pixel_format(nir) == PixelFormat("nir", 0.0, 200.0, 7)
