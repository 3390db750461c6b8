"""The loss terms of an epoch: kept on the device, and read back without a step waiting for it."""

from collections.abc import Mapping

import torch
from torch import Tensor

CHECK_EVERY = 20  # steps between two looks at whether the losses are finite: each is a read-back


class NonFiniteLoss(RuntimeError):  # noqa: N818 - reads as the thing found
    """A loss term became NaN or infinite; names the epoch, the step, the term and the way out."""


class ReadBack:
    """A copy of `tensor` on the host, begun now and waited for only when it is asked for.

    On CUDA the copy goes through pinned memory, behind the work that is queued already. Elsewhere
    it is there at once.
    """

    def __init__(self, tensor: Tensor) -> None:
        found = tensor.detach()
        self._event: torch.cuda.Event | None = None
        if found.device.type == "cuda":
            self._host = torch.empty_like(found, device="cpu", pin_memory=True)
            self._host.copy_(found, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._host = found.to("cpu", copy=True)

    @property
    def ready(self) -> bool:
        """Whether `value` would not wait."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    @property
    def value(self) -> Tensor:
        """The copy, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


class TermRecord:
    """The terms of an epoch.

    Whether they are finite is asked every `CHECK_EVERY` steps, and answered when the device has
    come so far, at the latest `CHECK_EVERY` steps later or when the epoch ends.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._steps: list[int] = []
        self._terms: list[dict[str, Tensor]] = []
        self._asked = 0
        self._answer: tuple[int, ReadBack] | None = None

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Keep the terms of a step, `total` among them.

        Raises:
            NonFiniteLoss: if a term of an earlier step, or on a CPU of this one, is not finite.
        """
        self._steps.append(step)
        self._terms.append(terms)
        if self._answer is not None and self._answer[1].ready:
            self._look()
        if len(self._steps) - self._asked == CHECK_EVERY:
            self._look()
            self._ask()

    def check(self) -> None:
        """Wait until it is known that all terms so far are finite.

        Raises:
            NonFiniteLoss: if a term of the epoch is not finite.
        """
        self._look()
        if self._asked < len(self._steps):
            self._ask()
            self._look()

    def means(self) -> dict[str, Tensor]:
        """The mean of each term over the steps that had it, on the CPU.

        Raises:
            NonFiniteLoss: if a term of the epoch is not finite.
        """
        self.check()
        return {
            name: torch.stack([terms[name] for terms in self._terms if name in terms]).mean().cpu()
            for name in self._names()
        }

    def kept(self) -> dict[str, dict[str, Tensor]]:
        """By term, the steps that had it and its values there: what `restore` takes."""
        found: dict[str, dict[str, Tensor]] = {}
        for name in self._names():
            had = [place for place, terms in enumerate(self._terms) if name in terms]
            found[name] = {
                "steps": torch.tensor([self._steps[place] for place in had]),
                "values": torch.stack([self._terms[place][name] for place in had]),
            }
        return found

    def restore(self, kept: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> None:
        """Go on with the terms of an epoch that was broken off; they have been checked."""
        by_step: dict[int, dict[str, Tensor]] = {}
        for name, had in kept.items():
            values = had["values"].to(device).unbind()
            for step, value in zip(had["steps"].tolist(), values, strict=True):
                by_step.setdefault(step, {})[name] = value
        self._steps, self._terms = sorted(by_step), [by_step[step] for step in sorted(by_step)]
        self._asked = len(self._steps)

    def _names(self) -> list[str]:
        return sorted({name for terms in self._terms for name in terms})

    def _ask(self) -> None:
        totals = [terms["total"] for terms in self._terms[self._asked :]]
        self._answer = self._asked, ReadBack(torch.stack(totals).isfinite().all())
        self._asked = len(self._steps)
        if self._answer[1].ready:
            self._look()

    def _look(self) -> None:
        if self._answer is None:
            return
        (first, finite), self._answer = self._answer, None
        if not bool(finite.value):
            self._raise(first)

    def _raise(self, first: int) -> None:
        for step, terms in zip(self._steps[first:], self._terms[first:], strict=True):
            bad = [name for name, value in terms.items() if not value.isfinite()]
            if bad:
                values = ", ".join(f"{name} = {float(terms[name])}" for name in bad)
                raise NonFiniteLoss(
                    f"Epoch {self.epoch + 1}, step {step + 1}: {values}. The model after epoch "
                    f"{self.epoch} is the last good one. Lower the learning rate or the weight of "
                    "that term, or use dtype: float32."
                )
