"""How long a training step takes, against the bare forward and backward of the same batches."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from speed_cases import Case, Training
from speed_watching import Work, watched
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from socketlab.methods.base import Transfer
from socketlab.models.mixture import AnyClassifier, joined
from socketlab.training.compiling import Compiling
from socketlab.training.inference import scorer
from socketlab.training.memory import peak_memory
from socketlab.training.steps import Step

Seconds = dict[str, list[float]]

BURST = {"cuda": 5}
"""Steps between two looks at the clock, 1 unless given: a GPU must not run dry between them."""


@dataclass(frozen=True)
class Effort:
    """How often something is measured: until `seconds` are over, but `least` to `most` times."""

    least: int
    most: int
    seconds: float


def clock(work: Work, device: torch.device, times: int = 1) -> float:
    """Seconds that `work` takes, the mean of so many times in a row."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - start) / times


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(work: dict[str, Work], device: torch.device, effort: Effort) -> Seconds:
    """Seconds of each of `work`, one after the other, round after round."""
    found: Seconds = {name: [] for name in work}
    burst, start, rounds = BURST.get(device.type, 1), time.perf_counter(), 0
    while rounds < effort.least or (
        rounds < effort.most and time.perf_counter() - start < effort.seconds
    ):
        for name, one in work.items():
            found[name].append(clock(one, device, burst))
        rounds += 1
    return found


class Bare:
    """The limit: a network's forward and backward of given batches in train mode, and no more.

    The network is the task's as it was before it was trained: of torch's own layers, and nothing is
    learnt that the task does not learn. The loss is one number, the sum of the mean answers.
    Where the training is compiled, so is this.
    """

    def __init__(self, training: Training, batches: list[Tensor]) -> None:
        task = training.task
        self.batches, self.precision = batches, training.precision
        self.network: AnyClassifier = (
            joined(training.sources).student()
            if isinstance(task, Transfer)
            else copy.deepcopy(task.model)
        )
        for member, other in zip(self.network.members, task.model.members, strict=True):
            member.translate_with(copy.deepcopy(other.translator))
        both = zip(self.network.parameters(), task.model.parameters(), strict=True)
        for parameter, learnt in both:
            parameter.requires_grad_(learnt.requires_grad)
        self.network.to(self.precision.device).to(memory_format=torch.channels_last)
        self.network.train()
        if isinstance(task, Transfer) and task.trains_translator:
            self.network.eval()  # the source model is frozen
            self.network.members[0].translator.train()
        self.compiling = Compiling(self.network.members, self.precision)

    def __call__(self) -> None:
        """Forward and backward of all batches, compiled where the training is."""
        self.compiling.attempt(self._pass)

    def _pass(self) -> None:
        self.network.zero_grad(set_to_none=True)
        with self.precision.autocast():
            answers = [self.network(batch).float().mean() for batch in self.batches]
        torch.stack(answers).sum().backward()  # type: ignore[no-untyped-call]

    def optimiser_like(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Another one of its class and settings over this network, whose steps change nothing."""
        learnt = [p for p in self.network.parameters() if p.requires_grad]
        return type(optimiser)(learnt, **(optimiser.defaults | {"lr": 0.0}))

    def operations(self, teacher: nn.Module | None, seen: list[Tensor]) -> int:
        """Floating-point operations of matrix products: of itself, and of the teacher's forward."""
        total = 0
        for network, given, learns in ((self.network, self.batches, True), (teacher, seen, False)):
            if network is None:
                continue
            # On no device: only shapes are worked out.
            shapes: Any = copy.deepcopy(network).to("meta")
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learns):
                answers = [shapes(batch.to("meta")).mean() for batch in given]
                if learns and answers:
                    torch.stack(answers).sum().backward()  # type: ignore[no-untyped-call]
            total += counter.get_total_flops()
        return total


def measure_step(
    case: Case, effort: Effort, more: Callable[[Training], dict[str, Work]] | None = None
) -> dict[str, Any]:
    """Seconds of steps and of their parts in turns; memory and the time to the first step.

    Args:
        more: what else is measured in turns, made from the training once it has begun.
    """
    burst = BURST.get(case.device, 1)
    training = Training(case, 2 + effort.most * burst)
    device = training.precision.device
    expected = None if case.spared else training.expected_memory()
    with peak_memory(device) as peak:
        start = time.perf_counter()
        running = training.steps()
        next_step(running)
        wait(device)
        first = time.perf_counter() - start
        with watched(training) as seen:
            next_step(running)
    bare = Bare(training, seen.student)
    teacher = training.task.teacher if isinstance(training.task, Transfer) else None
    bare()
    optimiser = bare.optimiser_like(training.task.optimiser)
    work: dict[str, Work] = {
        "bare": bare,
        "step": lambda: next_step(running),
        "teacher": lambda: _forward(teacher, seen.teacher, training),
        "gathering": lambda: [gather() for gather in seen.gathered],
        "optimiser": optimiser.step,
    }
    work |= more(training) if more is not None else {}
    found = in_turns(work, device, effort)
    running.close()  # type: ignore[attr-defined]
    return {
        "compiling": training.task.compiling.note,
        "seconds": found,
        "images": seen.images,
        "first_step": first,
        "peak_memory": peak.mebibytes,
        "estimated_memory": expected,
        "operations": bare.operations(teacher, seen.teacher),
        "precision": str(training.precision),
    }


def next_step(running: Iterator[Step]) -> Step:
    """The next step of a training; an epoch that ends says so first."""
    for step in running:
        if step.kind == "step":
            return step
    raise RuntimeError("The training ended before it was measured: give it more images.")


def _forward(teacher: AnyClassifier | None, seen: list[Tensor], training: Training) -> None:
    if teacher is None:
        return
    with torch.no_grad(), training.precision.autocast():
        for batch in seen:
            for member in teacher.members:
                member.features(batch)


def measure_epoch(case: Case, epochs: int) -> dict[str, Any]:
    """Seconds of whole epochs, with pseudo-labels and scoring, and of their bare steps.

    An epoch is all that the training does from one to the next. A bare step follows every step, and
    its time is not the epoch's.
    """
    training = Training(case, 0, epochs=epochs + 1)
    device = training.precision.device
    evaluate = scorer(training.evaluation, case.crop, training.precision)
    running = training.steps(evaluate)
    next_step(running)
    with watched(training) as seen:
        next_step(running)
    bare = Bare(training, seen.student)
    for step in running:
        bare()
        if step.kind == "epoch":
            break
    whole: Seconds = {"bare": [0.0], "step": [0.0]}
    while len(whole["step"]) <= epochs:
        start = time.perf_counter()
        step = next(running)
        wait(device)
        whole["step"][-1] += time.perf_counter() - start
        if step.kind == "step":
            whole["bare"][-1] += clock(bare, device)
        elif step.kind == "epoch":
            whole["step"].append(0.0)
            whole["bare"].append(0.0)
    running.close()  # type: ignore[attr-defined]
    done = {name: seconds[:epochs] for name, seconds in whole.items()}
    steps = case.images // case.batch
    return {
        "seconds": done,
        "images": seen.images * steps,
        "steps": steps,
        "precision": str(training.precision),
    }
