"""A training before it was prepared, so that another process can prepare the same one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from socketlab.models.checkpoint import describe_classifier, load_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.training.state import StateFile

if TYPE_CHECKING:
    from socketlab.training.task import Task


@dataclass(frozen=True)
class Recipe:
    """What `fit` was called on, and with what.

    Attributes:
        task: with nothing but what its constructor set.
        models: the source models, if `fit` is given any.
        images: what else it is given, by name; processes on a CPU share them, nothing is copied.
    """

    task: "Task"
    models: tuple[Classifier, ...]
    images: Mapping[str, Any]

    @classmethod
    def of(cls, task: "Task", models: Sequence[Classifier], images: Mapping[str, Any]) -> "Recipe":
        """Of a task that `fit` has not changed yet."""
        return cls(copy.copy(task), tuple(models), images)

    def write(self, folder: Path) -> None:
        """Put the models into files, for `read`; their heads cannot be sent as they are."""
        about: dict[str, Any] = {"domain": "", "crop": 0, "size": 0, "method": ""}
        for place, model in enumerate(self.models):
            card = describe_classifier(model, configuration={}, scores={}, **about)
            save_classifier(model, _model(folder, place), card)

    @classmethod
    def read(
        cls, folder: Path, task: "Task", images: Mapping[str, Any], device: torch.device
    ) -> "Recipe":
        """The same in another process, which was sent `task` and `images`, on its own device."""
        task.precision = replace(task.precision, device=device)
        models: list[Classifier] = []
        while _model(folder, len(models)).exists():
            models += load_classifier(_model(folder, len(models)))[0].to(device).members
        return cls(task, tuple(models), images)

    def fit(self, state: StateFile | None) -> None:
        """Train to the end."""
        models = [self.models] if self.models else []
        for _ in self.task.fit(*models, **self.images, state=state):
            pass


def _model(folder: Path, place: int) -> Path:
    return folder / f"source-{place}.safetensors"
