"""What a fixed sample of images looks like to a model at every epoch of its transfer."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.data.views import ImagePairs
from socketlab.gap.audit import LabelHistory
from socketlab.gap.features import PairFeatures
from socketlab.methods.base import Transfer
from socketlab.runs.epoch_files import EpochFiles
from socketlab.runs.record import Run
from socketlab.training.batches import generator
from socketlab.training.inference import predict
from socketlab.training.steps import Step

Array = npt.NDArray[Any]


class MissingFilm(FileNotFoundError):  # noqa: N818 - reads as the thing found
    """A transfer of which nothing was kept while it trained."""


@dataclass(frozen=True, eq=False)
class Reel:
    """The sample at all epochs kept: of each set, RGB once and the other modality per epoch.

    Attributes:
        epochs: E epochs in order; 0 is the source model.
        rows: of each set (`TI`, `TR`), which of its pairs are in the sample, [n].
        rgb: of each set, float32 [n, 256], by the source model.
        other: of each set, float32 [E, n, 256], by the model of that epoch.
    """

    epochs: tuple[int, ...]
    rows: dict[str, Array]
    rgb: dict[str, Array]
    other: dict[str, Array]

    def at(self, name: str, epoch: int) -> PairFeatures:
        """The pairs of a set as they were after an epoch."""
        other = self.other[name][self.epochs.index(epoch)]
        return PairFeatures(torch.from_numpy(self.rgb[name]), torch.from_numpy(other))


class Film:
    """The film of one stage: a file of what stays, and one for each epoch.

    Args:
        run: whose folder it is kept in.
        stage: of which training.
        fingerprint: of what decided that training; another one's film is another film.
    """

    def __init__(self, run: Run, stage: str, fingerprint: str) -> None:
        self._all = run.folder / "film" / stage
        self._files = EpochFiles(self._all / fingerprint)

    def recorded(
        self,
        steps: Iterator[Step],
        task: Transfer,
        pairs: Mapping[str, ImagePairs | None],
        each: int,
    ) -> Iterator[Step]:
        """Hand steps on; at the start and after every epoch keep features, answers and labels.

        Nothing of it goes back to the method, and no random number of the training is drawn.

        Args:
            steps: what `task.fit` gives.
            task: the method at work.
            pairs: sets of pairs by name.
            each: so many pairs of each set, a sample that the seed alone decides.
        """
        sample = None
        for step in steps:
            if sample is None:
                sample = _Sample(task, pairs, each)
                if step.kind == "start":
                    shutil.rmtree(self._all, ignore_errors=True)
                # Also where an earlier part of the training was not filmed.
                self._files.keep_fixed(sample.fixed())
                self._files.forget_after(step.epoch)
            if step.kind in ("start", "epoch", "stopped"):
                self._files.keep(step, sample.now())
            yield step

    @property
    def epochs(self) -> list[int]:
        """The epochs that were kept, in order; none where there is no beginning."""
        return self._files.epochs if self._files.has_fixed else []

    def reel(self) -> Reel:
        """The features of all epochs.

        Raises:
            MissingFilm: if none were kept, saying how they are.
        """
        fixed, found = self._everything()
        sets = [name.removeprefix("rows ") for name in fixed if name.startswith("rows ")]
        return Reel(
            epochs=tuple(found),
            rows={name: fixed[f"rows {name}"] for name in sets},
            rgb={name: fixed[f"rgb {name}"] for name in sets},
            other={n: np.stack([e[f"features {n}"] for e in found.values()]) for n in sets},
        )

    def labels(self, truth: Mapping[str, int] | None = None) -> LabelHistory:
        """The labels and answers that every adapted-on image was given, epoch by epoch.

        Of a method without pseudo-labels these are its answers. At epoch 0, before training, they
        are the answers of the source model.

        Args:
            truth: class index by id, known in hindsight and to nobody who adapts. It is left out
                where it does not know every image.

        Raises:
            MissingFilm: as in `reel`.
        """
        fixed, found = self._everything()
        ids = tuple(str(name) for name in fixed["ids"])
        known = None
        if truth is not None and set(ids) <= truth.keys():
            known = np.array([truth[name] for name in ids], np.int64)
        return LabelHistory(
            ids=ids,
            classes=tuple(str(name) for name in fixed["classes"]),
            epochs=tuple(found),
            pseudo_labels=np.stack([epoch["pseudo_labels"] for epoch in found.values()]),
            answers=np.stack([epoch["answers"] for epoch in found.values()]),
            confidence=np.stack([epoch["confidence"] for epoch in found.values()]),
            truth=known,
        )

    def _everything(self) -> tuple[dict[str, Array], dict[int, dict[str, Array]]]:
        epochs = self.epochs
        if not epochs:
            raise MissingFilm(
                f"There is no film of {self._all.name} with these parameters: it has not been "
                "made by 05_transfer, or with `film: 0`. Run 05_transfer with `film: 300`, in a "
                "run of another name where it is done already."
            )
        return self._files.fixed(), {epoch: self._files.at(epoch) for epoch in epochs}


class _Sample:
    """The pairs that are looked at again and again."""

    def __init__(self, task: Transfer, pairs: Mapping[str, ImagePairs | None], each: int) -> None:
        self._task = task
        self._rows: dict[str, Tensor] = {}
        self._pairs: dict[str, ImagePairs] = {}
        for name, found in pairs.items():
            if found is None:
                continue
            order = torch.randperm(len(found), generator=generator(task.seed, "film", name))
            self._rows[name] = order[:each].sort().values
            self._pairs[name] = found.rows(self._rows[name]).to(task.precision.device)

    def fixed(self) -> dict[str, Array]:
        """What does not change: which pairs, their RGB halves as the source model sees them."""
        task = self._task
        values: dict[str, Array] = {
            "ids": np.array(task.target.ids),
            "classes": np.array(task.student.classes),
        }
        for name, pairs in self._pairs.items():
            seen = predict(task.teacher, pairs.source, task.crop, task.precision)
            values[f"rows {name}"] = self._rows[name].numpy()
            values[f"rgb {name}"] = seen.features.cpu().numpy()
        return values

    def now(self) -> dict[str, Array]:
        """Features of the sample; answers, their confidence and labels of all target images."""
        task = self._task
        confidence, answers = task.outputs().probabilities.max(1)
        labels = task.pseudo_labels()
        values = {
            "answers": answers.cpu().numpy(),
            "confidence": confidence.clamp(max=1).cpu().numpy(),  # mixtures exceed 1 by rounding
            "pseudo_labels": (answers if labels is None else labels).cpu().numpy(),
        }
        for name, pairs in self._pairs.items():
            seen = predict(
                task.student, pairs.target, task.crop, task.precision, encoding=task.encoding
            )
            values[f"features {name}"] = seen.features.cpu().numpy()
        return values
