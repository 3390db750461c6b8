"""nrc: agree with neighbours, most with reciprocal ones (NRC, NeurIPS 2021)."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from socketlab.methods.aad import NeighbourOptions, NeighbourTransfer
from socketlab.methods.options import Options
from socketlab.objectives import diversity, nearest, neighbourhood_reciprocity


class NrcOptions(NeighbourOptions):
    """And how neighbours count."""

    expanded_neighbours: int = Field(5, ge=1, description="neighbours of each neighbour")
    non_reciprocal: float = Field(
        0.1, ge=0, le=1, description="weight of neighbours that are not reciprocal, and of theirs"
    )


class Nrc(NeighbourTransfer):
    """L = L_N + L_E + L_self + log K - H(mean_i p_i)."""

    name = "nrc"
    options_model: ClassVar[type[Options]] = NrcOptions
    options: NrcOptions

    def most_neighbours(self) -> int:
        """The larger one of the two numbers."""
        return max(self.options.neighbours, self.options.expanded_neighbours)

    def term_weights(self) -> dict[str, float]:
        """All terms count alike."""
        return dict.fromkeys(("neighbours", "expanded", "itself", "diversity"), 1.0)

    def losses(self, step: int) -> dict[str, Tensor]:
        """The four terms of a target batch."""
        own, logits, probabilities, near = self.batch_with_bank(step)
        bank, flat, further = (
            self.memory["features"],
            near.flatten(),
            self.options.expanded_neighbours,
        )
        expanded = nearest(bank[flat], bank, further, flat).view(*near.shape, further)
        terms = neighbourhood_reciprocity(
            probabilities,
            self.memory["probabilities"],
            own,
            near,
            expanded,
            self.options.non_reciprocal,
        )
        terms["diversity"] = math.log(logits.shape[1]) - diversity(logits)
        return {name: term for name, term in terms.items() if self.wants(name)}


METHOD = Nrc
