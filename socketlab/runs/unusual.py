"""What of a decoded image is unlike those that a model was made for, in words with numbers."""

from __future__ import annotations

from typing import Final

import numpy as np

from socketlab.data.domain_schema import Domain
from socketlab.data.layouts.image_files import Array
from socketlab.data.modality import MILLIMETRES_PER_METRE, pixel_format
from socketlab.models.deployment import Deployment

MOSTLY: Final = 0.5
"""Share of readings outside the range from which on an image is unusual."""
EMPTY: Final = 0.5
"""Share of pixels without a reading that is never unusual to have up to."""
MARGIN: Final = 0.5
"""How far outside the usual means an image may lie, as a share of their span."""


def unusual_range(raw: Array, domain: Domain) -> str:
    """A warning where most readings of `raw` (as the store keeps it) are outside the range."""
    form = pixel_format(domain)
    readings = raw if form.invalid is None else raw[raw != form.invalid]
    if not readings.size:
        return ""
    below, above = (float((readings < form.low).mean()), float((readings > form.high).mean()))
    if below + above <= MOSTLY:
        return ""
    scale = 1 / MILLIMETRES_PER_METRE if domain.modality == "depth" else domain.scale
    middle = float(np.median(readings)) * scale
    low, high = domain.range
    return (
        f"{below + above:.0%} of its readings lie outside {low:g} to {high:g} {domain.unit} "
        f"(their median is {middle:.3g}): is it in another unit?"
    )


def unusual_empty(raw: Array, about: Deployment) -> str:
    """A warning where far more pixels hold no reading than in any image that was checked."""
    form = pixel_format(about.domain)
    if form.invalid is None:
        return ""
    share = float((raw == form.invalid).mean())
    most = max(EMPTY, about.usual.empty if about.usual else EMPTY)
    if share <= most:
        return ""
    return f"{share:.0%} of its pixels hold no reading; up to {most:.0%} was usual"


def unusual_mean(mean: float, about: Deployment) -> str:
    """A warning for an image, as the network sees it, far brighter or darker than those checked."""
    if about.usual is None:
        return ""
    low, high = about.usual.mean
    room = MARGIN * (high - low)
    if low - room <= mean <= high + room:
        return ""
    return f"its mean as the model sees it is {mean:.2f}; {low:.2f} to {high:.2f} was usual"
