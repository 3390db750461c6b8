from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from socketlab.data.views import Views

Begin = Callable[..., Any]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_term_by_hand(smoothing: float, views: Views, begin: Begin) -> None:
    """Cross-entropy to the labels of the batch's own images, smoothed towards all classes."""
    training = begin("oracle_labels", views, label_smoothing=smoothing)
    training.until("start")
    index, images = training.method.target_batch(0)
    logits = training.method.student.train()(images).detach().double().numpy()
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.eye(3)[views.target_labels.labels[index].numpy()] * (1 - smoothing) + smoothing / 3
    expected = -(wanted * logarithms).sum(1).mean()
    found = training.until("step").terms["cross_entropy"]
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_it_fits_the_labels_it_is_given(views: Views, begin: Begin) -> None:
    """Random labels, that nothing but the labels themselves could tell."""
    scored = views.replaced(evaluation=views.target_labels)
    training = begin("oracle_labels", scored, epochs=50, batch_size=13, learning_rate=0.02)
    training.finish()
    assert training.taken[-1].evaluation.accuracy > 0.9 > training.taken[0].evaluation.accuracy
