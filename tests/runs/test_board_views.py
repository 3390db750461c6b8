"""What the board is given of a training: the images it is scored on, in order, and paintings."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from socketlab.data.views import Evaluation
from socketlab.figures.translations import Translation
from socketlab.methods.source import Source
from socketlab.runs.board_views import StageSubject, source_subject, transfer_subject
from socketlab.runs.experiment import Experiment


def test_a_transfer_shows_the_images_it_is_scored_on(adapted: Experiment) -> None:
    trip = adapted.trip()
    subject = transfer_subject(adapted, trip)
    evaluation = adapted.views(trip.target, trip.protocol).evaluation
    assert subject.classes == evaluation.classes
    assert subject.truth == evaluation.labels.tolist()
    picture = subject.picture(3)
    assert picture.dtype == np.uint8 and picture.shape == (32, 32, 3)
    assert not np.array_equal(picture, subject.picture(4))
    assert subject.painted() is None


def test_a_source_model_shows_the_images_that_it_keeps_out(adapted: Experiment) -> None:
    """Held together with the scoring itself: a model that knows the truth is right on all."""
    given = adapted.parameters
    (source,) = given.source_domains
    trainer = Source(
        adapted.source_options[source],
        crop=given.crop_pixels,
        seed=given.seed,
        precision=adapted.precision,
    )
    start = next(iter(trainer.fit(adapted.views(source=source).source)))
    assert start.evaluation is not None
    truth = torch.tensor(source_subject(adapted, source).truth)
    answers, classes = start.evaluation.answers, len(start.evaluation.confusion)
    found = torch.bincount(truth * classes + answers, minlength=classes**2).view(classes, classes)
    assert torch.equal(found, start.evaluation.confusion)


def test_a_picture_of_colour_is_the_stored_one(adapted: Experiment) -> None:
    subject = source_subject(adapted)
    images = adapted.views().source.images.raw.numpy()
    assert any(np.array_equal(subject.picture(0), stored) for stored in images)


def test_no_image_is_read_before_one_is_asked_for() -> None:
    def forbidden() -> Evaluation:
        raise AssertionError("the images were read")

    subject = StageSubject(forbidden)
    with pytest.raises(AssertionError, match="were read"):
        _ = subject.classes


class Painted:
    """Two images at every epoch kept, of which the first has a true RGB."""

    def __init__(self, *epochs: int) -> None:
        self.epochs = list(epochs)

    def at(self, epoch: int) -> list[Translation]:
        """A painting as bright as the epoch."""
        grey, colour = np.full((16, 16), 0.5), np.full((16, 16, 3), epoch / 10)
        truth = np.zeros((16, 16, 3))
        return [
            Translation("TI pair", "depth", grey, colour, true, {}, {}) for true in (truth, None)
        ]


def test_the_newest_paintings_stand_in_columns_under_what_was_seen() -> None:
    def scored() -> Any:
        raise AssertionError("no scored image is needed")

    kept: Any = Painted(0, 4)
    png = StageSubject(scored, kept).painted()
    assert png is not None
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    middles = pixels[40::84, 40::84, 0]
    assert middles.tolist() == [[128, 128], [102, 102], [0, 255]]
    kept = Painted()
    assert StageSubject(scored, kept).painted() is None
