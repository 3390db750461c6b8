"""What is measured by speed.py: the cases, made-up images, and a training of each case."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Evaluation, ImagePairs, Images, SourceImages, TargetImages, Views
from socketlab.methods import REGISTRY, UnknownOption, build_method, check_options, method_class
from socketlab.methods.base import Transfer
from socketlab.methods.source import Source, check_source_options
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.models.translator import build_translator
from socketlab.training.inference import Outputs, Scorer
from socketlab.training.precision import (
    CompilerChoice,
    DeviceChoice,
    DtypeChoice,
    Precision,
    choose_precision,
)
from socketlab.training.steps import Step

SOURCE = "source"
UNTRAINED = ("source_only", "adabn")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "socket, fixed crops": ("socket", {"pair_crops": "fixed"}),
    "socket, one pass": ("socket", {"one_pass": True, "pair_statistics": "moving"}),
}
"""By name: a registered method, and what it is given that is not its default."""

# What else a method is given: all of its terms from the first step on.
GIVEN: dict[str, dict[str, Any]] = {"translated": {"information_start": 0.0}}
TRANSLATOR = "residual"
DIFFERENT = 64
"""How many images are made up; more are the same ones again."""


@dataclass(frozen=True)
class Case:
    """One training to be measured.

    Attributes:
        method: `source`, a registered one, or one of `VARIANTS`.
        images: target images; 0 for as many as the measured steps need.
        spared: whether what the network says of all target images is made up, not predicted.
    """

    network: str
    crop: int
    method: str
    dtype: DtypeChoice = "auto"
    device: DeviceChoice = "cpu"
    compiler: CompilerChoice = "off"
    batch: int = 32
    images: int = 0
    classes: int = 10
    sources: int = 1
    spared: bool = False

    @property
    def stored(self) -> int:
        """Side of a stored image, of which a crop is taken: 128 for 112."""
        return self.crop + self.crop // 7

    @property
    def text(self) -> str:
        """All of it in one line, by which a row is found again."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())

    def precision(self) -> Precision:
        """Device, number format and compiler, as a run would choose them."""
        return choose_precision(self.device, self.dtype, self.compiler)


def methods() -> list[str]:
    """Source training, every registered method that trains, and the variants that there are."""
    names = [SOURCE, *(name for name in REGISTRY if name not in UNTRAINED)]
    for variant, (method, options) in VARIANTS.items():
        try:
            check_options(method, options)
        except UnknownOption:
            continue
        names.insert(names.index(method) + 1, variant)
    return names


def made_up(kind: str, count: int, size: int) -> Images:
    """`count` images of random integers: rgb (bytes), depth (16 bits) or nir (bytes)."""
    draw = torch.Generator().manual_seed(0)
    shape = (min(count, DIFFERENT), size, size, *((3,) if kind == "rgb" else ()))
    high = 8000 if kind == "depth" else 256
    raw = torch.randint(0, high, shape, generator=draw, dtype=torch.int16)
    formats = {
        "rgb": PixelFormat("rgb", 0, 255, None),
        "nir": PixelFormat("nir", 0, 255, None),
        "depth": PixelFormat("depth", 500, 8000, 0),
    }
    stored = raw.view(torch.uint16) if kind == "depth" else raw.to(torch.uint8)
    every = torch.arange(count) % shape[0]
    images = Images(stored, formats[kind], tuple(map(str, range(shape[0])))).rows(every)
    return Images(images.raw, images.format, tuple(map(str, range(count))))


def labelled(images: Images, classes: int) -> tuple[Images, Tensor, tuple[str, ...], str]:
    """What a labelled view is made of; labels go round."""
    names = tuple(f"class {number}" for number in range(classes))
    return images, torch.arange(len(images)) % classes, names, "made/up"


def source_models(case: Case) -> list[Classifier]:
    """Untrained networks: what a step costs does not depend on what they know."""
    torch.manual_seed(0)
    names = labelled(made_up("rgb", 1, 8), case.classes)[2]
    return [Classifier(case.network, names) for _ in range(case.sources)]


class Training:
    """A training of a case that has not begun: `task`, and `steps()`, which begins it.

    Args:
        case: what is trained.
        steps: how many it must be able to take in its first epoch.
        epochs: how many it has.
    """

    def __init__(self, case: Case, steps: int, *, epochs: int = 1) -> None:
        self.case, self.sources = case, source_models(case)
        count = case.images or case.batch * steps
        self.precision = case.precision()
        about: dict[str, Any] = {"crop": case.crop, "seed": 0, "precision": self.precision}
        name, options = VARIANTS.get(case.method, (case.method, {}))
        options = {"batch_size": case.batch, "epochs": epochs, **GIVEN.get(name, {}), **options}
        self.task: Source | Transfer
        self.given: tuple[Any, ...]
        """What `fit` is given."""
        if name == SOURCE:
            self.task = Source(check_source_options({"backbone": case.network, **options}), **about)
            rgb = made_up("rgb", count + -(-count // 8), case.stored)  # a tenth is kept out
            self.given = (SourceImages(*labelled(rgb, case.classes)),)
        else:
            # As few bytes as there are, where images are many.
            target = made_up("nir" if case.spared else "depth", count, case.stored)
            pairs = _pairs(target, 4 * case.batch if case.spared else count)
            self.evaluation = Evaluation(*labelled(target, case.classes))
            self.given = (self.sources, TargetImages(target, "made/up"), pairs)
            views = Views(
                target_labels=self.evaluation, target_pairs=_pairs(target), target=self.given[1]
            )
            if method_class(name).needs_translator:
                about["translator"] = build_translator(TRANSLATOR)
            if "statistics_first" in method_class(name).options_model.model_fields:
                options["statistics_first"] = not case.spared
            self.task = build_method(name, options, views, **about)
            if case.spared:
                self.task.outputs_of = self._made_up_outputs  # type: ignore[method-assign]
        self.count = count

    def _made_up_outputs(self, model: AnyClassifier) -> Outputs:
        draw = torch.Generator().manual_seed(1)
        shape = (self.count, model.members[0].width)
        features = torch.randn(shape, generator=draw)
        logits = torch.randn((self.count, self.case.classes), generator=draw)
        return Outputs(features, logits).to(self.precision.device)

    def steps(self, evaluate: Scorer | None = None) -> Iterator[Step]:
        """What `fit` yields."""
        return self.task.fit(*self.given, evaluate=evaluate)

    def expected_memory(self) -> float:
        """MiB at the peak as they are estimated before a training."""
        return self.task.expect(*self.given).peak


def _pairs(target: Images, most: int | None = None) -> ImagePairs:
    if most is not None and most < len(target):
        target = target.rows(torch.arange(most))
    rgb = made_up("rgb", len(target), target.raw.shape[1])
    return ImagePairs(rgb, target, target.ids)
