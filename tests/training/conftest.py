"""Small random images of every modality, and a training of a few steps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import dropout

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Images
from socketlab.models.classifier import Classifier
from socketlab.training.batches import generator
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.precision import Precision
from socketlab.training.steps import Look
from socketlab.training.task import Task

FORMATS = {
    "rgb": PixelFormat("rgb", 0, 255, None),
    "depth": PixelFormat("depth", 500, 60000, 0),
    "nir": PixelFormat("nir", 0, 255, None),
    "deep_nir": PixelFormat("nir", 0, 65535, None),
}


@pytest.fixture
def precision() -> Precision:
    """The CPU, float32."""
    return Precision(torch.device("cpu"), torch.float32, "a test")


@pytest.fixture
def make_images() -> Callable[..., Images]:
    """Random prepared images; depth has values beyond 32767 and pixels without a reading."""

    def make(kind: str, count: int = 7, size: int = 16, seed: int = 0) -> Images:
        random = torch.Generator().manual_seed(seed)
        high = 65536 if kind in ("depth", "deep_nir") else 256
        shape = (count, size, size, 3) if kind == "rgb" else (count, size, size)
        raw = torch.randint(0, high, shape, generator=random, dtype=torch.int32)
        if kind == "depth":
            raw[torch.rand(shape, generator=random) < 0.1] = 0
        raw = raw.to(torch.uint16 if high > 256 else torch.uint8)
        return Images(raw, FORMATS[kind], tuple(f"{kind}-{row}" for row in range(count)))

    return make


@pytest.fixture
def make_model() -> Callable[[], Classifier]:
    """A classifier of three classes, the same one every time."""

    def make() -> Classifier:
        torch.manual_seed(5)
        return Classifier("resnet_small", ("bed", "desk", "sofa"), bottleneck=8)

    return make


class Toy(Task):
    """Two terms on random images, one of which draws from the global generator as dropout does."""

    def __init__(self, model: Classifier, precision: Precision, epochs: int, steps: int) -> None:
        self.model = model
        self.optimiser = build_sgd(model, SgdOptions(batch_size=4, learning_rate=0.02))
        self.weights = {"first": 1.0, "second": 0.5}
        self.epochs, self.steps_per_epoch = epochs, steps
        self.seed = 11
        self.precision = precision
        self.events: list[str] = []
        self.spoilt: dict[int, float] = {}

    def begin_epoch(self, epoch: int) -> None:
        self.events.append(f"begin {epoch}")

    def losses(self, step: int) -> dict[str, Tensor]:
        self.events.append(f"losses {step}")
        images = torch.rand(4, 3, 14, 14, generator=generator(self.seed, "toy", step))
        logits = self.model(images)
        terms = {"first": dropout(logits, 0.5).square().mean()}
        if self.weights["second"]:
            self.events.append(f"second {step}")
            terms["second"] = (logits - 1).square().mean()
        if step in self.spoilt:
            terms["first"] = terms["first"] * self.spoilt[step]
        return terms

    def settle(self) -> None:
        self.events.append("settle")

    def look(self) -> Look:
        with torch.no_grad():
            bias = float(self.model.bottleneck[0].get_parameter("bias").sum())
        return Look({"bias": bias}, (3, 0, 1))


@pytest.fixture
def make_task(make_model: Callable[[], Classifier], precision: Precision) -> Callable[..., Toy]:
    """A training of two epochs of three steps, always the same one."""

    def make(epochs: int = 2, steps: int = 3) -> Toy:
        return Toy(make_model(), precision, epochs, steps)

    return make
