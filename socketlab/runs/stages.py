"""Stages of a run: what one is called, what its numbers are called, and when it is the same."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from socketlab.training.loop import Step


@dataclass(frozen=True)
class Trip:
    """One transfer: which method takes the source model where; None means as the parameters say."""

    method: str
    target: str
    protocol: str
    seed: int
    options: dict[str, Any]

    @property
    def stage(self) -> str:
        """The name of its stage and files."""
        target = self.target.replace("/", ".")
        return f"{self.method}-to-{target}-{self.protocol}-seed{self.seed}"


def step_values(step: Step) -> dict[str, float]:
    """The numbers of a step by the names that `metrics.parquet` and the curves use."""
    values = {f"loss/{name}": float(value) for name, value in step.terms.items()}
    values |= {f"score/{name}": value for name, value in step.scores.items()}
    values |= {f"learning_rate/{name}": rate for name, rate in step.learning_rates.items()}
    if step.evaluation is not None:
        values["accuracy"] = step.evaluation.accuracy
        values["balanced_accuracy"] = step.evaluation.balanced_accuracy
    return values


def digest(*parts: Any) -> str:
    """Twelve hexadecimal digits that depend on all parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]
