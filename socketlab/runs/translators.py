"""Which translator a transfer sees through: one trained in the same run, or one from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from socketlab.data.manifest import sensor_of
from socketlab.data.overlaps import check_overlap
from socketlab.methods import check_options, method_class
from socketlab.models.checkpoint import load_card, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.translator import Translator
from socketlab.runs.places import at_home
from socketlab.runs.shared_parameters import Parameters

TRAINED_BY = "translated"
SUFFIX = ".safetensors"


class WrongTranslator(ValueError):  # noqa: N818 - reads as the thing found
    """A translator that is not there, or was trained for something else."""


def translator_name(parameters: Parameters, name: str) -> str | None:
    """Whose translator the method or variant `name` sees through, or None where it needs none.

    Raises:
        WrongTranslator: if that is neither a method that trains one nor a safetensors file.
    """
    method = parameters.method_of(name)
    if not method_class(method).needs_translator:
        return None
    asked = str(getattr(check_options(method, parameters.options_of(name)), "translator", ""))
    if not asked.endswith(SUFFIX) and parameters.method_of(asked) != TRAINED_BY:
        raise WrongTranslator(
            f"{name!r} has translator {asked!r}, which trains none. Give {TRAINED_BY!r}, a variant "
            f"of it, or the path of a {SUFFIX} file that 04_train_translator has made."
        )
    return asked


def translator_file(asked: str) -> Path:
    """The file of a translator that is not trained in the run.

    Raises:
        WrongTranslator: if there is no such file.
    """
    path = at_home(asked)
    if not path.is_file():
        raise WrongTranslator(
            f"There is no translator {str(path)!r}. Give {TRAINED_BY!r} to train one in this run."
        )
    return path


@dataclass(frozen=True)
class Input:
    """What a network is shown: its domain, pixels as prepared and as cropped, and the encoding."""

    domain: str
    size: int
    crop: int
    encoding: str


def load_translator(
    path: Path, wanted: Input, source: Classifier, *, data: str | None = None
) -> Translator:
    """The translator of a checkpoint, if it fits what it will be shown and the source model.

    `data` is the data set that it will be scored on, which must not share images with the one that
    it was trained on.

    Raises:
        CheckpointError: if the checkpoint is damaged or incomplete.
        WrongTranslator: naming what is another, both values, and what to do.
    """
    card = load_card(path)
    member = card.members[0]
    encoding = str(card.configuration.get("encoding", "replicate"))
    there = Input(card.domain, card.size, card.crop, encoding)
    ours, theirs = _constants(source.mean, source.deviation), (*member.mean, *member.deviation)
    same = torch.allclose(torch.tensor(ours), torch.tensor(theirs))
    problems = {
        f"is of method {card.method!r}, which trains none": card.method != TRAINED_BY,
        f"was trained on {there.domain}, and the target is {wanted.domain}": (
            _modality(there.domain) != _modality(wanted.domain)
        ),
        f"was trained at {there.crop} of {there.size} pixels, and the input has {wanted.crop} of "
        f"{wanted.size}": (there.crop, there.size) != (wanted.crop, wanted.size),
        f"was trained on encoding {there.encoding!r}, and the input has {wanted.encoding!r}": (
            there.encoding != wanted.encoding
        ),
        f"was trained for a source model that normalises by {_rounded(theirs)}, and this one by "
        f"{_rounded(ours)}": not same,
    }
    for problem, found in problems.items():
        if found:
            raise WrongTranslator(
                f"The translator {str(path)!r} {problem}. Train one with these parameters "
                f"(translator: {TRAINED_BY})."
            )
    trained_on = card.configuration.get("data")
    if data is not None and trained_on is not None:
        try:
            check_overlap(str(trained_on), data)
        except ValueError as shared:
            message = f"The translator {str(path)!r} cannot be used: {shared}"
            raise WrongTranslator(message) from shared
    return load_classifier(path)[0].members[0].translator


def _constants(mean: Tensor, deviation: Tensor) -> tuple[float, ...]:
    """Three means and three deviations, as a card has them."""
    return (*mean.flatten().tolist(), *deviation.flatten().tolist())


def _modality(domain: str) -> str:
    return domain.removeprefix(sensor_of(domain))


def _rounded(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
