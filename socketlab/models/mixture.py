"""Several classifiers as one: each from a source of its own, mixed by learnt weights."""

import copy
from collections.abc import Sequence
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from socketlab.models.classifier import Classifier


class Mixture(nn.Module):
    """softmax sum_k alpha_k C_k(F_k(x)), alpha = softmax(a), after DECISION (CVPR 2021).

    Backbones and feature widths may differ from member to member, classes may not. The mixing
    logits `a` start at zero, so that all members count alike.

    Args:
        members: at least two classifiers with the same classes in the same order.

    Raises:
        ValueError: for fewer members, or members with other classes.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"A mixture needs at least two classifiers, found {len(members)}.")
        for member in members[1:]:
            if member.classes != members[0].classes:
                raise ValueError(
                    f"The source models have different classes: {members[0].classes} and "
                    f"{member.classes}. Train them on the same task-relevant classes."
                )
        self.classes = members[0].classes
        self.mixed = nn.ModuleList(members)
        self.mixing_logits = nn.Parameter(torch.zeros(len(members)))

    @property
    def members(self) -> list[Classifier]:
        """The classifiers, in the order of the sources."""
        return [member for member in self.mixed if isinstance(member, Classifier)]

    def mixing_weights(self) -> Tensor:
        """alpha = softmax(a) [n], with gradient."""
        return self.mixing_logits.softmax(0)

    def mix(self, logits: Sequence[Tensor]) -> Tensor:
        """sum_k alpha_k logits_k [B, K] of the members' logits, each [B, K]."""
        return torch.einsum("k,kbc->bc", self.mixing_weights(), torch.stack([*logits]).float())

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, sum of widths] and mixed logits [B, K] of images [B, 1 or 3, H, W].

        A member's features are scaled to unit length and to the root of its weight, and then set
        beside each other: the cosine of two images is the weighted mean of the members' cosines.
        """
        found = [member.outputs(images) for member in self.members]
        roots = self.mixing_weights().sqrt()
        features = [
            root * normalize(f.float(), dim=1) for root, (f, _) in zip(roots, found, strict=True)
        ]
        return torch.cat(features, dim=1), self.mix([logits for _, logits in found])

    def features(self, images: Tensor) -> Tensor:
        """The first of `outputs`."""
        return self.outputs(images)[0]

    def forward(self, images: Tensor) -> Tensor:
        """The second of `outputs`: mixed logits [B, K]."""
        return self.outputs(images)[1]

    def frozen(self) -> Self:
        """A copy in eval mode of which nothing can be trained."""
        return copy.deepcopy(self).requires_grad_(False).eval()

    def student(self) -> Self:
        """A copy to be adapted: encoders, bottlenecks and the mixing can be trained."""
        network = copy.deepcopy(self).requires_grad_(True)
        for member in network.members:
            member.adaptable()
        return network


AnyClassifier: TypeAlias = Classifier | Mixture


def joined(models: Sequence[Classifier]) -> AnyClassifier:
    """One classifier as it is, several as a mixture."""
    return models[0] if len(models) == 1 else Mixture(models)
