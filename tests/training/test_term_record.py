import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from socketlab.training import term_record
from socketlab.training.term_record import CHECK_EVERY, NonFiniteLoss, ReadBack, TermRecord


def terms(first: float, **more: float) -> dict[str, Tensor]:
    found = {"first": first} | more
    tensors = {name: torch.tensor(value) for name, value in found.items()}
    return tensors | {"total": torch.stack([*tensors.values()]).sum()}


class Slow(ReadBack):
    """A device that is behind: an answer is there when `arrived`, or when somebody waits for it."""

    arrived = False
    waits = 0

    @property
    def ready(self) -> bool:
        return Slow.arrived

    @property
    def value(self) -> Tensor:
        Slow.waits += not Slow.arrived
        return super().value


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Slow]]:
    monkeypatch.setattr(term_record, "ReadBack", Slow)
    Slow.arrived, Slow.waits = False, 0
    yield Slow


def test_means_are_over_the_steps_that_had_the_term() -> None:
    record = TermRecord(0)
    for step in range(CHECK_EVERY + 3):
        record.add(step, terms(float(step), **({"late": 4.0} if step > 20 else {})))
    means = record.means()
    assert set(means) == {"first", "late", "total"}
    assert float(means["first"]) == pytest.approx((CHECK_EVERY + 2) / 2)
    assert float(means["late"]) == 4.0


def test_where_nothing_is_slow_the_answer_is_there_at_once() -> None:
    record = TermRecord(2)
    for step in range(CHECK_EVERY - 1):
        record.add(step, terms(math.nan if step == 3 else 1.0))
    with pytest.raises(NonFiniteLoss, match="Epoch 3, step 4: first = nan"):
        record.add(CHECK_EVERY - 1, terms(1.0))


def test_no_step_waits_for_an_answer_that_is_on_its_way(slow: type[Slow]) -> None:
    record = TermRecord(0)
    for step in range(2 * CHECK_EVERY - 1):
        record.add(step, terms(1.0))
    assert slow.waits == 0
    record.add(2 * CHECK_EVERY - 1, terms(1.0))
    assert slow.waits == 1
    record.means()
    assert slow.waits == 2


def test_an_answer_is_looked_at_as_soon_as_it_is_there(slow: type[Slow]) -> None:
    record = TermRecord(0)
    for step in range(CHECK_EVERY + 4):
        record.add(step, terms(math.inf if step == 7 else 1.0))
    slow.arrived = True
    with pytest.raises(NonFiniteLoss, match="step 8: first = inf"):
        record.add(CHECK_EVERY + 4, terms(1.0))


@pytest.mark.parametrize("bad", [7, CHECK_EVERY + 1, 2 * CHECK_EVERY + 1])
def test_an_epoch_does_not_end_before_all_is_known(slow: type[Slow], bad: int) -> None:
    record = TermRecord(0)
    with pytest.raises(NonFiniteLoss, match=f"step {bad + 1}: first = nan, total = nan"):
        for step in range(2 * CHECK_EVERY + 3):
            record.add(step, terms(math.nan if step == bad else 1.0))
        record.means()


def test_a_copy_is_of_the_moment() -> None:
    tensor = torch.tensor([1.0, 2.0])
    copy = ReadBack(tensor)
    tensor.zero_()
    assert copy.ready and copy.value.tolist() == [1.0, 2.0]


def test_what_is_kept_of_an_epoch_has_the_same_means() -> None:
    """A term that only some steps have, too."""
    whole, first, second = TermRecord(0), TermRecord(0), TermRecord(0)
    torch.manual_seed(1)
    for step in range(25):
        terms = {"total": torch.rand(()), **({"some": torch.rand(())} if step % 3 else {})}
        whole.add(step, terms)
        if step < 14:
            first.add(step, terms)
        else:
            if step == 14:
                first.check()
                second.restore(first.kept(), torch.device("cpu"))
            second.add(step, terms)
    assert second.means() == whole.means()
    assert second.means().keys() == {"some", "total"}
