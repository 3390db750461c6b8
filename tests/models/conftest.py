"""One thread, and a classifier small enough to be built many times."""

from collections.abc import Callable, Iterator

import pytest
import torch

from socketlab.models.classifier import Classifier

CLASSES = ("bed", "desk", "sofa")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums in the same order on every machine, and a seed to begin with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def build() -> Callable[..., Classifier]:
    """A classifier of three classes whose running statistics are not those of a new network."""

    def make(**about: object) -> Classifier:
        model = Classifier("resnet_small", CLASSES, bottleneck=8, **about)  # type: ignore[arg-type]
        with torch.no_grad():
            model.train()(torch.rand(6, 3, 14, 14))
        return model.eval()

    return make
