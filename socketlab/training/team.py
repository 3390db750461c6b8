"""One step of a training, computed together by several processes with a device each.

Each process runs its part of the batch through the networks. Many loss terms are of a batch as a
whole (the entropy of its mean answer, a distance of all paired features, its statistics), so the
features of all parts are gathered, with gradient, and BatchNorms take the statistics of all parts:
every process then computes the same terms as one process would have. A term that is a mean over
images (of pixels, of patches) may also be of its own part: what is averaged at the end is the same.
"""

import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore

from socketlab.models.batch_norm import synchronised
from socketlab.models.classifier import Classifier
from socketlab.training.followers import Place
from socketlab.training.gathering import gathered

if TYPE_CHECKING:
    from socketlab.training.task import Task

PATIENCE = timedelta(minutes=10)  # of a process for another one that is alive and does not come
NOTHING = "nothing"


def check_divisible(batch_size: int, devices: int) -> None:
    """Every device gets as many images of a batch.

    Raises:
        ValueError: naming both numbers and the nearest batch sizes that fit.
    """
    if batch_size % devices:
        below = batch_size - batch_size % devices
        fitting = " or ".join(str(size) for size in (below, below + devices) if size)
        raise ValueError(
            f"A batch of {batch_size} images cannot be shared equally among {devices} devices. "
            f"Set batch_size: {fitting}, or another number of devices."
        )


def is_one_under_way() -> bool:
    """Whether this process belongs to a team now."""
    return distributed.is_initialized()


class Team:
    """This process's share of a training, and what the processes tell each other in a step.

    Args:
        task: prepared, its optimiser built; it is the same in all processes.
        place: which process this is.

    Attributes:
        place: the same.
        followers: of the process that leads, the others, in the order of their devices.
        at_work: whether a step is under way, of which this process computes a part.
    """

    def __init__(self, task: "Task", place: Place) -> None:
        self.place = place
        self.followers: list[BaseProcess] = []
        self.at_work = False
        kind = task.precision.device.type
        backend = "nccl" if kind == "cuda" else "gloo"
        with _on_this_machine():
            distributed.init_process_group(
                backend,
                store=FileStore(str(place.folder / "meeting"), place.devices),
                rank=place.rank,
                world_size=place.devices,
                timeout=PATIENCE,
            )
        strategy = _Strategy(
            cluster_environment=_OneMachine(place),
            process_group_backend=backend,
            find_unused_parameters=True,  # terms come and go, and with them what they reach
        )
        self._fabric = Fabric(accelerator=kind, devices=place.devices, strategy=strategy)
        self._fabric.launch()
        found = [value for value in vars(task).values() if isinstance(value, nn.Module)]
        self._networks = list(dict.fromkeys(found))  # one may have several names
        self._losses = _Losses(task)
        self._wrapped = self._fabric.setup_module(self._losses, move_to_device=False)

    def part(self, count: int) -> slice:
        """The rows of a batch of `count` that this process runs through the networks.

        Raises:
            ValueError: if they cannot be shared equally.
        """
        check_divisible(count, self.place.devices)
        own = count // self.place.devices
        return slice(self.place.rank * own, (self.place.rank + 1) * own)

    def losses(self, step: int) -> dict[str, Tensor]:
        """`task.losses(step)`, computed together; with gradient, of this process's part or of all.

        Terms that are of the part alone differ between processes: see `means`.
        """
        with ExitStack() as stack:
            stack.enter_context(self._working())
            stack.enter_context(synchronised(self._networks, distributed.group.WORLD))
            for module in dict.fromkeys(m for each in self._networks for m in each.modules()):
                if isinstance(module, Classifier):
                    handle = module.bottleneck.register_forward_hook(self._gather)
                    stack.callback(handle.remove)
            terms: dict[str, Tensor] = self._wrapped(step)
        if NOTHING not in terms:
            return terms
        self.backward(terms[NOTHING])  # each pass of DDP has to be followed by its reduction
        for parameter in self._losses.learnt:
            parameter.grad = None
        return {}

    @contextmanager
    def _working(self) -> Iterator[None]:
        self.at_work = True
        try:
            yield
        finally:
            self.at_work = False

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within it, what is computed in the midst of a step is this process's own affair."""
        before, self.at_work = self.at_work, False
        try:
            yield
        finally:
            self.at_work = before

    def _gather(self, _layer: nn.Module, _inputs: Any, features: Tensor) -> Tensor | None:
        return self.gathered(features) if self.at_work else None

    def gathered(self, x: Tensor) -> Tensor:
        """Rows [B, ...] of all processes, of x [B / devices, ...] of each, in order, with gradient.

        What flows back is the sum of what flows back in all processes.
        """
        return gathered(x, distributed.group.WORLD).flatten(0, 1)

    def divided(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Gathered rows of two batches, `rows` in the first, that each process saw as one."""
        parts = x.view(self.place.devices, -1, *x.shape[1:])
        own = rows // self.place.devices
        return parts[:, :own].flatten(0, 1), parts[:, own:].flatten(0, 1)

    def backward(self, total: Tensor) -> None:
        """Gradients of `total`, averaged over the processes, in all of them."""
        with warnings.catch_warnings():
            # Of 1x1 convolutions, whose strides can be written in two ways.
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            self._fabric.backward(total, model=self._wrapped)

    def means(self, terms: dict[str, Tensor], tallies: Iterable[Tensor]) -> dict[str, Tensor]:
        """Means over the processes of 0-d `terms` without gradient, and of `tallies` in place."""
        for tally in tallies:
            distributed.all_reduce(tally)
            tally /= self.place.devices
        together = torch.stack([*terms.values()])
        distributed.all_reduce(together)
        return dict(zip(terms, (together / self.place.devices).unbind(), strict=True))

    def abort(self) -> None:
        """End the collectives that this process waits in, from another thread."""
        if distributed.group.WORLD is not None:
            distributed.group.WORLD.abort()

    def leave(self) -> None:
        """End the connection; whoever waits for this process gets an error."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


class _Losses(nn.Module):
    """The losses as one module, whose parameters are those that the optimiser has."""

    def __init__(self, task: "Task") -> None:
        super().__init__()
        self.compute = task.losses
        groups = task.optimiser.param_groups
        learnt = [p for group in groups for p in group["params"] if p.requires_grad]
        self.learnt = nn.ParameterList(learnt)

    def forward(self, step: int) -> dict[str, Tensor]:
        """The terms; where there are none, one that is always 0."""
        terms = self.compute(step)
        return terms or {NOTHING: 0 * torch.stack([p.sum() for p in self.learnt]).sum()}


class _OneMachine(ClusterEnvironment):
    """Processes on one machine that were started already, by us."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        raise RuntimeError("There is no port: the processes meet by a file.")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._place.devices

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        return self._place.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        return self._place.rank

    def node_rank(self) -> int:
        return 0


class _Strategy(DDPStrategy):
    """DDP in a notebook, too: Fabric would refuse, for fear that it has to start processes."""

    def _configure_launcher(self) -> None:
        self._launcher = None


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """Gloo takes the loopback device, which every machine has, and not one by the host's name."""
    names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    variable, before = "GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME")
    if names and before is None:
        os.environ[variable] = names[0]
    try:
        yield
    finally:
        if names and before is None:
            del os.environ[variable]
