"""distillation: the TI pairs alone; supervision transfer (Gupta et al., CVPR 2016)."""

from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from socketlab.methods.base import Transfer
from socketlab.methods.options import Options
from socketlab.objectives import PairReduction, feature_distance
from socketlab.training.batches import Window, in_order, random_window, shuffled_batch, take
from socketlab.training.statistics import held_running_statistics

CACHED_AT_ONCE = 256


class PairOptions(Options):
    """How the two halves of a TI pair are compared; the second of each choice is as released."""

    pair_weight: float = Field(0.5, ge=0, description="of the distance of paired features")
    pair_reduction: PairReduction = Field("frobenius", description="how the distance is reduced")
    pair_crops: Literal["same", "fixed", "cached"] = Field(
        "same",
        description="the same in both halves, at random; fixed: drawn once, so that RGB features "
        "are computed once; cached: so for the RGB half alone, as released",
    )
    pair_views: int = Field(
        1, ge=1, description="fixed: crops of each pair, of which the epochs take turns"
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

    def prepare(self) -> None:
        """No RGB half has been seen yet."""
        super().prepare()
        self._seen: dict[int, tuple[Window, list[Tensor]]] = {}

    def pair_rows(self, step: int) -> Tensor:
        """Indices [B] of a step's pairs, in the order that was chosen."""
        if self.options.pair_order == "sweep":
            return super().pair_rows(step)
        count = len(self.pairs)
        size = min(self.batch_size, count)
        return shuffled_batch(count, size, self.seed, f"pairs {step}", 0)

    def pair_term(self, step: int) -> Tensor:
        """L_TI of a batch of TI pairs."""
        wanted, other = self.wanted_and_other(step)
        held = self.options.pair_statistics == "held"
        with held_running_statistics(self.student) if held else nullcontext():
            found = [student.features(other) for student in self.student.members]
        return self.pair_distance(wanted, found)

    def wanted_and_other(self, step: int) -> tuple[list[Tensor], Tensor]:
        """F_s(r) [B, d] of each source model, and m [B, C, crop, crop], of a step's pairs."""
        if self.options.pair_crops == "same":
            rgb, other = self.pair_batch(step)
            with torch.no_grad():
                return [teacher.features(rgb) for teacher in self.teacher.members], other
        index = self.pair_rows(step)
        fixed = self.options.pair_crops == "fixed"
        view = step // self.steps_per_epoch % self.options.pair_views if fixed else 0
        crops, features = self._crops_and_features(view)
        window = self.window("pairs", step, len(index))
        if fixed:
            window = crops.rows(index)
        self.read_ahead(self.pairs.target, self.pair_rows, step)
        other = take(self.pairs.target, *self.part(index, window), self.encoding)
        return [each[index.to(each.device)] for each in features], other

    def pair_distance(self, wanted: list[Tensor], found: list[Tensor]) -> Tensor:
        """Distance of F_s(r) and F_t(m), each [B, d], over all sources with their weights."""
        reduction = self.options.pair_reduction
        distances = [feature_distance(w, f, reduction) for w, f in zip(wanted, found, strict=True)]
        return (self.mixing_weights() * torch.stack(distances)).sum()

    def _crops_and_features(self, view: int) -> tuple[Window, list[Tensor]]:
        """A crop of each of the N pairs, and RGB features [N, d] of each source; computed once."""
        if view not in self._seen:
            count, size = len(self.pairs), self.pairs.source.raw.shape[1]
            crops = random_window(count, size, self.crop, self.seed, "cached", view)
            found: list[list[Tensor]] = [[] for _ in self.teacher.members]
            with self.apart(), torch.no_grad(), self.precision.autocast():
                for index in in_order(self.pairs.source, CACHED_AT_ONCE):
                    rgb = take(self.pairs.source, index, crops.rows(index))
                    for features, teacher in zip(found, self.teacher.members, strict=True):
                        features.append(teacher.features(rgb))
            self._seen[view] = crops, [torch.cat(features) for features in found]
        return self._seen[view]


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
