import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from socketlab.data.views import ImagePairs, Images
from socketlab.models.classifier import Classifier
from socketlab.training import estimate, rehearsal
from socketlab.training.estimate import (
    CHOICES,
    Expected,
    NotEnoughMemory,
    choose,
    expect_memory,
    moving,
)
from socketlab.training.inference import looked_at_once, predict
from socketlab.training.live_storage import LiveStorage
from socketlab.training.precision import Precision
from socketlab.training.rehearsal import (
    HEAP_GAPS,
    Measured,
    MemoryModel,
    few_rows,
    measure,
)

CPU = torch.device("cpu")
MIB = 2**20


def model(*parts: Any, looked: int = 64, gaps: float = 0.0, resident: int = 0) -> MemoryModel:
    """Of parts (scale, values at 4, values at 8); twice as many images as in a batch."""
    first, second = (
        Measured(size, 2 * size, tuple((p[0], p[1 + n]) for p in parts))
        for n, size in enumerate((4, 8))
    )
    return MemoryModel((first, second), looked, gaps, resident)


def test_storages_count_while_they_live() -> None:
    outside = torch.zeros(MIB)
    with LiveStorage() as live:
        a = torch.ones(MIB)
        view = a.view(-1, 4)[1:]
        outside.add_(1)
        assert outside.view(4, -1).shape == (4, MIB // 4)
        b = a + 1
        del a
        assert max(live.taken()) == 8 * MIB
        del view
        c = b * 2
        assert live.taken()[-1] == 8 * MIB
        del b, c
        torch.ones(1)
        assert live.taken()[-1] == 4
        assert len(live.taken()) == 1


def test_each_operation_s_memory_is_a_line_and_the_largest_counts() -> None:
    """At 4 and 8 the optimiser needs most, from a batch of 23 on the activations."""
    found = model(("batch", (100, 40), (100, 60)))
    assert [found.peak(size) for size in (2, 4, 8, 16, 32)] == [100, 100, 100, 100, 180]


def test_what_is_looked_at_does_not_grow_with_the_batch() -> None:
    found = model(("looked", (80,), (160,)), ("batch", (4,), (8,)), looked=64)
    assert found.peak(4) == 640
    assert found.peak(700) == 700


def test_gaps_are_a_share_and_images_are_added() -> None:
    assert model(("batch", (100,), (200,)), gaps=0.3, resident=7).peak(16) == 520 + 7


def test_other_operations_are_compared_by_their_largest() -> None:
    assert model(("batch", (1, 40, 3), (80, 2))).peak(16) == 160


@pytest.mark.parametrize(
    ("free", "images", "size", "why"),
    [
        (10_000, 10_000, 256, "fits into 80 %"),
        (319, 10_000, 128, "fits into 80 %"),  # 80 % of it are 255
        (320, 10_000, 256, "fits into 80 %"),
        (10_000, 1_279, 64, "leaves 10 steps"),
        (10_000, 1_280, 128, "leaves 10 steps"),
        (30, 10_000, 16, "fits into 80 %"),
        (10_000, 100, 8, "leaves 10 steps"),
        (10_000, 13, 2, "13 images are too few"),
        (3, 10_000, 2, "fits into 80 %"),
        (None, 10_000, 32, "nobody says"),
        (None, 9, 9, "nobody says"),
    ],
)
def test_auto_is_the_largest_that_fits(free: int | None, images: int, size: int, why: str) -> None:
    one_byte_an_image = model(("batch", (4,), (8,)))
    found, reason = choose(one_byte_an_image, images, images, free)
    assert found == size
    assert why in reason.replace("80%", "80 %")


def test_auto_is_no_larger_than_what_there_is_for_a_batch() -> None:
    assert choose(model(("batch", (4,), (8,))), 40, 10_000, 10_000)[0] == 32


def test_auto_says_where_nothing_fits() -> None:
    with pytest.raises(NotEnoughMemory, match="a batch of 2 needs 2 MiB, and may take 80%"):
        choose(model(("batch", (4 * MIB,), (8 * MIB,))), 100, 100, MIB)


def asked(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, free: int | None, **about: Any
) -> Expected:
    """The expectation where an image takes a MiB, and the process holds 100."""
    lines = model(("batch", (4 * MIB,), (8 * MIB,)))
    monkeypatch.setattr(estimate, "measure", lambda *_: lines)
    monkeypatch.setattr(estimate, "held_memory", lambda _: 100 * MIB)
    monkeypatch.setattr(estimate, "free_memory", lambda _: free)
    rehearse: Any = None
    given: dict[str, Any] = {"asked": 32, "images": 1000} | about
    return expect_memory(rehearse, precision=precision, **given)


def test_what_is_expected_is_said(monkeypatch: pytest.MonkeyPatch, precision: Precision) -> None:
    found = asked(monkeypatch, precision, 400 * MIB)
    assert (found.batch_size, found.peak, found.held, found.free) == (32, 132, 100, 400)
    assert str(found) == (
        "memory: 32 MiB more of 400 MiB that are free, 132 MiB at the peak; batch size 32"
    )
    assert found.beside(140) == "140 MiB at the peak, 132 MiB were expected"
    assert "of" not in str(asked(monkeypatch, precision, None))


def test_too_much_is_warned_of_with_what_fits(
    monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    found = asked(monkeypatch, precision, 20 * MIB)
    assert found.batch_size == 32
    assert "Warning" in str(found) and "batch_size: 16 fits" in str(found)
    assert "no batch size fits" in str(asked(monkeypatch, precision, MIB))
    assert "Warning" not in str(asked(monkeypatch, precision, 32 * MIB))


def test_auto_is_said_with_its_reason_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    found = asked(monkeypatch, precision, 400 * MIB, asked="auto")
    assert found.batch_size == 64 and "batch size 64 (auto: " in str(found)
    kept = asked(monkeypatch, precision, 400 * MIB, asked="auto", kept=16)
    assert (kept.batch_size, kept.reason) == (16, "auto: as before the interruption")
    assert asked(monkeypatch, precision, 400 * MIB, images=9).batch_size == 9


def test_as_many_are_looked_at_as_predict_takes(
    make_model: Callable[[], Classifier],
    make_images: Callable[..., Images],
    precision: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, sizes = make_model(), list[int]()
    outputs = network.outputs

    def counted(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(images))
        return outputs(images)

    monkeypatch.setattr(network, "outputs", counted)
    predict(network, make_images("rgb", count=300), 14, precision)
    assert max(sizes) == looked_at_once(CPU)


def test_images_count_where_they_move(make_images: Callable[..., Images]) -> None:
    images = make_images("rgb", count=2, size=16)
    pairs = ImagePairs(images, make_images("depth", count=2, size=16), ("a", "b"))
    there: list[Images | ImagePairs | None] = [images, pairs, None]
    assert moving(there, torch.device("meta")) == 2 * 256 * (3 + 3 + 2)
    assert moving(there, CPU) == 0


def test_rows_begin_again_where_they_are_too_few() -> None:
    assert few_rows(3, 5).tolist() == [0, 1, 2, 0, 1]
    assert few_rows(9, 2).tolist() == [0, 1]


def test_a_rehearsal_predicts_a_larger_one(make_task: Callable[..., Any]) -> None:
    """The peak of a batch of 24, which was never tried, to 2 %; no random number is drawn."""

    def rehearse(size: int) -> rehearsal.Rehearsal:
        task = make_task(epochs=1)
        task.losses = lambda _: {"first": task.model(torch.ones(size, 3, 64, 64)).square().mean()}
        return rehearsal.Rehearsal(task, lambda: None, lambda: torch.rand(2), size)

    state = torch.random.get_rng_state()
    found = dataclasses.replace(measure(rehearse, CPU), gaps=0.0)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "REHEARSED", (24, 28))
        truth = dataclasses.replace(measure(rehearse, CPU), gaps=0.0).peak(24)
    assert found.peak(24) == pytest.approx(truth, rel=0.02)
    assert truth > 1.5 * found.peak(8)


def test_gaps_are_added_on_a_cpu(make_task: Callable[..., Any]) -> None:
    def rehearse(size: int) -> rehearsal.Rehearsal:
        return rehearsal.Rehearsal(make_task(epochs=1), lambda: None, lambda: None, size)

    assert measure(rehearse, CPU).gaps == HEAP_GAPS
    assert list(CHOICES) == sorted(CHOICES, reverse=True)
