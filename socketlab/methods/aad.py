"""aad: neighbours attract, the batch disperses (AaD, NeurIPS 2022)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from socketlab.methods.base import Transfer
from socketlab.methods.options import FirstLook, Options
from socketlab.objectives import attracting_dispersing, dispersion_weight, nearest


class NeighbourOptions(FirstLook):
    """How many neighbours an image has."""

    neighbours: int = Field(5, ge=1, description="nearest target images by cosine of features")
    statistics_first: bool = Field(
        True, description="fill the bank with the target's BatchNorm statistics, not the source's"
    )


class NeighbourTransfer(Transfer):
    """A method with a bank: unit features and probabilities of all target images.

    The bank starts with what the source model says of them, and in each step the batch's rows are
    replaced before neighbours are looked for, as in the released programs of AaD and NRC. Those
    programs fill it with the source's BatchNorm statistics; a batch has its own, and across
    modalities the two differ so much that a batch's nearest rows would be those that were replaced
    before it, whatever they show. So `statistics_first` is the default here (docs/log.md).
    """

    options: NeighbourOptions

    def most_neighbours(self) -> int:
        """Of how many images neighbours are taken at once."""
        return self.options.neighbours

    def least_images(self) -> int:
        """One more than the neighbours of each."""
        return self.most_neighbours() + 1

    def prepare(self) -> None:
        """Fill the bank.

        Raises:
            ValueError: if there are too few target images for so many neighbours.
        """
        super().prepare()
        found, wanted = len(self.target), self.most_neighbours()
        if found < self.least_images():
            raise ValueError(
                f"{self.name!r} with {wanted} neighbours of each image needs at least "
                f"{wanted + 1} target images, found {found}. "
                f"Choose at most {found - 1} neighbours, or a domain with more target images."
            )
        first = self.options.statistics_first
        outputs = self.outputs_of(self.with_target_statistics()) if first else self.outputs()
        self.memory["features"] = normalize(outputs.features, dim=1)
        self.memory["probabilities"] = outputs.probabilities

    def batch_with_bank(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A target batch, entered into the bank, and its neighbours.

        Returns:
            Its own rows of the bank [B], logits [B, K], probabilities [B, K] with gradient, and the
            rows of its neighbours [B, k].
        """
        index, images = self.target_batch(step)
        features, logits = self.student.outputs(images)
        own = index.to(features.device)
        unit = normalize(features.detach().float(), dim=1)
        probabilities = logits.float().softmax(1)
        self.memory["features"].index_copy_(0, own, unit)
        self.memory["probabilities"].index_copy_(0, own, probabilities.detach())
        near = nearest(unit, self.memory["features"], self.options.neighbours, own)
        return own, logits, probabilities, near


class AadOptions(NeighbourOptions):
    """And how fast dispersion fades."""

    beta: float = Field(5.0, ge=0, description="dispersion has weight (1 + 10 q)^-beta")


class Aad(NeighbourTransfer):
    """L = mean_i (-sum_k p_i . s_ik + (1 + 10 q)^-beta sum_{m != i} p_i . p_m)."""

    name = "aad"
    options_model: ClassVar[type[Options]] = AadOptions
    options: AadOptions

    def term_weights(self) -> dict[str, float]:
        """Weight of the one term."""
        return {"attracting_dispersing": 1.0}

    def losses(self, step: int) -> dict[str, Tensor]:
        """The term of a target batch."""
        _, _, probabilities, near = self.batch_with_bank(step)
        if not self.wants("attracting_dispersing"):
            return {}
        dispersion = dispersion_weight(self.progress(step), self.options.beta)
        scores = self.memory["probabilities"][near]
        return {"attracting_dispersing": attracting_dispersing(probabilities, scores, dispersion)}


METHOD = Aad
