"""What a training does in a step: which images its networks are given, and how it gathers them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from speed_cases import Training
from torch import Tensor

from socketlab.methods.base import Transfer
from socketlab.training import batches

Work = Callable[[], object]


@dataclass
class Seen:
    """What a training did in one step: images that its network and its teacher were given."""

    student: list[Tensor]
    teacher: list[Tensor]
    gathered: list[Work]

    @property
    def images(self) -> int:
        """Images that went through the network that is trained."""
        return sum(len(batch) for batch in self.student)


@contextmanager
def watched(training: Training) -> Iterator[Seen]:
    """What the task does in the steps that are taken within."""
    seen, task = Seen([], [], []), training.task
    trains_translator = isinstance(task, Transfer) and task.trains_translator
    member: Any = task.model.members[0]
    with ExitStack() as stack:
        if trains_translator:
            hook = member.translator.register_forward_pre_hook(
                lambda _, given: seen.student.append(given[0])
            )
            stack.callback(hook.remove)
        else:
            stack.enter_context(_heard(member, "features", seen.student))
        if isinstance(task, Transfer) and not trains_translator:
            stack.enter_context(_heard(task.teacher.members[0], "features", seen.teacher))
        stack.enter_context(_gathering(seen.gathered))
        yield seen


@contextmanager
def _heard(network: Any, name: str, into: list[Tensor]) -> Iterator[None]:
    """Within it, whatever a method of the network is given is noted down."""
    method = getattr(network, name)

    def noted(images: Tensor) -> Any:
        into.append(images.detach())
        return method(images)

    setattr(network, name, noted)
    try:
        yield
    finally:
        delattr(network, name)


@contextmanager
def _gathering(into: list[Work]) -> Iterator[None]:
    """Within it, every gathering of a batch is noted down, so that it can be done again."""
    inside: list[bool] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            if not inside:
                into.append(lambda: function(*given, **named))
            inside.append(True)
            try:
                return function(*given, **named)
            finally:
                inside.pop()

        return noted

    own = [module for name, module in sys.modules.items() if name.startswith("socketlab.")]
    with ExitStack() as stack:
        for name in ("take", "take_pairs"):
            function: Callable[..., Any] = getattr(batches, name)
            for module in own:
                if vars(module).get(name) is function:
                    setattr(module, name, noting(function))
                    stack.callback(setattr, module, name, function)
        yield
