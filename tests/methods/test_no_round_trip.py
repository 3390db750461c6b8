"""A step leaves its numbers on the device: nothing in it waits for them, and none is copied back.

On a CPU the same operations are called as on a GPU, so that they are found here too. A tensor that
is made without a device, and what is made of such tensors alone, would be on the CPU with a GPU too
and may be read: it is marked as `host_side`.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import socketlab
from socketlab.data.views import Views
from socketlab.methods import REGISTRY
from socketlab.methods.source import Source, SourceOptions
from socketlab.training.precision import Precision

Begin = Callable[..., Any]

PACKAGE = str(Path(socketlab.__file__).parent) + "/"
HOST_SIDE = ("training/batches.py", "data/streaming.py")
"""Here images and indices that were made before the step are on the CPU, if they are read."""

WAITS = {
    "aten::_local_scalar_dense",  # item, bool, float and int of a tensor
    "aten::nonzero",  # how many there are decides the shape
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::equal",
    "aten::repeat_interleave.Tensor",
}
COPIES = {"cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "__index__"}


class RoundTripError(AssertionError):
    """Something in a step asks the device for a number."""


def _check(name: str, asked: Any) -> None:
    """Refuse to read `asked`, and say in which line of ours that is, unless it is on the CPU."""
    if getattr(asked, "host_side", False):
        return
    frames = traceback.extract_stack()
    if any("/torch/optim/" in frame.filename for frame in frames):
        return  # Adam counts its steps on the CPU
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    if not own:
        raise RoundTripError(f"{name} in no file of ours")
    place = own[-1].filename.removeprefix(PACKAGE)
    if place not in HOST_SIDE:
        raise RoundTripError(f"{name} in {place}:{own[-1].lineno}: {own[-1].line}")


class NoWaiting(TorchDispatchMode):
    """Refuses operations that wait for the device; counts all that it has looked at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.looked_at = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.name()
        self.looked_at += 1
        if name in WAITS:
            _check(name, args[0])
        if name.startswith(("aten::index.", "aten::index_put")):
            for place in args[1]:
                if place is not None and place.dtype in (torch.bool, torch.uint8):
                    _check(f"{name} by a mask", place)
        return func(*args, **(kwargs or {}))


class NoCopying(TorchFunctionMode):
    """Refuses to copy a tensor to the CPU; marks those that are there."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, given = getattr(func, "__name__", ""), [*args, *(kwargs or {}).values()]
        tensors = [value for value in tree_leaves(given) if isinstance(value, Tensor)]
        if tensors and (name in COPIES or (name == "to" and "cpu" in given[1:])):
            _check(name, tensors[0])
        found = func(*args, **(kwargs or {}))
        devices = [value for value in given if isinstance(value, torch.device)]
        if isinstance(found, Tensor) and not devices and all(map(_is_host_side, tensors)):
            found.host_side = True  # type: ignore[attr-defined]
        elif isinstance(found, Tensor) and devices and _is_host_side(found):
            return found.view_as(found)  # sent to the device, which here is the same
        return found


def _is_host_side(tensor: Tensor) -> bool:
    return getattr(tensor, "host_side", False)


@contextmanager
def on_the_device() -> Iterator[NoWaiting]:
    with NoWaiting() as watched, NoCopying():
        yield watched


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in REGISTRY),
        ("shot", {"elr": True, "weighting": "jmds"}),
        ("socket", {"statistics_gate": True, "pair_order": "redrawn", "pair_statistics": "moving"}),
        ("socket", {"pair_crops": "fixed"}),
        ("socket", {"pair_crops": "cached"}),
        ("translated", {"adversary": "features", "information_start": 0}),
        ("translated", {"perceptual_weight": 1.0, "statistics_weight": 1.0, "l1_weight": 1.0}),
    ],
    ids=str,
)
def test_a_step_of_a_method_makes_no_round_trip(
    name: str, options: dict[str, Any], views: Views, begin: Begin
) -> None:
    """The second one of an epoch: what an epoch prepares, it may look at."""
    training = begin(name, views, **options)
    training.until("start")
    if training.method.epochs == 0 or training.method.steps_per_epoch == 0:
        return
    training.until("step")
    with on_the_device() as watched:
        training.until("step")
    assert watched.looked_at > 20  # it would have raised at the one that waits


def test_a_step_of_source_training_makes_no_round_trip(views: Views) -> None:
    options = SourceOptions(batch_size=4, epochs=1, colour_jitter=0.4)
    precision = Precision(torch.device("cpu"), torch.float32, "a test")
    steps = Source(options, crop=14, seed=0, precision=precision).fit(views.source)
    kinds = [next(steps).kind for _ in range(2)]
    assert kinds == ["start", "step"]
    with on_the_device():
        assert next(steps).kind == "step"


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: float(x[0]),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.index_put_((x > 0,), x.new_zeros(())),
    ],
)
def test_each_kind_of_round_trip_is_found(look: Callable[[Tensor], object]) -> None:
    values = torch.ones(3)
    with on_the_device(), pytest.raises(RoundTripError):
        look(values)


def test_what_stays_on_the_device_is_let_through() -> None:
    values = torch.ones(3, requires_grad=True)
    with on_the_device():
        torch.where(values > 0, values, 0).masked_fill(values < 0, 1.0).sum().backward()
        chosen = values[torch.tensor([0, 2])]
    assert chosen.shape == (2,)


def test_what_is_on_the_cpu_may_be_read_until_it_is_sent() -> None:
    device = torch.device("cpu")
    with on_the_device():
        made = torch.arange(4) + 1
        assert int(made.sum()) == 10
        assert (made > 2).nonzero().tolist() == [[2], [3]]
        for sent in (made.to(device), torch.zeros(1, device=device)):
            with pytest.raises(RoundTripError, match="item in no file of ours"):
                sent[0].item()
