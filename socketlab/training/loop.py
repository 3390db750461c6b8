"""The one training loop: a generator of `Step` records that knows nothing about who watches it."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from socketlab.training.batches import derive
from socketlab.training.controls import (
    LEARNING_RATE_FACTOR,
    WEIGHT,
    Change,
    Controls,
    Preempted,
    preemption,
)
from socketlab.training.inference import Scorer
from socketlab.training.snapshots import drawn_so_far, go_on_within, restore, snapshot
from socketlab.training.state import StateError, StateFile
from socketlab.training.steps import Step
from socketlab.training.task import Task
from socketlab.training.term_record import NonFiniteLoss, TermRecord

if TYPE_CHECKING:
    from socketlab.training.followers import Orders


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

    Whoever is preempted saves its state after the step under way, within an epoch too, and ends.

    Raises:
        Preempted: if `controls` or this process's `preemption` say so.
        NonFiniteLoss: if a term is NaN or infinite; the state of the epoch before stays.
        ValueError: if `controls` are to change an unknown term, or one at a step that is none.
    """
    task.precision.enforce()
    first_epoch, factor = restore(task, state)
    task.model.train()
    steps_left = (task.epochs - first_epoch) * task.steps_per_epoch
    if task.orders is not None:
        _follow(task, task.orders, factor, state)
        return
    with preemption.training(), _leading(task, state, steps_left) as tell:
        training = _Training(task, factor, evaluate, controls or Controls(), state, tell)
        yield from training.steps(first_epoch)


Tell = Callable[..., list[Any]]
"""Tells the followers, if there are any, what to do next; gives what they answer."""


@contextmanager
def _leading(task: Task, state: StateFile | None, steps_left: int) -> Iterator[Tell]:
    if task.recipe is None or steps_left == 0:
        yield lambda *_order: []  # there is one device, or nothing to share
        return
    from socketlab.training.followers import leading

    with leading(task, task.recipe, state) as followers:
        yield followers.tell


class _Training:
    """The steps of a training, from where its state is to its end.

    Attributes:
        factor: what all learning rates are multiplied by.
        within: the state of an epoch that was broken off between two steps, until it is used.
    """

    def __init__(
        self,
        task: Task,
        factor: float,
        evaluate: Scorer | None,
        controls: Controls,
        state: StateFile | None,
        tell: Tell,
    ) -> None:
        self._task, self._evaluate, self._controls = task, evaluate, controls
        self._state, self._tell = state, tell
        self._total = task.epochs * task.steps_per_epoch
        self._began = time.monotonic()
        self.factor = factor
        self.within: dict[str, Any] | None = None

    def steps(self, first_epoch: int) -> Iterator[Step]:
        """What happens, from the beginning of an epoch or from within it."""
        task = self._task
        first_step, weights = first_epoch * task.steps_per_epoch, task.weights
        self.within = self._state.load_within(first_epoch) if self._state is not None else None
        if self.within is not None:
            first_step, weights = int(self.within["step"]), weights | self.within["weights"]
            self.factor = float(self.within[LEARNING_RATE_FACTOR])
        self._controls.begin(weights, self.factor, first_step, self._total)
        self._end_if_preempted(first_epoch, first_step)
        if first_epoch == 0 and self.within is None:
            yield self._report("start", 0, 0, **self._seen())
        for epoch in range(first_epoch, task.epochs):
            self._end_if_preempted(epoch, first_step)
            ended = yield from self._epoch(epoch, first_step)
            if not ended:
                return
            first_step = (epoch + 1) * task.steps_per_epoch
        self._end_if_preempted(task.epochs, self._total)

    def _epoch(self, epoch: int, first_step: int) -> Generator[Step, None, bool]:
        """One epoch, or the rest of it; gives whether it was trained to its end."""
        task, tell = self._task, self._tell
        tell("epoch", epoch)
        _begin_epoch(task, epoch)
        record = TermRecord(epoch)
        if self.within is not None:
            tell("within", epoch)
            go_on_within(task, self.within)
            record.restore(self.within["terms"], task.precision.device)
            self.within = None
        for step in range(first_step, (epoch + 1) * task.steps_per_epoch):
            yield from self._between_steps(epoch, step)
            self._end_if_preempted(epoch, step, record)
            if self._controls.stopped:
                tell("settle")
                task.settle()
                yield self._report("stopped", epoch, step, **self._seen())
                return False
            changes = self._controls.take(step)
            tell("step", step, changes)
            self.factor = _changed(task, self.factor, changes)
            terms = _taken(task, self.factor, step)
            record.add(step, terms)
            yield self._report("step", epoch, step + 1, terms=terms, changes=changes)
        means = record.means()
        _check_weights(task, epoch)
        tell("settle")
        task.settle()
        done = epoch + 1
        at = done * task.steps_per_epoch
        yield self._report("epoch", done, at, terms=means, **self._seen())
        # Only now: whoever watches has written down this epoch, so none is missing after a resume.
        if self._state is not None:
            self._state.save(snapshot(task, done, self.factor))
        return True

    def _report(self, kind: Any, epoch: int, step: int, **more: Any) -> Step:
        task = self._task
        rates = {group["name"]: float(group["lr"]) for group in task.optimiser.param_groups}
        more["seconds"] = time.monotonic() - self._began
        return Step(kind, epoch, task.epochs, step, self._total, rates, **more)

    def _seen(self) -> dict[str, Any]:
        self._tell("look")
        task, evaluate = self._task, self._evaluate
        look = task.look()
        evaluation = evaluate(task.model, task.known()) if evaluate is not None else None
        return {"look": look, "evaluation": evaluation}

    def _between_steps(self, epoch: int, step: int) -> Iterator[Step]:
        controls = self._controls
        while True:
            if controls.take_save():
                yield self._report("saved", epoch, step)
            if controls.stopped or controls.preempted or not controls.paused:
                return
            yield self._report("paused", epoch, step)
            time.sleep(0.02)

    def _end_if_preempted(self, epoch: int, step: int, record: TermRecord | None = None) -> None:
        """Save how far the epoch has come, where it has begun, and end."""
        if not self._controls.preempted:
            return
        task = self._task
        begun = record is not None and step > epoch * task.steps_per_epoch
        if self._state is not None and record is not None and begun:
            record.check()
            _check_weights(task, epoch)
            random = [drawn_so_far(task), *self._tell("random")]
            so_far = {"step": step, "random": random, "terms": record.kept()}
            self._state.save_within(snapshot(task, epoch, self.factor) | so_far)
        raise Preempted


def _follow(task: Task, orders: "Orders", factor: float, state: StateFile | None) -> None:
    """Take part in the training that another process leads, until it ends."""
    for order, *about in orders.of(task):
        if order == "epoch":
            _begin_epoch(task, *about)
        elif order == "within":
            found = state.load_within(*about) if state is not None else None
            if found is None:
                raise StateError("The state within the epoch is gone. Run again to go on.")
            factor = go_on_within(task, found)
        elif order == "random":
            orders.answer(drawn_so_far(task))
        elif order == "step":
            step, changes = about
            factor = _changed(task, factor, changes)
            _taken(task, factor, step)
        elif order == "settle":
            task.settle()
        else:  # what is seen is used again when the next epoch begins
            task.look()


def _taken(task: Task, factor: float, step: int) -> dict[str, Tensor]:
    take = partial(take_step, task, factor, step)
    # Another attempt would have to be made by all processes.
    return task.compiling.attempt(take) if task.team is None else take()


def _begin_epoch(task: Task, epoch: int) -> None:
    # Dropout and the like draw from the global generator: make them a function of the epoch.
    torch.manual_seed(derive(task.seed, "epoch", epoch))
    task.begin_epoch(epoch)
    if task.team is not None and task.team.place.rank > 0:  # other images, other numbers
        torch.manual_seed(derive(task.seed, "epoch", epoch, "rank", task.team.place.rank))


def _changed(task: Task, factor: float, changes: tuple[Change, ...]) -> float:
    """Give the task its new weights; returns the learning-rate factor that is in force now."""
    for change in changes:
        if change.name == LEARNING_RATE_FACTOR:
            factor = change.value
        else:
            task.weights[change.name.removeprefix(WEIGHT)] = change.value
    return factor


def take_step(task: Task, factor: float, step: int) -> dict[str, Tensor]:
    """Learn from global step `step`; the loss terms of it, by name, and their weighted total."""
    decay = (1 + 10 * task.progress(step)) ** -0.75 * factor
    for group in task.optimiser.param_groups:
        group["lr"] = group["base"] * decay
    with task.precision.autocast():
        terms = task.losses(step) if task.team is None else task.team.losses(step)
    if not terms:  # every weight is 0: nothing to learn in this step
        return {"total": torch.zeros((), device=task.precision.device)}
    total = torch.stack([task.weights[name] * term for name, term in terms.items()]).sum()
    task.optimiser.zero_grad(set_to_none=True)
    if task.team is None:
        total.backward()  # type: ignore[no-untyped-call]
    else:
        task.team.backward(total)
    task.optimiser.step()
    found = {name: term.detach().float() for name, term in terms.items()} | {
        "total": total.detach().float()
    }
    return found if task.team is None else task.team.means(found, task.tallies())


def _check_weights(task: Task, epoch: int) -> None:
    """A last step can spoil the weights though its own loss was finite."""
    finite = [parameter.isfinite().all() for parameter in task.model.parameters()]
    if not torch.stack(finite).all():
        raise NonFiniteLoss(
            f"Epoch {epoch + 1}: weights of the model became NaN or infinite in its last step. The "
            f"model after epoch {epoch} is the last good one. Lower the learning rate."
        )
