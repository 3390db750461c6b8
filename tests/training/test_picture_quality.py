"""PSNR and SSIM of pictures against their formulas, written out."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.training import picture_quality as module
from socketlab.training.picture_quality import PictureQuality, picture_quality


def pictures(count: int = 3, height: int = 12, width: int = 17, seed: int = 0) -> Tensor:
    """Smooth random pictures: noise alone has no structure that noise could spoil."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def noisy(wanted: Tensor, scale: float) -> Tensor:
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(9))
    return (wanted + scale * noise).clamp(0, 1)


def naive_psnr(found: Tensor, wanted: Tensor) -> float:
    """Mean over pictures of each one's own PSNR."""
    values = []
    flat = (pictures.double().flatten(1).tolist() for pictures in (found, wanted))
    for x, y in zip(*flat, strict=True):
        error = sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(x)
        values.append(-10 * math.log10(error))
    return sum(values) / len(values)


def naive_ssim(found: Tensor, wanted: Tensor) -> float:
    """Mean over pictures, channels and pixels, the window moved over the mirrored picture."""
    offsets = np.arange(-5, 6)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for x, y in zip(found.double().numpy(), wanted.double().numpy(), strict=True):
        for a, b in zip(x, y, strict=True):
            a, b = (np.pad(plane, 5, mode="reflect") for plane in (a, b))
            for row in range(a.shape[0] - 10):
                for column in range(a.shape[1] - 10):
                    p = a[row : row + 11, column : column + 11]
                    q = b[row : row + 11, column : column + 11]
                    mean_p, mean_q = (window * p).sum(), (window * q).sum()
                    spread_p = (window * (p - mean_p) ** 2).sum()
                    spread_q = (window * (q - mean_q) ** 2).sum()
                    common = (window * (p - mean_p) * (q - mean_q)).sum()
                    light = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
                    structure = (2 * common + 9e-4) / (spread_p + spread_q + 9e-4)
                    values.append(light * structure)
    return float(np.mean(values))


@pytest.mark.parametrize("scale", [0.02, 0.3])
def test_both_are_the_written_out_formulas(scale: float) -> None:
    wanted = pictures(2)
    found = noisy(wanted, scale)
    quality = picture_quality(found, wanted)
    assert quality.psnr == pytest.approx(naive_psnr(found, wanted), abs=1e-3)
    assert quality.ssim == pytest.approx(naive_ssim(found, wanted), abs=1e-4)


def test_psnr_by_hand_is_the_mean_of_each_picture_s_own() -> None:
    wanted = torch.full((2, 3, 11, 11), 0.5)
    found = wanted + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    # Errors of 0.1 and 0.01 are 20 and 40 dB; the PSNR of their mean error would be 23 dB.
    assert picture_quality(found, wanted).psnr == pytest.approx(30, abs=1e-3)


def test_identical_pictures_have_one_hundred_decibels() -> None:
    wanted = pictures()
    quality = picture_quality(wanted, wanted.clone())
    assert quality.psnr == 100
    assert quality.ssim == pytest.approx(1, abs=1e-5)
    # The cap is each picture's, so that one identical picture does not hide the others.
    found = torch.cat([wanted[:1], noisy(wanted[1:], 0.1)])
    expected = (100 + 2 * naive_psnr(found[1:], wanted[1:])) / 3
    assert picture_quality(found, wanted).psnr == pytest.approx(expected, abs=1e-3)


def test_more_noise_is_worse() -> None:
    wanted = pictures(4, 32, 32)
    found = [picture_quality(noisy(wanted, scale), wanted) for scale in (0.01, 0.05, 0.1, 0.3)]
    for better, worse in pairwise(found):
        assert better.psnr > worse.psnr + 3
        assert better.ssim > worse.ssim + 0.03


def test_ssim_of_a_negative_is_negative_and_both_directions_agree() -> None:
    wanted = pictures(2, 24, 24)
    found = noisy(1 - wanted, 0.05)
    one, other = picture_quality(found, wanted), picture_quality(wanted, found)
    assert one.ssim < 0
    assert one == PictureQuality(pytest.approx(other.psnr), pytest.approx(other.ssim, abs=1e-6))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = pictures(7)
    found = noisy(wanted, 0.1)
    whole = picture_quality(found, wanted)
    # Three pictures at a time, and then one, where not even that fits.
    for pixels in (3 * 12 * 17, 1):
        monkeypatch.setattr(module, "CHUNK_PIXELS", pixels)
        chunked = picture_quality(found, wanted)
        assert chunked.psnr == pytest.approx(whole.psnr, abs=1e-4)
        assert chunked.ssim == pytest.approx(whole.ssim, abs=1e-6)


def test_half_precision_and_autocast_are_computed_in_float32() -> None:
    wanted = pictures()
    found = noisy(wanted, 0.1)
    expected = picture_quality(found.bfloat16().float(), wanted)
    assert picture_quality(found.bfloat16(), wanted) == expected
    assert picture_quality(found.bfloat16().double(), wanted) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert picture_quality(found.bfloat16(), wanted) == expected


def test_a_translator_s_pictures_may_carry_a_gradient() -> None:
    wanted = pictures()
    found = noisy(wanted, 0.1)
    assert picture_quality(found.clone().requires_grad_(), wanted) == picture_quality(found, wanted)


def test_cudnn_is_as_it_was() -> None:
    before = (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32)
    picture_quality(pictures(), pictures(seed=1))
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == before


def test_the_library_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys, socketlab.training.picture_quality as module; "
        "print('torchmetrics' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_pictures_as_large_as_the_window_are_enough() -> None:
    wanted = pictures(1, 11, 11)
    found = noisy(wanted, 0.1)
    expected = naive_ssim(found, wanted)
    assert picture_quality(found, wanted).ssim == pytest.approx(expected, abs=1e-4)


def test_wrong_pictures_are_named() -> None:
    wanted = pictures(2)
    with pytest.raises(ValueError, match=r"same shape, found \(2, 3, 12, 17\) and \(1, 3, 12, 17"):
        picture_quality(wanted, wanted[:1])
    for wrong in (wanted[:, :1], wanted[0], wanted[:0]):
        with pytest.raises(ValueError, match=r"shape \[N, 3, H, W\] with at least one picture"):
            picture_quality(wrong, wrong)
    small = pictures(1, 20, 10)
    with pytest.raises(
        ValueError, match=r"have 20 x 10 pixels, .* at least 11 pixels on each side"
    ):
        picture_quality(small, small)
    with pytest.raises(ValueError, match=r"found must lie in \[0, 1\], found values from .* to 2"):
        picture_quality(2 * torch.ones_like(wanted), wanted)
    with pytest.raises(ValueError, match=r"wanted must lie in \[0, 1\], found values from -1"):
        picture_quality(wanted, -torch.ones_like(wanted))
    with pytest.raises(ValueError, match=r"found must lie in .* nan"):
        picture_quality(torch.full_like(wanted, math.nan), wanted)
