"""Which rows speed.py measures: networks, methods, and how often; and on which machine."""

import functools
import itertools
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from speed_cases import Case, methods
from speed_growth import NEIGHBOURS, measure_growth
from speed_parts import measure_part
from speed_steps import Effort, measure_epoch, measure_step

from socketlab.data.layouts.threads import cores
from socketlab.training.precision import DeviceChoice

SMALL = "resnet_small"
SOCKETS = ("socket", "socket, fixed crops")
"""Of whose epochs the whole is measured."""
FEW = ("source", "shot", "translated", *SOCKETS)
"""Methods of larger networks on a CPU, where all of them would take an hour."""
ON_GPU, GROWING, ONCE = Effort(5, 10, 8), Effort(3, 5, 3), Effort(1, 1, 0)


@dataclass(frozen=True)
class Network:
    """A network whose steps are measured.

    Attributes:
        effort: how often a step is measured on a CPU.
        methods: on a CPU, in the number format that is chosen for it; none: all of them.
        more: methods that are measured in float32 too, and on a GPU compiled.
    """

    name: str
    crop: int
    effort: Effort
    methods: Sequence[str] = ()
    more: Sequence[str] = ("shot", "socket")


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        batches: images a step, by device.
        epoch: network, crop, images, and epochs: as many pairs, and the images are scored too.
        growing: crop and batch of resnet_small while images, classes and sources grow.
        features: network and crop and images of a prediction.
        parts: what else, and of how many images, pairs or points.
    """

    networks: Sequence[Network] = (
        Network(SMALL, 64, Effort(5, 15, 3)),
        Network("mobilenet_v2", 160, Effort(3, 15, 5), FEW, ("socket",)),
        Network("resnet18", 112, Effort(6, 15, 15)),
        Network("resnet50", 224, Effort(2, 2, 1), SOCKETS, ()),
    )
    batches: Mapping[str, Sequence[int]] = field(
        default_factory=lambda: {"cpu": (32,), "cuda": (32, 128)}
    )
    effort_on_gpu: Effort = ON_GPU
    epoch: tuple[str, int, int, int] = ("resnet18", 112, 512, 2)
    growing: tuple[int, int] = (64, 32)
    images: Sequence[int] = (1_000, 10_000, 100_000)
    classes: Sequence[int] = (10, 100, 1000)
    sources: Sequence[int] = (1, 2, 4, 8)
    growth: Effort = GROWING
    features: int = 512
    parts: Mapping[str, int] = field(
        default_factory=lambda: {
            "matrix products": 10,
            "preparing": 200,
            "gap numbers": 10_000,
            "gap numbers of all pairs": 10_000,
            "map": 10_000,
        }
    )


QUICK = Plan(
    networks=(
        Network(SMALL, 64, Effort(3, 5, 0.5), more=("socket",)),
        Network("resnet18", 112, Effort(2, 2, 0), methods=("socket",), more=()),
    ),
    epoch=(SMALL, 64, 128, 1),
    images=(1_000, 10_000),
    classes=(10, 100),
    sources=(1, 2),
    growth=Effort(2, 3, 0.5),
    features=128,
    parts={
        "matrix products": 4,
        "preparing": 40,
        "gap numbers": 2_000,
        "gap numbers of all pairs": 2_000,
        "map": 1_000,
    },
)


@dataclass(frozen=True)
class Measurement:
    """One row: which function measures it, of what, and what that is given besides.

    `about` tells rows of one case apart: what grows, or which part it is.
    """

    kind: str
    case: Case
    about: str = ""
    effort: Effort = ONCE
    amount: int = 0

    @property
    def key(self) -> str:
        """By which a row is found again: the machine, and all that is measured."""
        amount = f" {self.amount}" if self.amount else ""
        return f"{machine(self.case.device)['name']}: {self.kind} {self.about}{amount}: " + (
            self.case.text
        )

    def found(self) -> dict[str, Any]:
        """The row's numbers, measured in this process."""
        if self.kind == "epoch":
            return measure_epoch(self.case, self.amount)
        if self.kind == "part":
            return measure_part(self.about, self.case, self.amount)
        measure = measure_growth if self.kind == "growth" else measure_step
        return measure(self.case, self.effort)


def measurements(plan: Plan, devices: Sequence[DeviceChoice]) -> Iterator[Measurement]:
    """All rows of a plan, in the order in which they are measured."""
    for device in devices:
        for batch in plan.batches[device]:
            for network in plan.networks:
                effort = network.effort if device == "cpu" else plan.effort_on_gpu
                shared: dict[str, Any] = {"device": device, "batch": batch}
                chosen = network.methods if device == "cpu" else ()
                for method in chosen or methods():
                    case = Case(network.name, network.crop, method, **shared)
                    yield Measurement("step", case, effort=effort)
                others: list[dict[str, Any]] = [{"dtype": "float32"}]
                others += [{"compiler": "default"}] if device == "cuda" else []
                for method, other in itertools.product(network.more, others):
                    case = Case(network.name, network.crop, method, **shared, **other)
                    yield Measurement("step", case, effort=effort)
        name, crop, images, epochs = plan.epoch
        for method in (found for found in SOCKETS if found in methods()):
            case = Case(name, crop, method, device=device, images=images)
            yield Measurement("epoch", case, amount=epochs)
        yield from _parts(plan, device)
        yield from _growth(plan, device)


def _parts(plan: Plan, device: DeviceChoice) -> Iterator[Measurement]:
    for network in plan.networks:
        case = Case(network.name, network.crop, "source", device=device)
        yield Measurement("part", case, "features", amount=plan.features)
    for part, amount in plan.parts.items():
        # Maps and preparing know no GPU; images are prepared to be cut to 224.
        if device == "cpu" or part not in ("map", "preparing"):
            case = Case(SMALL, 224, "source", device=device)
            yield Measurement("part", case, part, amount=amount)


def _growth(plan: Plan, device: DeviceChoice) -> Iterator[Measurement]:
    shared: dict[str, Any] = {"device": device, "spared": True, "images": min(plan.images)}
    for axis, values in (
        ("images", plan.images),
        ("classes", plan.classes),
        ("sources", plan.sources),
    ):
        for value in values:
            for method in ("socket", *(NEIGHBOURS if axis == "images" else ())):
                given = shared | {axis: value}
                case = Case(SMALL, plan.growing[0], method, batch=plan.growing[1], **given)
                yield Measurement("growth", case, axis, plan.growth)


@functools.cache
def machine(device: str) -> dict[str, Any]:
    """What was measured on; `name` is what rows are told apart by."""
    processor = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        lines = [line.partition(":") for line in listed.read_text().splitlines()]
        models = [value.strip() for name, _, value in lines if name.strip() == "model name"]
        processor = models[0] if models else processor
    count = f"{cores()} core{'s' if cores() > 1 else ''}"
    here = {
        "name": f"{processor}, {count}",
        "processor": processor,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device,
    }
    return here if device == "cpu" else here | {"name": torch.cuda.get_device_name()}
