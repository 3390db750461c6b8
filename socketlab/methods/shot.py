"""shot: information maximisation and centroid pseudo-labels (SHOT, ICML 2020)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from socketlab.methods.base import Transfer
from socketlab.methods.shot_im import ShotImOptions
from socketlab.objectives import information_maximisation, pseudo_labels


class ShotOptions(ShotImOptions):
    """Weights of the two terms, and how pseudo-labels are made."""

    pseudo_label_weight: float = Field(0.3, ge=0, description="of the cross-entropy to them")
    centroid_rounds: int = Field(2, ge=1, le=5, description="rounds of nearest centroid")


class Shot(Transfer):
    """L = L_im + 0.3 L_pl, pseudo-labels refreshed once an epoch over all target images."""

    name = "shot"
    options_model: ClassVar[type[ShotOptions]] = ShotOptions
    options: ShotOptions

    def term_weights(self) -> dict[str, float]:
        """Weights of L_im and L_pl."""
        return {
            "information_maximisation": self.options.information_weight,
            "pseudo_labels": self.options.pseudo_label_weight,
        }

    def begin_epoch(self, epoch: int) -> None:
        """Pseudo-labels of all target images, from the student in eval mode.

        Also where their weight is 0, for it may be raised within the epoch.
        """
        outputs = self.outputs()
        found = pseudo_labels(outputs.features, outputs.probabilities, self.options.centroid_rounds)
        self.labels = found.labels

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
            labels = self.labels[index.to(self.labels.device)]
            terms["pseudo_labels"] = cross_entropy(logits.float(), labels)
        return terms


METHOD = Shot
