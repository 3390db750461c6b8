"""How close pictures come to those that they should be: PSNR and SSIM."""

from dataclasses import dataclass

import torch
from torch import Tensor

HIGHEST_PSNR = 100.0
"""In dB. Identical pictures have an infinite one, which would make every mean infinite."""

SMALLEST_SIDE = 11
"""In pixels, the side of SSIM's window: in a smaller picture it would see mirrored pixels only."""

CHUNK_PIXELS = 2**16
"""How many pixels are compared at a time, 16 pictures of 64 x 64. SSIM keeps many maps of them: 65
MB, and on a CPU three times as fast as with four times as many."""

ROUNDING = 1e-3
"""How far a value may lie outside [0, 1]: resizing and half precision overshoot by as much."""


@dataclass(frozen=True)
class PictureQuality:
    """Agreement of pictures with those wanted, a mean over pictures.

    Attributes:
        psnr: peak signal-to-noise ratio in dB, at most 100; higher is closer.
        ssim: structural similarity, from -1 to 1 (identical).
    """

    psnr: float
    ssim: float


def picture_quality(found: Tensor, wanted: Tensor) -> PictureQuality:
    """PSNR and SSIM of pictures against those wanted.

    PSNR_i = -10 log10 mean (found_i - wanted_i)^2 over channels and pixels of picture i, at most
    100 dB, which stands for pictures that are identical or nearly so (root mean square difference
    of 1e-5); then the mean over i of the PSNR_i, not the PSNR of the mean error.

    SSIM_i = mean over pixels and channels of
    (2 mu_x mu_y + .01^2) (2 s_xy + .03^2) / ((mu_x^2 + mu_y^2 + .01^2) (s_x^2 + s_y^2 + .03^2)),
    means, variances and covariance under a Gaussian window of 11 x 11 pixels, deviation 1.5, the
    picture mirrored at its borders; then the mean over i.

    Computed by torchmetrics, in float32 and without autocast, on the device of the pictures.

    Args:
        found: [N, 3, H, W] in [0, 1], for instance what a translator made of depth.
        wanted: [N, 3, H, W] in [0, 1], for instance the RGB pictures that belong to it.

    Returns:
        Both means.

    Raises:
        ValueError: when the shapes differ or are no colour pictures, a side is shorter than the 11
            pixels of SSIM's window, or values lie outside [0, 1] or are not finite.

    Source: Wang et al., IEEE TIP 13, 2004 (SSIM).
    """
    _check(found, wanted)
    # Loads scipy and matplotlib, 1.5 s that training without a translator need not wait for.
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    psnr: list[Tensor] = []
    ssim: list[Tensor] = []
    at_once = max(1, CHUNK_PIXELS // (found.shape[2] * found.shape[3]))
    # cuDNN would round SSIM's products to TF32, whose three digits the small variances drown in.
    with (
        torch.inference_mode(),
        torch.autocast(found.device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=False),
    ):
        for first in range(0, len(found), at_once):
            x = _prepared("found", found[first : first + at_once])
            y = _prepared("wanted", wanted[first : first + at_once])
            psnr.append(
                peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))
            )
            found_ssim = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
            assert isinstance(found_ssim, Tensor)
            ssim.append(found_ssim)
    return PictureQuality(
        psnr=torch.cat(psnr).clamp(max=HIGHEST_PSNR).cpu().double().mean().item(),
        ssim=torch.cat(ssim).cpu().double().mean().item(),
    )


def _check(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise ValueError(
            "found and wanted must have the same shape, "
            f"found {tuple(found.shape)} and {tuple(wanted.shape)}"
        )
    if found.ndim != 4 or found.shape[1] != 3 or len(found) == 0:
        raise ValueError(
            "found and wanted must have shape [N, 3, H, W] with at least one picture, "
            f"found {tuple(found.shape)}"
        )
    height, width = found.shape[2:]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"The pictures have {height} x {width} pixels, and SSIM's window has {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE}: compare pictures of at least {SMALLEST_SIDE} pixels on each side."
        )


def _prepared(name: str, pictures: Tensor) -> Tensor:
    values = pictures.to(torch.float32)
    # Written as a negation, so that a value that is no number is refused as well.
    if not bool(((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all()):
        raise ValueError(
            f"{name} must lie in [0, 1], found values from {values.min().item():.4g} to "
            f"{values.max().item():.4g}: compare pictures before the model's normalisation"
        )
    return values
