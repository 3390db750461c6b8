"""Which translator a transfer sees through: one trained in the same run, or one from a file."""

from pathlib import Path

import torch

from socketlab.data.manifest import sensor_of
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


def load_translator(path: Path, target: str, crop: int, source: Classifier) -> Translator:
    """The translator of a checkpoint, if it fits the target, the size and the source model.

    Raises:
        CheckpointError: if the checkpoint is damaged or incomplete.
        WrongTranslator: naming what is another, both values, and what to do.
    """
    card = load_card(path)
    member = card.members[0]
    modality = target.removeprefix(sensor_of(target))
    mean, deviation = (x.flatten().tolist() for x in (source.mean, source.deviation))
    same = torch.allclose(
        torch.tensor([*member.mean, *member.deviation]), torch.tensor([*mean, *deviation])
    )
    problems = {
        f"was trained on {card.domain}, and the target is {target}": (
            card.domain.removeprefix(sensor_of(card.domain)) != modality
        ),
        f"was trained at {card.crop} pixels, and the input has {crop}": card.crop != crop,
        f"was trained for a source model that normalises by {member.mean} and {member.deviation}, "
        f"and this one by {tuple(mean)} and {tuple(deviation)}": not same,
    }
    for problem, found in problems.items():
        if found:
            raise WrongTranslator(
                f"The translator {str(path)!r} {problem}. Train one with these parameters "
                f"(translator: {TRAINED_BY})."
            )
    return load_classifier(path)[0].members[0].translator
