"""What a person says of an own source model, in a file of YAML or JSON; imports no torch."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PROGRAMS = (".pt", ".pt2")
"""TorchScript, and torch.export: files that are a network of their own."""
WEIGHTS = (".safetensors", ".pth", ".pt")
"""Files of weights, for a network of torchvision or timm."""

KEPT = "socketlab"
"""The network of a model that a run has kept or exported: all of it is in the card beside it."""

Share = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0)]


class OwnModelError(ValueError):
    """An own source model that cannot be used; says why, and what to do."""


class OwnNetwork(BaseModel):
    """What it takes to build a wrapped network again, without its weights; kept in a card.

    Attributes:
        network: a name of torchvision or timm, or the ending of a program's file.
        sha256: of that file, which lies beside the weights; empty for a name.
        outputs: scores that the network gave before its last layer was taken off.
        feature_layer: the last linear layer's name in the network.
        bias: whether that layer has one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    sha256: str = ""
    outputs: int
    feature_layer: str
    bias: bool = True


class OwnModel(BaseModel):
    """A network that somebody has trained, and what it expects of an image.

    Attributes:
        network: a name of torchvision or timm (`timm/NAME` and `torchvision/NAME` say whose), or a
            program: a `.pt` file of TorchScript, a `.pt2` file of torch.export; or `socketlab`: a
            model that a run has kept, whose card says all of this.
        weights: of a network by name: `.safetensors`, or a state dict in `.pth` or `.pt`.
        classes: the name of every output, in the order of the outputs; a class of the data set must
            be called as it is there.
        mean, deviation: of the normalisation (x - mean) / deviation of colours in [0, 1].
        size: pixels a side that the whole image is brought to.
        crop: pixels a side of the middle of it, which is what the network sees; default: `size`.
        interpolation: the filter that it was trained with; images are prepared with `bilinear`.
        feature_layer: name of the last linear layer; guessed for a network by name.
        trained_on: name of a data set, so that one that shares images with it is refused.
        folder: where relative paths start: the folder of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    weights: str | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    mean: tuple[Share, Share, Share]
    deviation: tuple[Deviation, Deviation, Deviation]
    size: int = Field(ge=8, le=1024)
    crop: int | None = Field(None, ge=8)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    feature_layer: str | None = None
    trained_on: str | None = None
    folder: Path = Field(Path(), exclude=True)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ValueError(f"classes: {', '.join(twice)} is listed twice; one name per output")
        if self.crop is not None and self.crop > self.size:
            raise ValueError(f"crop {self.crop} is larger than size {self.size}")
        if self.is_program:
            if self.weights is not None:
                raise ValueError(f"{self.network!r} holds its weights; leave out weights")
        elif self.weights is None:
            raise ValueError(
                f"network {self.network!r} is a name and has no weights; give weights: FILE "
                f"({', '.join(WEIGHTS)}), or as network a program ({', '.join(PROGRAMS)})"
            )
        elif Path(self.weights).suffix not in WEIGHTS:
            raise ValueError(f"weights {self.weights!r} end in none of {', '.join(WEIGHTS)}")
        if not self.file.is_file():
            raise ValueError(
                f"there is no file {str(self.file)!r}; paths start at this description's folder"
            )
        return self

    @property
    def is_program(self) -> bool:
        """Whether the network is a file of its own."""
        return Path(self.network).suffix in PROGRAMS

    @property
    def file(self) -> Path:
        """The file of the program, or of the weights."""
        return self.folder / Path(self.weights or self.network).expanduser()

    @property
    def crop_pixels(self) -> int:
        """Pixels a side of what the network was made to see."""
        return self.size if self.crop is None else self.crop

    def rows(self, classes: Sequence[str]) -> list[int]:
        """The outputs that are these classes.

        Raises:
            OwnModelError: naming the classes that no output has.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            hints = []
            for name in missing:
                near = difflib.get_close_matches(name, self.classes, 1)
                hints.append(f"{name!r}" + (f" (meant by {near[0]!r}?)" if near else ""))
            raise OwnModelError(
                f"The own source model has no output for {', '.join(hints)}. Its outputs: "
                f"{', '.join(self.classes)}. Call the output in `classes` as the data set does, or "
                "choose a protocol without that class."
            )
        return [self.classes.index(name) for name in classes]

    def fingerprint(self) -> str:
        """Of the description and the content of its file: sha256 in hexadecimal digits."""
        said = self.model_dump(mode="json", exclude={"weights"} if self.is_program else set())
        return hashlib.sha256(json.dumps([said, file_digest(self.file)]).encode()).hexdigest()

    def notes(self, classes: Sequence[str], size: int, crop: int) -> list[str]:
        """What a run does otherwise than the network expects, in sentences.

        Args:
            classes: those that the run uses.
            size, crop: pixels of the run's prepared images and of what the network is shown.
        """
        found = []
        unused = [name for name in self.classes if name not in classes]
        if unused:
            more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
            found.append(
                f"Of {len(self.classes)} outputs, {len(classes)} are used; not used: "
                f"{', '.join(unused[:8])}{more}."
            )
        if (size, crop) != (self.size, self.crop_pixels):
            found.append(
                f"It was made for size {self.size} and crop {self.crop_pixels}, and is shown size "
                f"{size} and crop {crop}. To be like its training, set both."
            )
        if self.interpolation != "bilinear":
            found.append(
                f"It was trained on images resized {self.interpolation}; here they are resized "
                "bilinear (antialiased), which may cost a little accuracy."
            )
        return found


def file_digest(file: Path) -> str:
    """sha256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_own_model(file: Path) -> OwnModel:
    """What a file of YAML or JSON says of an own source model; it is checked, nothing is loaded.

    A kept or exported model, FILE.safetensors with its card beside it, describes itself.

    Raises:
        OwnModelError: naming the file, the key, the value found and what to do.
    """
    if file.suffix == ".safetensors":
        return _of_card(file)
    try:
        said: Any = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise OwnModelError(
            f"source_model {str(file)!r} cannot be read ({error.strerror}). Give the path of a "
            "YAML file that describes the network; docs/own_model.md has one to copy."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OwnModelError(
            f"source_model {str(file)!r} is no YAML or JSON ({error}). It describes a network and "
            "names its file; docs/own_model.md has one to copy."
        ) from error
    if not isinstance(said, dict):
        raise OwnModelError(f"source_model {str(file)!r} holds no `key: value` lines.")
    try:
        return OwnModel.model_validate({**said, "folder": file.parent})
    except ValidationError as error:
        lines = [_sentence(dict(found)) for found in error.errors()]
        known = ", ".join(name for name in OwnModel.model_fields if name != "folder")
        raise OwnModelError(
            f"source_model {str(file)!r}: {'; '.join(lines)}. Keys: {known}."
        ) from None


def _of_card(file: Path) -> OwnModel:
    card = file.with_suffix(".json")
    try:
        said = json.loads(card.read_text("utf-8"))
        (member,) = said["members"]
        return OwnModel(
            network=KEPT,
            weights=file.name,
            trained_on=said["configuration"].get("data"),
            folder=file.parent,
            **{name: member[name] for name in ("mean", "deviation")},
            **{name: said[name] for name in ("classes", "size", "crop")},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OwnModelError(
            f"source_model {str(file)!r}: its card {card.name!r} is missing, damaged, or of a "
            f"mixture of several models ({error}). Give a model that a run has kept or exported, "
            "with the card beside it."
        ) from error


def _sentence(found: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"])
    message = str(found["msg"]).removeprefix("Value error, ")
    if not where:
        return message
    if found["type"] == "missing":
        return f"{where} is missing"
    return f"{where} = {found['input']!r}: {message}"
