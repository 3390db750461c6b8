"""How the cost of a step, and of an epoch's pseudo-labels, grows with images, classes, sources."""

from typing import Any

import torch
from speed_cases import Case, Training
from speed_steps import Effort, measure_step
from speed_watching import Work

from socketlab.methods.aad import NeighbourTransfer
from socketlab.methods.nrc import Nrc
from socketlab.methods.shot import Shot
from socketlab.objectives import nearest, pseudo_labels

NEIGHBOURS = ("aad", "nrc")


def measure_growth(case: Case, effort: Effort) -> dict[str, Any]:
    """As `measure_step`, and by themselves pseudo-labels of all target images and neighbours."""
    return measure_step(case, effort, more=_what_grows)


def _what_grows(training: Training) -> dict[str, Work]:
    task = training.task
    if isinstance(task, NeighbourTransfer):
        return {"neighbours": lambda: _neighbours(task)}
    if isinstance(task, Shot):
        found = [task.outputs_of(member) for member in task.student.members]
        rounds = task.options.centroid_rounds
        each = [(outputs.features, outputs.probabilities, rounds) for outputs in found]
        return {"pseudo-labels": lambda: [pseudo_labels(*given) for given in each]}
    return {}


def _neighbours(task: NeighbourTransfer) -> None:
    """A step's search: neighbours of a batch, and of NRC their neighbours."""
    bank = task.memory["features"]
    own = torch.arange(task.batch_size, device=bank.device)
    near = nearest(bank[own], bank, task.options.neighbours, own)
    if isinstance(task, Nrc):
        flat = near.flatten()
        nearest(bank[flat], bank, task.options.expanded_neighbours, flat)
