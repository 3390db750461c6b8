import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from socketlab.models.batch_norm import compute_once
from socketlab.models.classifier import Classifier, GivenNetwork
from socketlab.models.modes import evaluating, uncompiled
from socketlab.models.translator import build_translator
from socketlab.training.compiling import TRIED, Compiling, parts
from socketlab.training.loop import run_task
from socketlab.training.precision import Precision
from socketlab.training.statistics import held_running_statistics, recorded_statistics

MakeModel = Callable[[], Classifier]
MakeTask = Callable[..., Any]
_compile = nn.Module.compile


@pytest.fixture(autouse=True)
def forget_graphs() -> None:
    torch.compiler.reset()
    counters.clear()


@pytest.fixture
def default(precision: Precision) -> Precision:
    """The CPU, float32, compiled."""
    return replace(precision, compiler="default")


@pytest.fixture
def small() -> Classifier:
    """A student of two convolutions, that normalises and can record its statistics."""
    torch.manual_seed(5)
    encoder = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    given = GivenNetwork(encoder, nn.Linear(6, 2), None)  # type: ignore[arg-type]
    return Classifier("small", ("bed", "desk"), given=given).student().train()


def compile_by(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks be compiled by another backend than the one that writes C++."""

    def instead(self: nn.Module, **_options: Any) -> None:
        _compile(self, backend=backend, dynamic=False)

    monkeypatch.setattr(nn.Module, "compile", instead)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch's compiler but the writing of C++, which takes a minute."""
    compile_by("aot_eager", monkeypatch)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that finds that it cannot."""

    def backend(_graph: object, _inputs: object) -> None:
        raise RuntimeError("no such kernel\nmore of it")

    compile_by(backend, monkeypatch)


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def loss_of(model: Classifier, precision: Precision) -> Tensor:
    """As of a method: TR images with recorded statistics, TI images that move no running ones."""
    images = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    with precision.autocast():
        with recorded_statistics(model.encoder) as recorded:
            loss = model(images).float().square().mean()
        for mean, variance in recorded:
            loss = loss + mean.square().sum() + variance.log().square().sum()
        with held_running_statistics(model):
            loss = loss + model.features(1 - images).float().square().mean()
    loss.backward()
    return loss.detach()


def left_by(model: Classifier) -> dict[str, Tensor]:
    """Gradients and running statistics."""
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return gradients | {n: b.float() for n, b in model.named_buffers()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_step_is_the_uncompiled_one(
    dtype: torch.dtype, small: Classifier, default: Precision, traced: None
) -> None:
    precision = replace(default, dtype=dtype)
    compute_once(small)
    plain = copy.deepcopy(small)
    compiling = Compiling([small], precision)
    found = compiling.attempt(lambda: loss_of(small, precision))
    assert compiling.note.startswith("compiled (default): the first step took ")
    assert graphs() == 2, "TR and TI images"
    assert not counters["graph_break"]
    tolerance = {} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(found, loss_of(plain, precision), **tolerance)
    torch.testing.assert_close(left_by(small), left_by(plain), **tolerance)
    compiling.attempt(lambda: loss_of(small, precision))
    assert graphs() == 2, "the second step compiles nothing"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs g++ on a CPU")
def test_what_is_written_in_c_computes_the_same(small: Classifier, default: Precision) -> None:
    """Without a gradient, of which the compiler would write four times as much."""
    plain, images = copy.deepcopy(small), torch.rand(4, 3, 9, 9)
    compiling = Compiling([small], default)
    with torch.no_grad():
        found = compiling.attempt(lambda: small(images))
        wanted = plain(images)
    assert compiling.note.startswith("compiled"), compiling.note
    assert graphs() == 1
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(left_by(small), left_by(plain))


def test_uncompiled_is_as_if_it_was_not_there(small: Classifier, precision: Precision) -> None:
    compiling = Compiling([small], precision)
    assert compiling.attempt(lambda: 7) == 7
    assert compiling.note == ""
    assert all(part._compiled_call_impl is None for part in small.modules())


def test_names_stay_and_copies_are_uncompiled(small: Classifier, default: Precision) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    Compiling([small], default)
    torch.testing.assert_close(dict(small.state_dict()), before, rtol=0, atol=0)
    assert small.encoder._compiled_call_impl is not None
    for copied in (copy.deepcopy(small), small.frozen(), small.student()):
        assert all(part._compiled_call_impl is None for part in copied.modules())


def test_a_translator_with_weights_is_a_part_and_a_shared_one_is_one(
    small: Classifier, default: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parts(small) == [small.encoder]  # the bottleneck is the identity
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_options: compiled.append(self))
    other, translator = copy.deepcopy(small), build_translator("pointwise")
    for model in (small, other):
        model.translate_with(translator)
    Compiling([small, other], default)
    assert len(compiled) == 3 and compiled.count(translator) == 1


def test_many_networks_are_all_compiled(
    default: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several sources, or one training after another in a process."""
    compile_by("eager", monkeypatch)
    for width in range(1, 11):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, width))
        given = GivenNetwork(encoder, nn.Linear(width, 2), None)  # type: ignore[arg-type]
        model = Classifier("small", ("bed", "desk"), given=given)
        Compiling([model], default).attempt(lambda model=model: model(torch.rand(2, 3, 2, 2)))  # type: ignore[misc]
        assert graphs() == width


def test_looking_runs_uncompiled_whatever_the_batch(
    small: Classifier, default: Precision, traced: None
) -> None:
    Compiling([small], default)
    with evaluating(small):
        for count in (1, 2, 5):
            small(torch.rand(count, 3, 9, 9))
    with uncompiled(small):
        small(torch.rand(2, 3, 9, 9))
    assert graphs() == 0
    small(torch.rand(2, 3, 9, 9))
    assert graphs() > 0


def test_statistics_by_hooks_are_those_of_each_pass(
    small: Classifier, default: Precision, traced: None
) -> None:
    """A compiled network would run without hooks that came later."""
    plain = copy.deepcopy(small)
    Compiling([small], default)
    small(torch.rand(4, 3, 9, 9))
    images = torch.rand(4, 3, 9, 9)
    found = []
    for model in (small, plain):
        with recorded_statistics(model.encoder) as recorded:
            model(images)
        found.append(list(recorded))
    assert len(found[0]) == 2
    torch.testing.assert_close(found[0], found[1])


def test_a_compiler_that_fails_leaves_the_uncompiled_training(
    make_task: MakeTask, default: Precision, failing: None
) -> None:
    plain, task = make_task(), make_task()
    for _ in run_task(plain):
        pass
    task.precision = default
    for _ in run_task(task):
        pass
    assert task.compiling.note.startswith("not compiled: ")
    assert "no such kernel more of it" in task.compiling.note
    assert all(part._compiled_call_impl is None for part in task.model.modules())
    assert task.events.count("losses 0") == 2
    for name, value in plain.model.state_dict().items():
        assert torch.equal(task.model.state_dict()[name], value), name


@pytest.mark.parametrize("at", range(TRIED))
def test_a_step_that_fails_is_taken_back(at: int, small: Classifier, default: Precision) -> None:
    bank = torch.zeros(3)
    compiling = Compiling([small], default, lambda: [bank])
    drawn: list[Tensor] = []

    def step(fails: bool = False) -> int:
        drawn.append(torch.rand(()))
        bank.add_(1)
        small.encoder[1].running_mean.add_(1)  # type: ignore[index]
        if fails and small.encoder._compiled_call_impl is not None:
            raise RuntimeError("no such kernel")
        return len(drawn)

    for _ in range(at):
        compiling.attempt(step)
    assert compiling.attempt(lambda: step(fails=True)) == at + 2
    assert torch.equal(drawn[-1], drawn[-2])
    assert bank.tolist() == [at + 1] * 3
    assert compiling.note == "not compiled: RuntimeError: no such kernel"
    assert small.encoder[1].running_mean.tolist() == [at + 1] * 4  # type: ignore[index]
    assert compiling.attempt(step) == at + 3


def test_an_error_of_the_step_itself_is_raised(small: Classifier, default: Precision) -> None:
    calls = []

    def step() -> None:
        calls.append(1)
        raise ValueError("a mistake")

    compiling = Compiling([small], default)
    with pytest.raises(ValueError, match="a mistake"):
        compiling.attempt(step)
    assert len(calls) == 2


def test_after_the_first_steps_nothing_is_tried_again(
    small: Classifier, default: Precision
) -> None:
    compiling = Compiling([small], default)
    for _ in range(TRIED):
        compiling.attempt(lambda: None)
    calls = []

    def step() -> None:
        calls.append(1)
        raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        compiling.attempt(step)
    assert len(calls) == 1 and compiling.note.startswith("compiled")


def test_cuda_graphs_are_asked_for_and_told_of_every_step(
    small: Classifier, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, marks = [], []
    monkeypatch.setattr(nn.Module, "compile", lambda _self, **options: modes.append(options))
    mark = "cudagraph_mark_step_begin"
    monkeypatch.setattr(torch.compiler, mark, lambda: marks.append(1))
    compiling = Compiling([small], replace(precision, compiler="graphs"))
    assert modes == [{"mode": "reduce-overhead", "dynamic": False}]
    for _ in range(TRIED + 2):
        compiling.attempt(lambda: None)
    assert len(marks) == TRIED + 2
    assert compiling.note.startswith("compiled (graphs)")
