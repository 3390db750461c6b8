"""Methods that paint take one channel; all others take what colour images have."""

import copy
from typing import Any

import pytest
import torch

from socketlab.methods import REGISTRY, ThreeChannels, build_method, check_channels, method_class
from socketlab.models.classifier import Classifier
from socketlab.training.precision import Precision

PAINT = {"translated", "tgkt", "socket_translated"}
PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_what_paints_takes_one_channel(name: str) -> None:
    method = method_class(name)
    for encoding in ("replicate", "inverse"):
        check_channels(method, encoding)
    for encoding in ("colormap", "hha"):
        if name not in PAINT:
            check_channels(method, encoding)
            continue
        message = f"'{name}' paints one channel .* '{encoding}' gives three.*'replicate'"
        with pytest.raises(ThreeChannels, match=message):
            check_channels(method, encoding)


def test_a_method_is_not_made_of_what_it_cannot_paint(views: Any) -> None:
    about: dict[str, Any] = {"crop": 14, "seed": 0, "precision": PRECISION}
    with pytest.raises(ThreeChannels, match="'translated'"):
        build_method("translated", {}, views, encoding="colormap", **about)


@pytest.mark.parametrize("name", ["shot", "socket"])
def test_others_learn_from_colours(name: str, views: Any, original: Classifier) -> None:
    weights = []
    for encoding in ("replicate", "colormap"):
        about: dict[str, Any] = {"crop": 14, "seed": 0, "precision": PRECISION}
        options = {"epochs": 1, "batch_size": 4}
        method = build_method(name, options, views, encoding=encoding, **about)
        # a translator that fails when it is asked: what has three channels goes past it
        source = copy.deepcopy(original)
        if encoding == "colormap":
            source.translator.forward = refuse  # type: ignore[method-assign]
        for _ in method.fit(source, views.target, views.pairs):
            pass
        assert isinstance(method.model, Classifier)
        weights.append(method.model.state_dict())
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def refuse(images: torch.Tensor) -> torch.Tensor:
    raise AssertionError(f"a translator was shown {tuple(images.shape)}")
