"""shot: information maximisation and centroid pseudo-labels (SHOT, ICML 2020)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from socketlab.methods.base import Transfer
from socketlab.methods.options import FirstLook
from socketlab.methods.shot_im import ShotImOptions
from socketlab.objectives import (
    PseudoLabels,
    early_learning,
    information_maximisation,
    joint_confidence,
    next_targets,
    pseudo_labels,
)
from socketlab.objectives.chunks import chunks


class ShotOptions(ShotImOptions, FirstLook):
    """Weights of the terms, and how pseudo-labels are made and used."""

    pseudo_label_weight: float = Field(0.3, ge=0, description="of the cross-entropy to them")
    centroid_rounds: int = Field(2, ge=1, le=5, description="rounds of nearest centroid")
    weighting: Literal["none", "jmds"] = Field(
        "none", description="jmds: each pseudo-label counts by its confidence (CoWA, ICML 2022)"
    )
    elr: bool = Field(False, description="early-learning regularisation (ICLR 2023)")
    elr_weight: float = Field(3.0, ge=0, description="of that, where it is on")
    elr_momentum: float = Field(0.7, ge=0, lt=1, description="of its running mean of predictions")


class Shot(Transfer):
    """L = L_im + 0.3 L_pl, pseudo-labels refreshed once an epoch over all target images.

    With `elr`, + 3 mean_i log(1 - p_i . pbar_i), pbar_i the running mean of image i's predictions.
    """

    name = "shot"
    options_model: ClassVar[type[ShotOptions]] = ShotOptions
    options: ShotOptions

    def prepare(self) -> None:
        """Running means of the predictions, zero at first."""
        super().prepare()
        if self.options.elr:
            shape = (len(self.target), len(self.student.classes))
            self.memory["early"] = torch.zeros(shape, device=self.precision.device)

    def term_weights(self) -> dict[str, float]:
        """Weights of L_im and L_pl, and of the regularisation where it is on."""
        weights = {
            "information_maximisation": self.options.information_weight,
            "pseudo_labels": self.options.pseudo_label_weight,
        }
        return weights | ({"early_learning": self.options.elr_weight} if self.options.elr else {})

    def begin_epoch(self, epoch: int) -> None:
        """Pseudo-labels of all target images, from the student in eval mode.

        Also where their weight is 0, for it may be raised within the epoch.
        """
        first = epoch == 0 and self.options.statistics_first
        model = self.with_target_statistics() if first else self.student
        outputs = self.outputs_of(model) if first else self.outputs()
        members = model.members
        each = [outputs] if len(members) == 1 else [self.outputs_of(member) for member in members]
        rounds = self.options.centroid_rounds
        found = [pseudo_labels(o.features, o.probabilities, rounds) for o in each]
        self.labels = mixed_labels(found, self.mixing_weights())
        self.confidence = None
        if self.options.weighting == "jmds":
            self.confidence = joint_confidence(outputs.features, outputs.probabilities, self.labels)

    def pseudo_labels(self) -> Tensor | None:
        """As above; None before the first epoch."""
        return getattr(self, "labels", None)

    def losses(self, step: int) -> dict[str, Tensor]:
        """L_im and L_pl of a target batch."""
        index, images = self.target_batch(step)
        return self.target_terms(index, self.student(images))

    def target_terms(self, index: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """The terms of the target images `index` [B] with logits [B, K]."""
        terms = {}
        if self.wants("information_maximisation"):
            terms["information_maximisation"] = information_maximisation(logits)
        if self.wants("pseudo_labels"):
            terms["pseudo_labels"] = self._pseudo_label_term(index, logits)
        if self.wants("early_learning"):
            bank = self.memory["early"]
            rows = index.to(bank.device)
            predictions = logits.float().softmax(1)
            targets = next_targets(bank[rows], predictions, self.options.elr_momentum)
            bank.index_copy_(0, rows, targets)
            terms["early_learning"] = early_learning(predictions, targets)
        return terms

    def _pseudo_label_term(self, index: Tensor, logits: Tensor) -> Tensor:
        rows = index.to(self.labels.device)
        if self.confidence is None:
            return cross_entropy(logits.float(), self.labels[rows])
        losses = cross_entropy(logits.float(), self.labels[rows], reduction="none")
        return (self.confidence[rows] * losses).mean()


def mixed_labels(found: Sequence[PseudoLabels], weights: Tensor) -> Tensor:
    """Labels [N] of the sources' pseudo-labels, mixed as probabilities by weights [n].

    argmax_c sum_k alpha_k softmax(similarity_k)_c; one source's labels are as they are.
    """
    if len(found) == 1:
        return found[0].labels
    classes, labels = len(found[0].centres), torch.empty_like(found[0].labels)
    for rows in chunks(len(labels), len(found) * classes, found[0].features):
        probabilities = torch.stack([each.similarity_of(rows).softmax(1) for each in found])
        labels[rows] = torch.einsum("k,kic->ic", weights, probabilities).argmax(1)
    return labels


METHOD = Shot
