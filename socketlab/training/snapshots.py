"""What of a training is kept, and how it is put back: at the end of an epoch, and within one."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from socketlab.training.controls import LEARNING_RATE_FACTOR
from socketlab.training.state import StateFile

if TYPE_CHECKING:
    from socketlab.training.task import Task


def snapshot(task: "Task", epoch: int, factor: float) -> dict[str, Any]:
    """All that the next step depends on, `epoch` whole epochs being done.

    Args:
        task: the training.
        epoch: how many are done.
        factor: the learning-rate factor in force.
    """
    return {
        "epoch": epoch,
        "model": task.model.state_dict(),
        "optimiser": task.optimiser.state_dict(),
        "weights": dict(task.weights),
        LEARNING_RATE_FACTOR: factor,
        "memory": task.memory,
    }


def restore(task: "Task", state: StateFile | None) -> tuple[int, float]:
    """Put the last whole epoch back; epochs done and the learning-rate factor in force."""
    saved = state.load() if state is not None else None
    return (0, 1.0) if saved is None else (int(saved["epoch"]), _put_back(task, saved))


def go_on_within(task: "Task", within: dict[str, Any]) -> float:
    """An epoch has begun again, from its own state: go to where it was broken off.

    What the epoch's beginning decides, such as pseudo-labels, is there again by then. Returns the
    learning-rate factor in force.
    """
    factor = _put_back(task, within)
    rank = task.team.place.rank if task.team is not None else 0
    drawn, device = within["random"][rank], task.precision.device
    torch.set_rng_state(drawn["cpu"])
    if device.type == "cuda" and "cuda" in drawn:
        torch.cuda.set_rng_state(drawn["cuda"], device)
    elif device.type == "mps" and "mps" in drawn:
        torch.mps.set_rng_state(drawn["mps"])
    return factor


def drawn_so_far(task: "Task") -> dict[str, Tensor]:
    """Where the global generators of this process are: dropout and the like draw from them."""
    device = task.precision.device
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def _put_back(task: "Task", saved: dict[str, Any]) -> float:
    task.model.load_state_dict(saved["model"])
    task.optimiser.load_state_dict(saved["optimiser"])
    task.weights.update(saved["weights"])
    device = task.precision.device
    with torch.no_grad():  # in place: the optimiser may hold some of it
        for name, kept in saved["memory"].items():
            task.memory[name].copy_(kept.to(device))
    return float(saved.get(LEARNING_RATE_FACTOR, 1.0))
