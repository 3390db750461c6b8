"""Processes that each have a part of a batch normalise it, and learn from it, as one would."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from socketlab.models import batch_norm
from socketlab.models.batch_norm import synchronised
from socketlab.objectives import statistics_distance
from socketlab.training import gathering
from socketlab.training.gathering import gathered
from socketlab.training.statistics import recorded_statistics

PROCESSES = 3


class Group:
    """Threads in the place of processes; what they exchange is exact."""

    def __init__(self) -> None:
        self._turn = threading.Barrier(PROCESSES, timeout=20)
        self._given: list[Tensor] = [torch.empty(0)] * PROCESSES
        self._of = threading.local()

    def size(self) -> int:
        return PROCESSES

    def rank(self) -> int:
        return int(self._of.rank)

    def exchange(self, x: Tensor) -> list[Tensor]:
        self._turn.wait()
        self._given[self.rank()] = x.clone()
        self._turn.wait()
        return [*self._given]

    def all_gather(self, into: list[Tensor], x: Tensor, group: "Group") -> None:
        assert group is self
        for place, value in zip(into, self.exchange(x), strict=True):
            place.copy_(value)

    def all_reduce(self, x: Tensor, group: "Group") -> None:
        assert group is self
        x.copy_(torch.stack(self.exchange(x)).sum(0))

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """What `work` gives in each process."""
        found: list[Any] = [None] * PROCESSES

        def one(rank: int) -> None:
            self._of.rank = rank
            try:
                found[rank] = work(rank)
            except BaseException as error:
                found[rank] = error
                self._turn.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(PROCESSES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return found


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group()
    exchange = SimpleNamespace(all_gather=made.all_gather, all_reduce=made.all_reduce)
    monkeypatch.setattr(batch_norm, "distributed", exchange)
    monkeypatch.setattr(gathering, "distributed", exchange)
    return made


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        BatchNormAct2d(4),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5, affine=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
        nn.BatchNorm1d(4),
    ).double()


def images() -> Tensor:
    random = torch.Generator().manual_seed(2)
    scale = torch.linspace(0.5, 3, 12).view(12, 1, 1, 1)  # so that no part is like the whole
    return torch.randn(12, 2, 9, 9, generator=random, dtype=torch.double) * scale


def loss(features: Tensor, recorded: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of a batch as a whole: nothing in it is a mean over images."""
    wanted = [(torch.ones_like(mean), torch.full_like(v, 2.0)) for mean, v in recorded]
    return features.softmax(1).mean(0).square().sum() + statistics_distance(
        recorded, wanted, "normalised"
    )


def learnt(model: nn.Module, total: Tensor) -> dict[str, Tensor]:
    total.backward()  # type: ignore[no-untyped-call]
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def of_one(model: nn.Module) -> tuple[Tensor, dict[str, Tensor], list[Any]]:
    with recorded_statistics(model) as recorded:
        features = model(images())
    return features.detach(), learnt(model, loss(features, recorded)), recorded


def of_several(group: Group, models: list[nn.Sequential]) -> list[tuple[Any, ...]]:
    def work(rank: int) -> tuple[Any, ...]:
        model = models[rank]
        with synchronised([model], group):
            with recorded_statistics(model) as recorded:
                own = model(images().chunk(PROCESSES)[rank])
            features = gathered(own, group).flatten(0, 1)
            return features.detach(), learnt(model, loss(features, recorded)), recorded

    return group.run(work)


def assert_as_one(group: Group, make: Callable[[], nn.Sequential]) -> None:
    one, models = make(), [make() for _ in range(PROCESSES)]
    features, gradients, recorded = of_one(one)
    found = of_several(group, models)
    assert gradients and recorded
    for found_features, _, found_statistics in found:
        torch.testing.assert_close(found_features, features)
        for (mean, variance), (wanted, wanted_variance) in zip(
            found_statistics, recorded, strict=True
        ):
            torch.testing.assert_close(mean, wanted)
            torch.testing.assert_close(variance, wanted_variance)
    for name, gradient in gradients.items():  # averaged, as DDP does
        mean = torch.stack([of_rank[1][name] for of_rank in found]).mean(0)
        torch.testing.assert_close(mean, gradient, msg=name)
    for model in models:
        for name, buffer in one.named_buffers():
            torch.testing.assert_close(model.get_buffer(name), buffer, msg=name)


def test_features_statistics_and_gradients_are_those_of_the_whole_batch(group: Group) -> None:
    assert_as_one(group, network)


def test_without_batch_norm_recorded_statistics_are_those_of_the_whole_batch(group: Group) -> None:
    def make() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 7), nn.Flatten()
        ).double()

    assert_as_one(group, make)


def test_bfloat16_keeps_its_type(group: Group) -> None:
    def work(rank: int) -> Tensor:
        layer = nn.Sequential(nn.BatchNorm2d(2))
        with synchronised([layer], group):
            y: Tensor = layer(images().chunk(PROCESSES)[rank].bfloat16())
        return y

    found = group.run(work)
    assert {y.dtype for y in found} == {torch.bfloat16}
    wanted = nn.BatchNorm2d(2)(images().float())
    torch.testing.assert_close(torch.cat(found).float(), wanted, rtol=0.02, atol=0.02)


def test_afterwards_and_in_eval_mode_a_process_is_alone(group: Group) -> None:
    model = network()
    with synchronised([model.eval()], group):
        model(images())  # it would wait for the others
    model.train()
    model(images())
    assert all(getattr(layer, "group", None) is None for layer in model)


def test_a_class_that_cannot_be_synchronised_is_named(group: Group) -> None:
    class Own(nn.BatchNorm2d):
        pass

    with (
        pytest.raises(TypeError, match=r"A Own cannot .*devices: 1"),
        synchronised([nn.Sequential(nn.BatchNorm2d(2), Own(2))], group),
    ):
        pass
