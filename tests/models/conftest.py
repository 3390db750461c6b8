"""A classifier small enough to be built many times."""

from collections.abc import Callable

import pytest
import torch

from socketlab.models.classifier import Classifier

CLASSES = ("bed", "desk", "sofa")


@pytest.fixture
def build() -> Callable[..., Classifier]:
    """A classifier of three classes whose running statistics are not those of a new network."""

    def make(**about: object) -> Classifier:
        model = Classifier("resnet_small", CLASSES, bottleneck=8, **about)  # type: ignore[arg-type]
        with torch.no_grad():
            model.train()(torch.rand(6, 3, 14, 14))
        return model.eval()

    return make
