"""How often the live board draws: watching must not slow down what is watched."""

import time
from typing import Final

DRAWING_SHARE: Final = 0.01  # of the time that has passed may be spent on drawing
AT_FIRST: Final = 0.25  # seconds of drawing that need not be earned: short trainings move, too


class Budget:
    """Whether there is time to draw, by what each drawing has cost so far.

    After t seconds, AT_FIRST + DRAWING_SHARE * t seconds of drawing are earned. A drawing is taken
    to cost as much as the last of its name; the first one nothing, for nobody knows.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._spent = 0.0
        self._costs: dict[str, float] = {}

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def allows(self, name: str) -> bool:
        """Whether the drawing `name` is earned now."""
        earned = AT_FIRST + DRAWING_SHARE * self.passed
        return self._spent + self._costs.get(name, 0.0) <= earned

    def spend(self, name: str, seconds: float) -> None:
        """The drawing `name` took `seconds`."""
        self._costs[name] = seconds
        self._spent += seconds
