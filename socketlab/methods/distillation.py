"""distillation: the TI pairs alone; supervision transfer (Gupta et al., CVPR 2016)."""

from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from socketlab.methods.base import Options, Transfer
from socketlab.objectives import PairReduction, feature_distance
from socketlab.training.batches import random_window, shuffled_batch, take
from socketlab.training.statistics import held_running_statistics

CACHED_AT_ONCE = 256


class PairOptions(Options):
    """How the two halves of a TI pair are compared; the second of each choice is as released."""

    pair_weight: float = Field(0.5, ge=0, description="of the distance of paired features")
    pair_reduction: PairReduction = Field("frobenius", description="how the distance is reduced")
    pair_crops: Literal["same", "cached"] = Field(
        "same", description="same in both halves; or RGB features of one random crop, once for all"
    )
    pair_order: Literal["sweep", "redrawn"] = Field(
        "sweep", description="without replacement over the steps; or each batch from all pairs"
    )
    pair_statistics: Literal["held", "moving"] = Field(
        "held", description="whether TI batches move the running statistics"
    )


class PairTransfer(Transfer):
    """A method with L_TI, the distance of F_s(r) and F_t(m) over TI pairs (r, m).

    With several sources the distances in each one's own feature space are summed, weighted by
    the mixing weights as constants.
    """

    needs_pairs = True
    options: PairOptions
    _cached: list[Tensor]

    def prepare(self) -> None:
        """RGB features of one random crop of every pair, where they are to be cached."""
        super().prepare()
        if self.options.pair_crops == "cached":
            self._cached = self._features_of_one_crop()

    def pair_rows(self, step: int) -> Tensor:
        """Indices [B] of a step's pairs, in the order that was chosen."""
        if self.options.pair_order == "sweep":
            return super().pair_rows(step)
        count = len(self.pairs)
        size = min(self.batch_size, count)
        return shuffled_batch(count, size, self.seed, f"pairs {step}", 0)

    def pair_term(self, step: int) -> Tensor:
        """L_TI of a batch of TI pairs."""
        if self.options.pair_crops == "cached":
            index = self.pair_rows(step)
            window = self.window("pairs", step, len(index))
            other = take(self.pairs.target, index, window, self.encoding)
            wanted = [features[index.to(features.device)] for features in self._cached]
        else:
            rgb, other = self.pair_batch(step)
            with torch.no_grad():
                wanted = [teacher.features(rgb) for teacher in self.teacher.members]
        held = self.options.pair_statistics == "held"
        with held_running_statistics(self.student) if held else nullcontext():
            found = [student.features(other) for student in self.student.members]
        reduction = self.options.pair_reduction
        distances = [feature_distance(w, f, reduction) for w, f in zip(wanted, found, strict=True)]
        return (self.mixing_weights() * torch.stack(distances)).sum()

    def _features_of_one_crop(self) -> list[Tensor]:
        count, size = len(self.pairs), self.pairs.source.raw.shape[1]
        found: list[list[Tensor]] = [[] for _ in self.teacher.members]
        with torch.no_grad(), self.precision.autocast():
            for part, index in enumerate(torch.split(torch.arange(count), CACHED_AT_ONCE)):
                window = random_window(len(index), size, self.crop, self.seed, "cached", part)
                rgb = take(self.pairs.source, index, window)
                for features, teacher in zip(found, self.teacher.members, strict=True):
                    features.append(teacher.features(rgb))
        return [torch.cat(features) for features in found]


class Distillation(PairTransfer):
    """L = L_TI. The BatchNorm statistics are estimated on the target images after every epoch."""

    name = "distillation"
    options_model: ClassVar[type[PairOptions]] = PairOptions

    def term_weights(self) -> dict[str, float]:
        """Weight of L_TI."""
        return {"pairs": self.options.pair_weight}

    def losses(self, step: int) -> dict[str, Tensor]:
        """L_TI of a batch of TI pairs."""
        return {"pairs": self.pair_term(step)}

    def settle(self) -> None:
        """No TR image went through the student, so its statistics are estimated here."""
        self.estimate_statistics()


METHOD = Distillation
