"""What a person may change while it trains: the loop reads it between two steps."""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

LEARNING_RATE_FACTOR = "learning_rate_factor"
WEIGHT = "weight/"
PREEMPTED = "SIGTERM: preempted; run again to go on"


class Preempted(Exception):  # noqa: N818 - reads as the thing found
    """The machine is wanted for something else: the training has saved its state and ended."""

    def __init__(self) -> None:
        super().__init__(PREEMPTED)


class Preemption:
    """Asks every training of a process to save its state and end: set by a signal's handler.

    Attributes:
        trainings: how many are under way, suspended ones too.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.trainings = 0

    @property
    def asked(self) -> bool:
        """Whether it was asked for."""
        return self._asked.is_set()

    def ask(self) -> None:
        """From now on each training ends at its next step boundary, and none begins."""
        self._asked.set()

    def forget(self) -> None:
        """Let trainings go on again."""
        self._asked.clear()

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within it a training is under way."""
        self.trainings += 1
        try:
            yield
        finally:
            self.trainings -= 1


preemption = Preemption()
"""Of this process."""


@dataclass(frozen=True)
class Change:
    """A weight, or the learning-rate factor, that became another one while it trained.

    Attributes:
        step: the first step that used it: so many were taken before it.
        name: `weight/<term>` or `learning_rate_factor`.
        value: finite, 0 or more.
    """

    step: int
    name: str
    value: float


class Controls:
    """What a person may change while it trains, from any thread; read between two steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._save = threading.Event()
        self._preempt = threading.Event()
        self._asked: dict[str, float] = {}
        self._pending: dict[str, float] = {}
        self._in_force: dict[str, float] = {}
        self._replayed: dict[int, dict[str, float]] = {}

    def stop(self) -> None:
        """End after this step and keep what was learnt."""
        self._stop.set()

    def preempt(self) -> None:
        """Save the state after this step and end with `Preempted`: another start goes on there."""
        self._preempt.set()

    def pause(self) -> None:
        """Hold still after this step until `resume`."""
        self._pause.set()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._pause.clear()

    def save(self) -> None:
        """Keep the model as it is after this step, and go on."""
        self._save.set()

    def set_weight(self, name: str, value: float) -> None:
        """Weigh the loss term `name` by `value`, 0 or more, from the next step on.

        Raises:
            ValueError: naming an unknown term, once the training has begun, or a wrong value.
        """
        with self._lock:
            if self._in_force:
                self._check_known(WEIGHT + name)
            self._ask(WEIGHT + name, value)

    def set_learning_rate_factor(self, value: float) -> None:
        """Multiply all learning rates by `value`, 0 or more, from the next step on.

        Raises:
            ValueError: naming a value that is negative or not finite.
        """
        with self._lock:
            self._ask(LEARNING_RATE_FACTOR, value)

    def replay(self, changes: Iterable[Change]) -> None:
        """Make the loop apply `changes` at their steps, as it once did."""
        with self._lock:
            self._replayed = {}
            for change in changes:
                _check_value(change.name, change.value)
                self._replayed.setdefault(change.step, {})[change.name] = float(change.value)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was asked for."""
        return self._stop.is_set()

    @property
    def preempted(self) -> bool:
        """Whether `preempt` was asked for, of this training or of all of this process."""
        return self._preempt.is_set() or preemption.asked

    @property
    def paused(self) -> bool:
        """Whether `pause` was asked for."""
        return self._pause.is_set()

    @property
    def weights(self) -> dict[str, float]:
        """The weights that were asked for by hand, by term."""
        with self._lock:
            return _by_term(self._asked)

    @weights.setter
    def weights(self, values: Mapping[str, float]) -> None:
        with self._lock:
            for name, value in values.items():
                self._ask(WEIGHT + name, value)

    @property
    def learning_rate_factor(self) -> float:
        """What all learning rates are multiplied by, from the next step on."""
        with self._lock:
            both = self._in_force | self._pending
            return both.get(LEARNING_RATE_FACTOR, 1.0)

    @property
    def terms(self) -> dict[str, float]:
        """The loss terms of this training with the weights in force; empty before it begins."""
        with self._lock:
            return _by_term(self._in_force)

    def begin(self, weights: Mapping[str, float], factor: float, step: int, steps: int) -> None:
        """The loop begins at `step` of `steps`, with these weights and learning-rate factor.

        Raises:
            ValueError: if a change that was asked for is of an unknown term or of no step.
        """
        with self._lock:
            own = {WEIGHT + name: float(weight) for name, weight in weights.items()}
            self._in_force = own | {LEARNING_RATE_FACTOR: float(factor)}
            for name in self._pending:
                self._check_known(name)
            for at, values in self._replayed.items():
                for name in values:
                    self._check_known(name)
                    if not 0 <= at < steps:
                        raise ValueError(
                            f"There is no step {at} at which {name!r} could change: this training "
                            f"has {steps} steps, counted from 0. Give an earlier one."
                        )
            # What came before a resume is in force already.
            self._replayed = {at: v for at, v in self._replayed.items() if at >= step}

    def take(self, step: int) -> tuple[Change, ...]:
        """What takes effect with `step`; from now on it is in force.

        Raises:
            ValueError: naming an unknown term.
        """
        with self._lock:
            wanted = self._replayed.pop(step, {}) | self._pending
            for name in wanted:
                self._check_known(name)
            self._pending = {}
            changed = {n: value for n, value in wanted.items() if self._in_force[n] != value}
            self._in_force |= changed
        return tuple(Change(step, name, value) for name, value in changed.items())

    def take_save(self) -> bool:
        """Whether `save` was asked for; once only."""
        asked = self._save.is_set()
        if asked:
            self._save.clear()
        return asked

    def _ask(self, name: str, value: float) -> None:
        _check_value(name, value)
        self._asked[name] = self._pending[name] = float(value)

    def _check_known(self, name: str) -> None:
        if name in self._in_force:
            return
        if not name.startswith(WEIGHT):
            raise ValueError(f"{name!r} is neither {WEIGHT}<term> nor {LEARNING_RATE_FACTOR}.")
        known = ", ".join(_by_term(self._in_force)) or "none"
        raise ValueError(f"There is no loss term {name.removeprefix(WEIGHT)!r}. Known: {known}.")


def _check_value(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} = {value}: give a finite number, 0 or more.")


def _by_term(values: Mapping[str, float]) -> dict[str, float]:
    return {n.removeprefix(WEIGHT): v for n, v in values.items() if n.startswith(WEIGHT)}
