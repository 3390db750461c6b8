"""The parameters of the notebook on two encoders, which has no method and no labels."""

from typing import Literal, Self

from pydantic import Field, model_validator

from socketlab.data.manifest import sensor_of
from socketlab.data.pair_patterns import check_pattern
from socketlab.models.encoder_names import read_encoder
from socketlab.runs.shared_parameters import RunParameters

Alignment = Literal["none", "procrustes"]


class TwoEncoders(RunParameters):
    """07: how far apart any two encoders lie, on pairs of images."""

    notebook = "07_two_encoders"
    first_encoder: str = Field("resnet_small", description="NAME, NAME:imagenet, or a file")
    second_encoder: str = Field("resnet_small", description="the same, for the second half")
    pairs: str | None = Field(None, description="folder of pairs; without it, those of `data`")
    first: str = Field("a/rgb", description="domain of `data`, or with `pairs` '{id}_rgb.jpg'")
    second: str = Field("a/depth", description="the same, for the second half of each pair")
    size: int | None = Field(
        None, ge=8, le=1024, description="pixels both see; default: what each was made for"
    )
    align: Alignment = Field("none", description="procrustes: rotate the second onto the first")
    most_pairs: int = Field(2000, ge=1, description="with more pairs than this, a sample")
    points: int = Field(3000, ge=10, le=50_000, description="points in one map at most")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        read_encoder(self.first_encoder)
        read_encoder(self.second_encoder)
        if self.pairs is not None:
            if check_pattern(self.first, "first") == check_pattern(self.second, "second"):
                raise ValueError(f"first and second are both {self.first!r}. Give two patterns.")
            return self
        for name, domain in (("first", self.first), ("second", self.second)):
            if "{id}" in domain:
                raise ValueError(
                    f"{name} is the pattern {domain!r}, and no folder is given. Give `pairs`, or "
                    f"a domain of {self.data!r}: {', '.join(self.manifest.domains)}."
                )
            self.manifest.domain(domain)
        if self.first == self.second or sensor_of(self.first) != sensor_of(self.second):
            raise ValueError(
                f"{self.first!r} and {self.second!r} hold no pairs. Give two domains of one "
                f"sensor of {self.data!r}: {', '.join(self.manifest.domains)}."
            )
        return self
