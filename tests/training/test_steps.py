import math

import pytest

from socketlab.training.steps import Look


@pytest.mark.parametrize(
    ("predicted", "note"),
    [
        ((50, 50, 0, 0, 0), "answers fall on 2 of 5 classes"),
        ((100, 0, 0, 0, 0), "answers fall on 1 of 5 classes"),
        ((50, 30, 20, 0, 0), ""),
        ((50, 50, 0, 0), ""),  # half of the classes is not under half
        ((96, 1, 1, 1, 1), "answers fall on 1 of 5 classes"),  # under a tenth of an even share
        ((94, 2, 2, 2, 0), ""),
        ((), ""),
    ],
)
def test_a_collapse_is_named(predicted: tuple[int, ...], note: str) -> None:
    assert Look(predicted=predicted).note == note


def test_entropy_of_the_answers() -> None:
    assert Look(predicted=(7, 7, 7)).predicted_entropy == pytest.approx(math.log(3))
    assert Look(predicted=(0, 9, 0)).predicted_entropy == 0
    wanted = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert Look(predicted=(3, 1)).predicted_entropy == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (1.0, ["wins outright (100.0% right)", "lower adversarial_weight", "adversary"]),
        (0.991, ["wins outright (99.1% right)"]),
        (0.99, []),
        (0.75, []),
        (0.51, []),
        (0.509, ["loses outright (50.9% right)", "lower adversarial_weight"]),
        (0.2, ["loses outright (20.0% right)"]),
        (None, []),
    ],
)
def test_a_discriminator_that_wins_or_loses_outright_is_named(
    accuracy: float | None, words: list[str]
) -> None:
    other = {"psnr": 12.0}
    measures = other if accuracy is None else other | {"discriminator_accuracy": accuracy}
    advice = Look(measures=measures).advice
    assert all(word in advice for word in words)
    assert bool(advice) is bool(words)
    assert Look(measures=measures).note == ""
