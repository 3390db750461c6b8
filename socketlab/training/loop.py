"""The one training loop: a generator of `Step` records that knows nothing about who watches it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from socketlab.models.mixture import AnyClassifier
from socketlab.training.batches import derive
from socketlab.training.controls import LEARNING_RATE_FACTOR, WEIGHT, Change, Controls
from socketlab.training.inference import Scorer
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.steps import Look, Step

CHECK_EVERY = 20  # steps between two looks at whether the losses are finite: each is a read-back


class NonFiniteLoss(RuntimeError):  # noqa: N818 - reads as the thing found
    """A loss term became NaN or infinite; names the epoch, the step, the term and the way out."""


class Task(ABC):
    """One training: networks, an optimiser, and the loss terms of a step.

    Attributes:
        model: the classifier that is trained and scored.
        optimiser: over its parameters; each group has a `name` and its starting `base` rate.
        weights: weight of each loss term by name; a term of weight 0 is not computed.
    """

    model: AnyClassifier
    optimiser: torch.optim.Optimizer
    weights: dict[str, float]
    epochs: int
    steps_per_epoch: int
    seed: int
    precision: Precision

    @cached_property
    def memory(self) -> dict[str, Tensor]:
        """What else the next step depends on, e.g. a bank of features; kept with the state.

        A method puts its tensors here in `prepare`, and afterwards changes them in place.
        """
        return {}

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - nothing to do for most methods
        """Before the steps of an epoch, e.g. refresh pseudo-labels."""

    @abstractmethod
    def losses(self, step: int) -> dict[str, Tensor]:
        """The loss terms of global step `step`, unweighted, by name."""

    def settle(self) -> None:  # noqa: B027 - as above
        """After the steps of an epoch, before the model is scored."""

    def progress(self, step: int) -> float:
        """q, the fraction of the training that is done, in [0, 1]."""
        return step / (self.epochs * self.steps_per_epoch)

    def look(self) -> Look:
        """What can be said of the model without labels."""
        return Look()


def run_task(
    task: Task,
    *,
    evaluate: Scorer | None = None,
    controls: Controls | None = None,
    state: StateFile | None = None,
) -> Iterator[Step]:
    """Train `task` and say after every step what happened.

    The learning rate is base * (1 + 10 q)^-0.75 with q the fraction of training done, times
    `controls.learning_rate_factor`. With `state`, the training continues after the last epoch that
    was saved there, with the weights and the factor of that moment, and draws what the
    uninterrupted training would have drawn. A step says in `changes` what it was the first to use.

    Raises:
        NonFiniteLoss: if a term is NaN or infinite; the state of the epoch before stays.
        ValueError: if `controls` are to change an unknown term, or one at a step that is none.
    """
    controls = controls or Controls()
    total_steps = task.epochs * task.steps_per_epoch
    first_epoch, factor = _restore(task, state)
    controls.begin(task.weights, factor, first_epoch * task.steps_per_epoch, total_steps)
    began = time.monotonic()
    task.model.train()

    def report(kind: Any, epoch: int, step: int, **more: Any) -> Step:
        rates = {group["name"]: float(group["lr"]) for group in task.optimiser.param_groups}
        seconds = time.monotonic() - began
        return Step(kind, epoch, task.epochs, step, total_steps, rates, seconds=seconds, **more)

    def seen() -> dict[str, Any]:
        evaluation = evaluate(task.model) if evaluate is not None else None
        return {"look": task.look(), "evaluation": evaluation}

    def between_steps(epoch: int, step: int) -> Iterator[Step]:
        while True:
            if controls.take_save():
                yield report("saved", epoch, step)
            if controls.stopped or not controls.paused:
                return
            yield report("paused", epoch, step)
            time.sleep(0.02)

    if first_epoch == 0:
        yield report("start", 0, 0, **seen())

    for epoch in range(first_epoch, task.epochs):
        # Dropout and the like draw from the global generator: make them a function of the epoch.
        torch.manual_seed(derive(task.seed, "epoch", epoch))
        task.begin_epoch(epoch)
        record = _TermRecord(epoch)
        for step in range(epoch * task.steps_per_epoch, (epoch + 1) * task.steps_per_epoch):
            yield from between_steps(epoch, step)
            if controls.stopped:
                task.settle()
                yield report("stopped", epoch, step, **seen())
                return
            changes = controls.take(step)
            factor = _changed(task, factor, changes)
            terms = _take_step(task, factor, step)
            record.add(step, terms)
            yield report("step", epoch, step + 1, terms=terms, changes=changes)
        means = record.means()
        _check_weights(task, epoch)
        task.settle()
        done = epoch + 1
        yield report("epoch", done, done * task.steps_per_epoch, terms=means, **seen())
        # Only now: whoever watches has written down this epoch, so none is missing after a resume.
        if state is not None:
            state.save(_snapshot(task, done, factor))


def _changed(task: Task, factor: float, changes: tuple[Change, ...]) -> float:
    """Give the task its new weights; returns the learning-rate factor that is in force now."""
    for change in changes:
        if change.name == LEARNING_RATE_FACTOR:
            factor = change.value
        else:
            task.weights[change.name.removeprefix(WEIGHT)] = change.value
    return factor


def _take_step(task: Task, factor: float, step: int) -> dict[str, Tensor]:
    decay = (1 + 10 * task.progress(step)) ** -0.75 * factor
    for group in task.optimiser.param_groups:
        group["lr"] = group["base"] * decay
    with task.precision.autocast():
        terms = task.losses(step)
    if not terms:  # every weight is 0: nothing to learn in this step
        return {"total": torch.zeros((), device=task.precision.device)}
    total = torch.stack([task.weights[name] * term for name, term in terms.items()]).sum()
    task.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    task.optimiser.step()
    return {name: term.detach().float() for name, term in terms.items()} | {
        "total": total.detach().float()
    }


class _TermRecord:
    """The terms of an epoch, kept on the device and read back only now and then."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.steps: list[int] = []
        self.terms: list[dict[str, Tensor]] = []

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        self.steps.append(step)
        self.terms.append(terms)
        if len(self.steps) % CHECK_EVERY == 0:
            self._check(self.steps[-CHECK_EVERY:], self.terms[-CHECK_EVERY:])

    def means(self) -> dict[str, Tensor]:
        remaining = len(self.steps) % CHECK_EVERY
        if remaining:
            self._check(self.steps[-remaining:], self.terms[-remaining:])
        names = {name for terms in self.terms for name in terms}
        return {
            name: torch.stack([terms[name] for terms in self.terms if name in terms]).mean().cpu()
            for name in sorted(names)
        }

    def _check(self, steps: list[int], terms: list[dict[str, Tensor]]) -> None:
        if torch.stack([t["total"] for t in terms]).isfinite().all():
            return
        for step, found in zip(steps, terms, strict=True):
            bad = [name for name, value in found.items() if not value.isfinite()]
            if bad:
                values = ", ".join(f"{name} = {float(found[name])}" for name in bad)
                raise NonFiniteLoss(
                    f"Epoch {self.epoch + 1}, step {step + 1}: {values}. The model after epoch "
                    f"{self.epoch} is the last good one. Lower the learning rate or the weight of "
                    "that term, or use dtype: float32."
                )


def _check_weights(task: Task, epoch: int) -> None:
    """A last step can spoil the weights though its own loss was finite."""
    finite = [parameter.isfinite().all() for parameter in task.model.parameters()]
    if not torch.stack(finite).all():
        raise NonFiniteLoss(
            f"Epoch {epoch + 1}: weights of the model became NaN or infinite in its last step. The "
            f"model after epoch {epoch} is the last good one. Lower the learning rate."
        )


def _snapshot(task: Task, epoch: int, factor: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "model": task.model.state_dict(),
        "optimiser": task.optimiser.state_dict(),
        "weights": dict(task.weights),
        LEARNING_RATE_FACTOR: factor,
        "memory": task.memory,
    }


def _restore(task: Task, state: StateFile | None) -> tuple[int, float]:
    """Epochs done and the learning-rate factor in force."""
    saved = state.load() if state is not None else None
    if saved is None:
        return 0, 1.0
    task.model.load_state_dict(saved["model"])
    task.optimiser.load_state_dict(saved["optimiser"])
    task.weights.update(saved["weights"])
    device = task.precision.device
    with torch.no_grad():  # in place: the optimiser may hold some of it
        for name, kept in saved["memory"].items():
            task.memory[name].copy_(kept.to(device))
    return int(saved["epoch"]), float(saved.get(LEARNING_RATE_FACTOR, 1.0))
