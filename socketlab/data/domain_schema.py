"""What a manifest says of a domain: one sensor's images of one modality. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Modality = Literal["rgb", "depth", "nir"]


class Frozen(BaseModel):
    """Part of a manifest: unknown keys are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Intrinsics(Frozen):
    """A pinhole camera: focal lengths and principal point, in pixels of the stored frame."""

    fx: Annotated[float, Field(gt=0)]
    fy: Annotated[float, Field(gt=0)]
    cx: float
    cy: float
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


class Domain(Frozen):
    """One sensor's images of one modality, as the published files hold them.

    ``value in unit = stored integer * scale``; `invalid` is the stored integer that means "no
    reading" (null where every pixel holds one); `range` is in the unit, so in metres for depth.

    Attributes:
        packing: `rotated_3` files hold their 16 bits rotated left by 3, as SUN RGB-D's depth does.
        other_bits: what happens to a file of another depth than `bits`: `rescale` brings 8 bits to
            16 (times 257) and 16 bits to 8 (the upper ones), `refuse` is an error.
        exposure: `fixed` keeps the numbers as recorded; `percentile` (nir only) stretches each
            frame from its own 1st to its 99th percentile.
        gaps: pixels without a reading are kept as such (`mask`), or given the nearest reading of
            the frame (`fill`).
        intrinsics: the camera, needed by the encoding `hha`.
    """

    modality: Modality
    unit: str
    bits: Literal[8, 16]
    scale: Annotated[float, Field(gt=0)] = 1.0
    invalid: int | None = None
    range: tuple[float, float]
    packing: Literal["plain", "rotated_3"] = "plain"
    other_bits: Literal["refuse", "rescale"] = "refuse"
    exposure: Literal["fixed", "percentile"] = "fixed"
    gaps: Literal["mask", "fill"] = "mask"
    intrinsics: Intrinsics | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 <= self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} must satisfy 0 <= min < max")
        if self.modality == "depth" and self.unit != "metre":
            raise ValueError(f"unit {self.unit!r} of a depth domain must be 'metre'")
        if self.modality == "rgb" and self.bits != 8:
            raise ValueError("rgb domains hold 8 bits a channel; found bits: 16")
        if self.invalid is not None and self.modality == "rgb":
            raise ValueError("rgb domains have no invalid value; leave it out")
        if self.packing == "rotated_3" and (self.modality != "depth" or self.bits != 16):
            raise ValueError("packing 'rotated_3' is of 16-bit depth only; leave it out")
        if self.exposure == "percentile" and self.modality != "nir":
            raise ValueError(f"exposure 'percentile' is for nir only, not for {self.modality}")
        if self.gaps == "fill" and self.invalid is None:
            raise ValueError("gaps 'fill' needs an invalid value that says where they are")
        return self
