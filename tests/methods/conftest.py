"""A small experiment of random images, and any registered method trained on it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Evaluation, ImagePairs, Images, SourceImages, TargetImages, Views
from socketlab.gap.selection import label_free_scorer
from socketlab.methods import build_method, method_class
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import joined
from socketlab.models.translator import Translator, build_translator
from socketlab.training.inference import scorer
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.steps import Controls, Step

CLASSES = ("bed", "desk", "sofa")
PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")


def _images(kind: str, count: int, seed: int) -> Images:
    random = torch.Generator().manual_seed(seed)
    high, channels = (256, (3,)) if kind == "rgb" else (65536, ())
    shape = (count, 16, 16, *channels)
    # Each image has a brightness of its own, so that images differ by more than noise.
    brightness = torch.rand((count,) + (1,) * (len(shape) - 1), generator=random)
    raw = (torch.rand(shape, generator=random) * brightness * (high - 1)).to(torch.int32)
    if kind == "rgb":
        ids = tuple(f"rgb-{seed}-{row}" for row in range(count))
        return Images(raw.to(torch.uint8), PixelFormat("rgb", 0, 255, None), ids)
    ids = tuple(f"depth-{seed}-{row}" for row in range(count))
    return Images(raw.to(torch.uint16), PixelFormat("depth", 500, 60000, 0), ids)


def _labels(count: int, seed: int) -> Tensor:
    return torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(seed))


def _evaluation(images: Images, seed: int, domain: str) -> Evaluation:
    return Evaluation(images, _labels(len(images), seed), CLASSES, domain)


@pytest.fixture
def views() -> Views:
    """13 target images, 5 TI pairs, 9 images to score on; random labels."""
    source, target = _images("rgb", 12, 1), _images("depth", 13, 2)
    pairs = ImagePairs(_images("rgb", 5, 3), _images("depth", 5, 4), tuple("abcde"))
    return Views(
        source=SourceImages(source, _labels(12, 1), CLASSES, "kv1/rgb"),
        source_evaluation=_evaluation(_images("rgb", 6, 6), 6, "kv1/rgb"),
        target=TargetImages(target, "kv2/depth"),
        pairs=pairs,
        evaluation=_evaluation(_images("depth", 9, 7), 7, "kv2/depth"),
        target_labels=_evaluation(target, 2, "kv2/depth"),
        target_pairs=ImagePairs(_images("rgb", 13, 8), target, target.ids),
        evaluation_pairs=None,
    )


@pytest.fixture(scope="session")
def original() -> Classifier:
    """A classifier that has seen RGB images: its running statistics are theirs."""
    torch.manual_seed(7)
    model = Classifier("resnet_small", CLASSES, bottleneck=8).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(16, 3, 14, 14) * torch.rand(16, 1, 1, 1))
    return model.eval()


@pytest.fixture
def source_model(original: Classifier) -> Classifier:
    """A copy of the classifier for one test."""
    return copy.deepcopy(original)


@dataclass
class Training:
    """A method, its generator of steps, and the steps that have been taken from it."""

    method: Any
    steps: Iterator[Step]
    taken: list[Step] = field(default_factory=list)

    def until(self, kind: str, count: int = 1) -> Step:
        """Go on until `count` more steps of a kind were said."""
        for step in self.steps:
            self.taken.append(step)
            count -= step.kind == kind
            if count == 0:
                return step
        raise AssertionError(f"the training ended before {kind!r}")

    def finish(self) -> "Training":
        """Go on to the end."""
        self.taken.extend(self.steps)
        return self

    def kill(self) -> None:
        """End as a killed process does: nothing more is run."""
        self.steps.close()  # type: ignore[attr-defined]

    @property
    def weights(self) -> dict[str, Tensor]:
        """A copy of all parameters and buffers of the target model."""
        return {name: value.clone() for name, value in self.method.model.state_dict().items()}


def painter() -> Translator:
    """A translator as another training left it; it paints something that grey is not."""
    torch.manual_seed(11)
    translator = build_translator("pointwise").train()
    with torch.no_grad():
        for _ in range(5):
            translator(torch.rand(8, 1, 14, 14) * torch.rand(8, 1, 1, 1))
    return translator.eval()


@pytest.fixture
def begin(source_model: Classifier) -> Callable[..., Training]:
    """A training of a registered method, as an experiment begins it: 2 epochs of 3 steps."""

    def make(
        name: str,
        views: Views,
        *,
        seed: int = 3,
        crop: int = 14,
        controls: Controls | None = None,
        state: StateFile | None = None,
        model: Classifier | list[Classifier] | None = None,
        **options: Any,
    ) -> Training:
        given = {"epochs": 2, "batch_size": 4} | options
        if method_class(name).options_model.model_fields["epochs"].annotation is not int:
            del given["epochs"]  # it is not for a person to choose
        about: dict[str, Any] = {"crop": crop, "seed": seed, "precision": PRECISION}
        if method_class(name).needs_translator:
            about["translator"] = painter()
        method = build_method(name, given, views, **about)
        given_model = source_model if model is None else model
        sources = given_model if isinstance(given_model, list) else [given_model]
        evaluate = scorer(views.evaluation, crop, PRECISION)
        steps = method.fit(
            sources,
            views.target,
            views.pairs,
            evaluate=evaluate,
            assess=label_free_scorer(joined(sources), views.pairs, crop, PRECISION),
            controls=controls,
            state=state,
        )
        return Training(method, steps)

    return make


@pytest.fixture
def statistics_by_hand() -> Callable[[list[nn.BatchNorm2d], list[Tensor]], float]:
    """The normalised distance of layers' inputs to their running statistics, by its definition."""

    def distance(layers: list[nn.BatchNorm2d], inputs: list[Tensor]) -> float:
        total = 0.0
        for x, layer in zip(inputs, layers, strict=True):
            assert layer.running_mean is not None and layer.running_var is not None
            channels = x.transpose(0, 1).flatten(1).double()
            guard = 1e-5 + 1e-3 * layer.running_var.median()
            deviation = (layer.running_var + guard).sqrt()
            shift = (channels.mean(1) - layer.running_mean) / deviation
            stretch = (channels.var(1, correction=0) + guard).sqrt() / deviation - 1
            total += float(shift.square().mean().sqrt() + stretch.square().mean().sqrt())
        return total / len(layers)

    return distance
