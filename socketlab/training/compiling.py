"""Networks that `torch.compile` compiles in place: tried at the first steps, given up if need be.

Encoder, bottleneck and translator are compiled as they stand, so names, weights and states stay
what they were, and a deep copy is uncompiled. Only steps run compiled. What looks
(`modes.evaluating`) or reads by hooks (`modes.uncompiled`) runs uncompiled: a graph knows only the
hooks of when it was compiled, and a batch of another size would be another graph.
"""

import textwrap
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier
from socketlab.training.precision import Precision

Result = TypeVar("Result")

TRIED = 3
"""CUDA graphs warm up at the first step, are recorded at the second and replayed at the third."""
MOST_GRAPHS = 128
LONGEST_REASON = 200


class Compiling:
    """The networks of one training, compiled where `precision.compiler` says so.

    Args:
        classifiers: what a step runs; a network that two of them share is compiled once.
        precision: of the training.
        memory: what else a step changes, called when it is needed.
    """

    def __init__(
        self,
        classifiers: Iterable[Classifier],
        precision: Precision,
        memory: Callable[[], Iterable[Tensor]] = tuple,
    ) -> None:
        self._device, self._compiler = precision.device, precision.compiler
        self._memory, self._steps, self._seconds = memory, 0, 0.0
        self._failure = ""
        self._classifiers = list(classifiers) if self._compiler != "off" else []
        self._parts = list(dict.fromkeys(part for c in self._classifiers for part in parts(c)))
        mode = "reduce-overhead" if self._compiler == "graphs" else None
        for part in self._parts:
            part.compile(dynamic=False, mode=mode)

    @property
    def note(self) -> str:
        """How it went, in a line: compiled and how long the first step took, or why not; or ``."""
        if self._failure:
            return f"not compiled: {self._failure}"
        if not self._parts or not self._steps:
            return ""
        return f"compiled ({self._compiler}): the first step took {self._seconds:.1f} s"

    def attempt(self, step: Callable[[], Result]) -> Result:
        """A training step; where compiling fails, the same step uncompiled, as all later ones.

        Of the first three steps, one that raises is taken back (running statistics, memory, random
        numbers) and taken again: the training is then the uncompiled one. An error that is no
        compiler's is raised by the second attempt.
        """
        if not self._parts:
            return step()
        from torch._dynamo import config  # takes seconds

        # All modules are one function to torch, which would compile no more after its eighth graph.
        with config.patch(recompile_limit=MOST_GRAPHS):
            return self._attempt(step)

    def _attempt(self, step: Callable[[], Result]) -> Result:
        if self._compiler == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        if self._steps == TRIED:
            return step()
        restore, began = self._snapshot(), time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"torch\.")  # advice to who writes graphs
                result = step()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # what fails there, fails here
        except Exception as error:  # a compiler raises whatever it likes
            self._give_up(error)
        else:
            self._seconds = self._seconds or time.monotonic() - began
            self._steps += 1
            return result
        restore()
        return step()

    def _give_up(self, error: Exception) -> None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        self._failure = textwrap.shorten(said, LONGEST_REASON, placeholder=" ...")
        for part in self._parts:
            part._compiled_call_impl = None  # torch has no public way back
        self._parts = []

    def _snapshot(self) -> Callable[[], None]:
        """What puts back, of a step that fails before its weights are changed, all it changed."""
        held = [buffer for c in self._classifiers for buffer in c.buffers()] + [*self._memory()]
        before = [tensor.detach().clone() for tensor in held]
        on_cuda = self._device.type == "cuda"
        numbers = torch.get_rng_state()
        on_device = torch.cuda.get_rng_state(self._device) if on_cuda else numbers

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in zip(held, before, strict=True):
                    tensor.copy_(value)
            torch.set_rng_state(numbers)
            if on_cuda:
                torch.cuda.set_rng_state(on_device, self._device)

        return restore


def parts(classifier: Classifier) -> list[nn.Module]:
    """What of a classifier is compiled: encoder, bottleneck and translator that have weights."""
    found = (classifier.encoder, classifier.bottleneck, classifier.translator)
    return [part for part in found if any(True for _ in part.parameters())]
