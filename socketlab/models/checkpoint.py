"""Checkpoints: weights as safetensors, and beside them a JSON card that says what they are."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, Mixture, joined
from socketlab.models.own_model import keep_program, rebuilt_network
from socketlab.models.own_model_spec import OwnNetwork


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or not what its card says."""


class Member(BaseModel):
    """One network: most models are one, a model from several sources is a mixture of them.

    `own` is there where somebody else's network was wrapped; `bottleneck` is the width of features.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    bottleneck: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    translator: str = "replicate"
    own: OwnNetwork | None = None


class Card(BaseModel):
    """What a person or program must know to use a checkpoint; stored as `<name>.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    mixing: tuple[float, ...] = ()
    domain: str
    crop: int
    size: int
    method: str
    configuration: dict[str, Any]
    scores: dict[str, float]
    sha256: str = ""


def card_path(weights: Path) -> Path:
    """The card that belongs to a weights file."""
    return weights.with_suffix(".json")


def save_classifier(model: AnyClassifier, path: Path, card: Card) -> Path:
    """Write weights and card, each under a temporary name first, the card last.

    The card carries the weights' sha256, so that a pair torn by a crash is noticed. A program that
    was wrapped is put beside them, once for all models of it in that folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for member in model.members:
        keep_program(member, path.parent)
    temporary = path.with_suffix(".safetensors.partial")
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    save_file(tensors, temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    temporary_card = card_path(path).with_suffix(".json.partial")
    described = card.model_copy(update={"sha256": digest})
    temporary_card.write_text(described.model_dump_json(indent=2), "utf-8")
    os.replace(temporary, path)
    os.replace(temporary_card, card_path(path))
    return path


def describe_classifier(model: AnyClassifier, **about: Any) -> Card:
    """A card for `model`; `about` gives what the network itself does not know.

    Args:
        about: domain, crop, size, method, configuration, scores.
    """
    mixing = model.mixing_weights().tolist() if isinstance(model, Mixture) else ()
    members = tuple(_member(member) for member in model.members)
    return Card(classes=model.classes, members=members, mixing=mixing, **about)


def _member(model: Classifier) -> Member:
    mean, deviation = (buffer.flatten().tolist() for buffer in (model.mean, model.deviation))
    return Member(
        backbone=model.backbone,
        bottleneck=model.width,
        mean=mean,
        deviation=deviation,
        translator=model.translator.name,
        own=model.own,
    )


def load_card(path: Path) -> Card:
    """Read and check the card beside a weights file.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    file = card_path(path)
    try:
        return Card.model_validate_json(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"No model at {str(path)!r}: its card {file.name!r} is missing. Train it first, or "
            "give the path of another checkpoint."
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise CheckpointError(f"The card {str(file)!r} is not valid: {error}") from error


def check_weights(path: Path) -> Card:
    """The card of a weights file that is whole: its sha256 is the one that the card says.

    Raises:
        CheckpointError: if a file is missing, torn or damaged.
    """
    card = load_card(path)
    if not path.is_file():
        raise CheckpointError(f"No weights at {str(path)!r} beside their card. Train again.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != card.sha256:
        raise CheckpointError(
            f"{str(path)!r} has sha256 {digest[:12]}, its card says {card.sha256[:12]}: the file "
            "is damaged or was changed. Remove both files and train again."
        )
    return card


def load_classifier(path: Path) -> tuple[AnyClassifier, Card]:
    """Rebuild the classifier, or the mixture of several, that `save_classifier` wrote.

    In eval mode, on the CPU.

    Raises:
        CheckpointError: if a file is missing, torn or damaged.
    """
    card = check_weights(path)
    try:
        model = joined([build_member(member, card.classes, path.parent) for member in card.members])
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} does not fit its card: {error}") from error
    return model.eval(), card


def build_member(member: Member, classes: Sequence[str], folder: Path) -> Classifier:
    """A network as a card describes it, for these classes; its weights are still to be loaded.

    Args:
        member: as the card has it.
        classes: in the order of the logits.
        folder: where the file of an own model's program lies.

    Raises:
        ValueError: for a network that cannot be built.
    """
    given = None
    if member.own is not None:
        given = rebuilt_network(member.own, len(classes), member.bottleneck, folder)
    return Classifier(
        member.backbone,
        classes,
        mean=member.mean,
        deviation=member.deviation,
        bottleneck=member.bottleneck,
        translator=member.translator,
        given=given,
    )
