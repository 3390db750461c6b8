"""The encodings: how depth or infrared becomes what a network sees. Imports no torch."""

from __future__ import annotations

from typing import Literal, get_args

from socketlab.data.domain_schema import Domain, Modality

Encoding = Literal["replicate", "inverse", "colormap", "hha"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

THREE_CHANNELS: tuple[Encoding, ...] = ("colormap", "hha")
"""These give three channels: a classifier takes them as it takes RGB, past its translator."""

HHA_VERSION = 1
"""Changes with the numbers that `hha` gives, so that nothing made before is taken for it."""


class ImpossibleEncoding(ValueError):  # noqa: N818 - reads as the thing found
    """An encoding that a domain's images cannot have."""


def check_encoding(encoding: str, name: str, domain: Domain) -> None:
    """Raise `ImpossibleEncoding`, naming the domain and what to do, if it cannot be encoded so."""
    problem = problem_of(encoding, domain.modality, domain.range[0])
    if not problem and encoding == "hha" and domain.intrinsics is None:
        problem = (
            "the camera's intrinsics, which the manifest does not state. Write under its domain "
            "'intrinsics: {fx: ..., fy: ..., cx: ..., cy: ..., width: ..., height: ...}' in pixels "
            "of the stored frame, or use 'replicate'."
        )
    if problem:
        raise ImpossibleEncoding(f"Encoding {encoding!r} of {name!r} needs {problem}")


def problem_of(encoding: str, modality: Modality, low: float) -> str:
    """What an encoding needs and images whose range starts at `low` do not have; "" if nothing."""
    if encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ImpossibleEncoding(f"Unknown encoding {encoding!r}. Known: {known}.")
    if encoding in ("inverse", "hha") and (modality != "depth" or low <= 0):
        return (
            f"depth with a range that starts above 0; found {modality} from {low:g}. "
            "Use 'replicate'."
        )
    if encoding == "colormap" and modality == "rgb":
        return "depth or nir; found rgb, which has colours already. Use 'replicate'."
    return ""
