"""What `deploy.json` says of an exported model: all that its next user needs. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from socketlab.data.domain_schema import Domain, Frozen
from socketlab.data.encoding_names import Encoding

ModelFormat = Literal["safetensors", "onnx", "pt2"]
DEPLOYMENT_FILE = "deploy.json"
INPUT_NAME, OUTPUT_NAME = "images", "logits"


class DeploymentError(ValueError):
    """An exported model that is missing, damaged, or cannot run here; says what to do."""


class RunAnswers(Frozen):
    """How the answers agree with those that the run has kept of some images.

    Attributes:
        images: how many it has kept an answer of.
        format: the number format that it computed in.
        same: how many answers of the exported model, in float32, are the run's.
        same_in_format: how many of the original, in the run's format, are.
        right, run_right: how many are right, of the exported model and of the run.
    """

    images: int
    format: str
    same: int
    same_in_format: int
    right: int
    run_right: int


class Check(Frozen):
    """How the exported model was held against the one that it was made from.

    Attributes:
        images: how many were given to both.
        of: what they are, in words.
        largest_difference: of any logit of any image.
        tolerance: what that may be at most; and both must give the same answers.
        run_answers: against the answers that the run has kept; None where it has kept none.
    """

    images: Annotated[int, Field(gt=0)]
    of: str
    largest_difference: float
    tolerance: float
    run_answers: RunAnswers | None = None


class Usual(Frozen):
    """What the images were like that the model was checked on.

    Attributes:
        mean: the smallest and the largest mean of an image, as the network sees it, in [0, 1].
        empty: the largest share of pixels without a reading.
    """

    mean: tuple[float, float]
    empty: float


class Deployment(Frozen):
    """An exported model: what it takes, what it gives, and how a file becomes its input.

    Attributes:
        file, sha256: the model's file beside this one, and its content.
        domain_name, domain: whose images it takes, and how their files are decoded.
        size: pixels a side that a whole frame is brought to; the middle `crop` of it is seen.
        encoding: how stored integers become the network's input, see ``modality.to_unit``.
        channels: of the input; it is float32 [batch, channels, crop, crop] in [0, 1].
        opset: of ONNX; None for the other formats.
        versions: of what wrote it.
    """

    version: Literal[1] = 1
    format: ModelFormat
    file: str
    sha256: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    data_set: str
    domain_name: str
    domain: Domain
    size: Annotated[int, Field(gt=0)]
    crop: Annotated[int, Field(gt=0)]
    encoding: Encoding
    channels: Literal[1, 3]
    opset: int | None = None
    check: Check
    usual: Usual | None = None
    run: str
    stage: str
    chosen_by: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop > self.size:
            raise ValueError(f"crop {self.crop} is larger than size {self.size}")
        if Path(self.file).name != self.file:
            raise ValueError(f"file {self.file!r} must lie beside {DEPLOYMENT_FILE}")
        return self

    @property
    def input_shape(self) -> str:
        """The input in words."""
        return f"float32 [batch, {self.channels}, {self.crop}, {self.crop}] in [0, 1]"


def model_name(form: ModelFormat) -> str:
    """The name of the model's file in its folder."""
    return f"model.{form}"


def read_deployment(folder: Path) -> Deployment:
    """What the exported model in `folder` says of itself.

    Raises:
        DeploymentError: where there is none, or it cannot be used; naming file and key.
    """
    file = folder / DEPLOYMENT_FILE
    if not file.is_file():
        raise DeploymentError(
            f"No exported model in {str(folder)!r}: it has no {DEPLOYMENT_FILE}. Give the folder "
            "that `socketlab export RUN` has written."
        )
    try:
        return Deployment.model_validate_json(file.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError):
            said = str(error)
        else:
            said = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
        raise DeploymentError(
            f"{file} cannot be used ({said}). Export the model again with this socketlab."
        ) from error
