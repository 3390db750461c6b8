"""What a translator paints while it trains: the same images, again at every epoch kept."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from socketlab.figures.animation import animated_png
from socketlab.figures.style import class_colours, to_png
from socketlab.figures.translations import Translation, translation_sheet
from socketlab.methods.tgmb import Tgmb
from socketlab.models.modes import evaluating
from socketlab.runs.epoch_files import EpochFiles
from socketlab.runs.record import Run
from socketlab.training.batches import centre_window, generator, take
from socketlab.training.steps import Step

Array = npt.NDArray[Any]
TOP = 3


class Previews:
    """The previews of one stage: a file of what stays, and one for each epoch kept.

    Half of the images are TI pairs that were kept out of the training, half TR images that were
    adapted on. The same at every epoch, drawn by the seed alone.

    Args:
        run: whose folder they are kept in.
        stage: of which training.
    """

    def __init__(self, run: Run, stage: str) -> None:
        self._stage = stage
        self._files = EpochFiles(run.folder / "previews" / stage)

    def recorded(
        self, steps: Iterator[Step], task: Tgmb, each: int = 6, most: int = 8
    ) -> Iterator[Step]:
        """Hand steps on, and paint at the start, at the end, and at epochs evenly between.

        Args:
            steps: what `task.fit` gives.
            each: so many TI pairs and so many TR images.
            most: epochs kept.
        """
        chosen = None
        for step in steps:
            if chosen is None:
                kept = {round(x) for x in np.linspace(0, max(step.epochs, 1), most).tolist()}
                chosen = _Chosen(task, each)
                if step.kind == "start":
                    self._files.keep_fixed(chosen.fixed())
                self._files.forget_after(step.epoch)
            if step.kind == "stopped" or (step.kind in ("start", "epoch") and step.epoch in kept):
                self._files.keep(step, chosen.now())
            yield step

    @property
    def epochs(self) -> list[int]:
        """The epochs that were kept so far, in order."""
        return self._files.epochs

    def at(self, epoch: int) -> list[Translation]:
        """The translations of a kept epoch, as `translation_sheet` takes them.

        Raises:
            FileNotFoundError: if that epoch was not kept, saying which were.
        """
        if epoch not in self.epochs:
            raise FileNotFoundError(
                f"Epoch {epoch} of {self._stage!r} was not kept. Kept: {self.epochs}."
            )
        fixed, now = self._files.fixed(), self._files.at(epoch)
        classes, true = fixed["classes"].tolist(), fixed["true"]
        return [
            Translation(
                name="TI pair" if row < len(true) else "TR image",
                modality=str(fixed["modality"]),
                input=fixed["inputs"][row] / 255,
                picture=now["pictures"][row] / 255,
                truth=true[row] / 255 if row < len(true) else None,
                before=_top(fixed["before"][row], classes),
                now=_top(now["answers"][row], classes),
            )
            for row in range(len(fixed["inputs"]))
        ]

    def sheet(self, epoch: int) -> Figure:
        """The contact sheet of a kept epoch."""
        colours = class_colours(self._files.fixed()["classes"].tolist())
        title = f"{self._stage}, epoch {epoch}"
        return translation_sheet(self.at(epoch), title=title, colours=colours)

    def film(self) -> bytes:
        """The contact sheets of all kept epochs as one animated PNG."""
        return animated_png([to_png(self.sheet(epoch)) for epoch in self.epochs])


class _Chosen:
    """The images that are painted again and again."""

    def __init__(self, task: Tgmb, each: int) -> None:
        self._task = task
        order = torch.randperm(len(task.target), generator=generator(task.seed, "previews"))
        held_out, adapted = task.held_out[:each], order[:each]
        self._true = self._taken(task.pairs.source, held_out)
        pairs, target = self._taken(task.pairs.target, held_out), self._taken(task.target, adapted)
        self._inputs = torch.cat([pairs, target])

    def _taken(self, images: Any, rows: Tensor) -> Tensor:
        crop, size = self._task.crop, images.raw.shape[1]
        return take(images, rows, centre_window(len(rows), size, crop), self._task.encoding)

    def fixed(self) -> dict[str, Array]:
        """What does not change: inputs, true RGB, and what the source model says of raw inputs."""
        task = self._task
        with evaluating(task.teacher), task.precision.autocast():
            before = task.teacher(self._inputs).float().softmax(1)
        return {
            "inputs": _bytes(self._inputs)[..., 0],
            "true": _bytes(self._true),
            "before": before.cpu().numpy(),
            "classes": np.array(task.student.classes),
            "modality": np.array(task.target.format.modality),
        }

    def now(self) -> dict[str, Array]:
        """What the translator paints, and what the source model says of it."""
        task = self._task
        with evaluating(task.student), task.precision.autocast():
            pictures = task.translator(self._inputs)
            answers = task.student(self._inputs).float().softmax(1)
        return {"pictures": _bytes(pictures.float()), "answers": answers.cpu().numpy()}


def _bytes(images: Tensor) -> Array:
    """[N, C, H, W] in [0, 1] as uint8 [N, H, W, C]."""
    found: Array = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return found


def _top(answers: Array, classes: list[str]) -> dict[str, float]:
    return {classes[k]: float(answers[k]) for k in np.argsort(-answers, kind="stable")[:TOP]}
