"""tgkt: what the source model sees in translations, pairs, and itself (IEEE TIP 2025; inferred)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from socketlab.methods.distillation import PairTransfer
from socketlab.methods.shot import Shot, ShotOptions
from socketlab.methods.translator_options import TranslatorOptions
from socketlab.objectives import PairReduction, knowledge_distillation


class TgktOptions(ShotOptions, TranslatorOptions):
    """Weights of the terms; the terms are the paper's, the weights and their forms inferred."""

    translation_weight: float = Field(1.0, ge=0, description="of L_KL")
    confidence_weighting: bool = Field(
        False, description="each image of L_KL counts by 1 - H / log K of what is taught"
    )
    pair_reduction: PairReduction = Field("mean_squared", description="how L_f is reduced")
    pair_weight: float = Field(0.5, ge=0, description="of L_f")
    pseudo_label_weight: float = Field(0.3, ge=0, description="of L_self")
    information_weight: float = Field(
        0.0, ge=0, description="of information maximisation, which TGKT does not have"
    )


class Tgkt(Shot, PairTransfer):
    """L = L_KL + b_f L_f + b_self L_self, on raw target images (arXiv 2401.05014).

    - L_KL = KL( C(F_s(T(x))) || p(x) ), T the translator, the same crop in both.
    - L_f = mean (F_s(r) - F_t(m))^2 over TI pairs (r, m).
    - L_self: cross-entropy to the target model's own centroid pseudo-labels, as in SHOT.

    The target model starts as the source model and does not need T afterwards.
    """

    name = "tgkt"
    needs_translator = True
    inferred: ClassVar[str] = "all weights, that both see the same crop, the form of L_f and L_self"
    options_model: ClassVar[type[TgktOptions]] = TgktOptions
    options: TgktOptions

    def prepare(self) -> None:
        """The teacher sees target images through the translator; the student sees them raw."""
        for member in self.teacher.members:
            member.translate_with(self.given_translator())
        super().prepare()

    def term_weights(self) -> dict[str, float]:
        """Weights of L_KL, L_f, L_self, and of information maximisation."""
        return super().term_weights() | {
            "translation": self.options.translation_weight,
            "pairs": self.options.pair_weight,
        }

    def losses(self, step: int) -> dict[str, Tensor]:
        """The terms of a target batch and a batch of TI pairs."""
        index, images = self.target_batch(step)
        logits = self.student(images)
        terms = self.target_terms(index, logits)
        if self.wants("translation"):
            with torch.no_grad():
                taught = self.teacher(images)
            weighted = self.options.confidence_weighting
            terms["translation"] = knowledge_distillation(
                taught, logits, confidence_weighted=weighted
            )
        if self.wants("pairs"):
            terms["pairs"] = self.pair_term(step)
        return terms


METHOD = Tgkt
