"""What a domain of a drafted manifest holds, from the values of a sample of its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from socketlab.data.domain_schema import Modality
from socketlab.data.drafting.answers import Open
from socketlab.data.drafting.looking import LookError
from socketlab.data.drafting.pixels import Look, Values, values_of

MILLIMETRE = 0.001
EIGHT_BIT_SCALE = 10 / 255
FAR_METRES = 20.0
"""A camera that sees farther than this on average is rather one with another unit."""
FREQUENT = 0.01


def domain(name: str, modality: Modality, looks: Sequence[Look], made: Open) -> dict[str, Any]:
    """The entry of `domains` for files like `looks`, with what was assumed in `made`."""
    bits = max(look.bits for look in looks)
    mixed = len({look.bits for look in looks}) > 1
    if modality == "rgb":
        colour = {"modality": "rgb", "unit": "intensity", "bits": 8, "range": [0, 255]}
        # 16-bit colour is shown as its upper 8 bits
        return colour | ({"other_bits": "rescale"} if bits == 16 else {})
    if mixed:
        narrow = next(look.path for look in looks if look.bits == 8)
        made.notes.append(
            f"{name} holds files of 8 and of 16 bits, e.g. {narrow} of 8; preparing refuses them. "
            "Move one sort to a folder of its own."
        )
    values = values_of(looks)
    return _depth(name, bits, values, made) if modality == "depth" else _nir(bits, values)


def _depth(name: str, bits: int, values: Values, made: Open) -> dict[str, Any]:
    place = f"domains.{name}.scale"
    if bits == 16:
        scale = made.answers.scale or MILLIMETRE
        if made.answers.scale is None:
            hint = ""
            if values.eights:
                hint = (
                    " All values are multiples of 8: for SUN RGB-D's files, add packing: rotated_3."
                )
            elif (values.low + values.high) / 2 * scale > FAR_METRES:
                hint = " That would be far for a camera: other units are 0.0002 and 0.0001."
            made.assumed[place] = (
                f"assumed, for files do not show it: 16 bits are whole millimetres, and nearly all "
                f"values lie from {values.low:g} to {values.high:g}. --scale says otherwise.{hint}"
            )
    else:
        scale = _number(
            made.decide(
                place,
                "--scale",
                made.answers.scale,
                f"Metres of one step of the 8-bit depth of {name} (values {values.low:g} to "
                f"{values.high:g})",
                f"{EIGHT_BIT_SCALE:.6g}",
                "as if 255 were 10 m",
            )
        )
    low, high = values.low * scale, values.high * scale
    bottom = _down(low)
    return {
        "modality": "depth",
        "unit": "metre",
        "bits": bits,
        "scale": scale,
        "invalid": _invalid(bits, values),
        "range": [bottom, max(_up(high), bottom + 0.1)],
    }


def _nir(bits: int, values: Values) -> dict[str, Any]:
    top = 255 if bits == 8 else min(65535, _round_up(values.high))
    return {"modality": "nir", "unit": "intensity", "bits": bits, "range": [0, top]}


def _invalid(bits: int, values: Values) -> int | None:
    """No camera measures a distance of 0; the largest integer is a gap where it is frequent."""
    if values.tops > max(FREQUENT, values.zeros):
        return 255 if bits == 8 else 65535
    return 0 if values.zeros > 0 else None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf):
        raise LookError(f"Scale {text!r} is no number above 0. Give metres, e.g. --scale 0.001.")
    return number


def _down(metres: float) -> float:
    """At most `metres`, in tenths, and above 0: disparity has no value there."""
    return max(math.floor(metres * 10) / 10, 0.1 if metres >= 0.1 else 0.001)


def _up(metres: float) -> float:
    return math.ceil(metres * 10) / 10


def _round_up(value: float) -> int:
    """The next number of two digits and noughts."""
    step: int = 10 ** max(0, len(str(int(value))) - 2)
    return max(1, math.ceil(value / step) * step)
