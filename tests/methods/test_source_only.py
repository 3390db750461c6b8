from collections.abc import Callable
from typing import Any

import pytest
import torch

from socketlab.data.views import Views
from socketlab.methods import UnknownOption, check_options
from socketlab.models.classifier import Classifier
from socketlab.training.inference import predict
from socketlab.training.precision import Precision

Begin = Callable[..., Any]


def test_it_is_the_source_model_scored_on_the_target(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    training = begin("source_only", views).finish()
    assert [step.kind for step in training.taken] == ["start"]
    precision = Precision(torch.device("cpu"), torch.float32, "a test")
    logits = predict(source_model, views.evaluation.images, 14, precision).logits
    step = training.taken[0]
    assert torch.equal(step.evaluation.answers, logits.argmax(1))
    right = (logits.argmax(1) == views.evaluation.labels).float().mean()
    assert abs(step.evaluation.accuracy - float(right)) < 1e-6
    assert not step.terms


def test_it_cannot_be_told_to_train() -> None:
    with pytest.raises(UnknownOption, match="epochs = 5"):
        check_options("source_only", {"epochs": 5})
