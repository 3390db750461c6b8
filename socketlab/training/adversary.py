"""A discriminator that tells pictures of TI pairs from those of TR images; T is to deceive it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier
from socketlab.models.discriminator import DiscriminatorPlace, build_discriminator, reverse_gradient
from socketlab.models.modes import evaluating, uncompiled
from socketlab.objectives import domain_accuracy, domain_classification, reversal_strength


class Adversary:
    """L_D at one place: the source model's features, its first convolution, or the pictures.

    Gradient reversal with a ramp (Ganin and Lempitsky, ICML 2015): one descent trains the
    discriminator to tell the domains, and what is before it to make them alike.

    Args:
        place: where it looks.
        source: the frozen source model.
        crop: side of the pictures.
        device: where all of it is.
    """

    def __init__(
        self, place: DiscriminatorPlace, source: Classifier, crop: int, device: torch.device
    ) -> None:
        self.place = place
        self._encoder = source.encoder
        with evaluating(source), self.watching() as early:
            features = source.features(torch.zeros(2, 3, crop, crop, device=device))
        seen = self.choose(torch.zeros(2, 3, crop, crop), features, early)
        self.network = build_discriminator(place, seen.shape[1]).to(device)
        self.tally = torch.zeros(2, device=device)  # sum of accuracies, number of steps

    @property
    def memory(self) -> dict[str, Tensor]:
        """What has to be kept with the state of a training."""
        learnt = {f"adversary.{name}": value for name, value in self.network.named_parameters()}
        return {"adversary.tally": self.tally} | learnt

    @property
    def reads_source(self) -> bool:
        """Whether the source model has to see the pictures before it."""
        return self.place != "patches"

    @contextmanager
    def watching(self) -> Iterator[list[Tensor]]:
        """Holds, after a pass, what the encoder's first convolution gave, if that is looked at."""
        seen: list[Tensor] = []
        if self.place != "early":
            yield seen
            return
        first = next((m for m in self._encoder.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None:
            raise ValueError(
                "The encoder has no convolution that L_D could look at. Set adversary: features."
            )
        handle = first.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
        try:
            with uncompiled(self._encoder):
                yield seen
        finally:
            handle.remove()

    def choose(self, pictures: Tensor, features: Tensor, early: list[Tensor]) -> Tensor:
        """What the discriminator looks at, of a pass of pictures through the source model."""
        if self.place == "patches":
            return pictures
        return features if self.place == "features" else early[-1]

    def term(self, pairs: Tensor, target: Tensor, progress: float) -> Tensor:
        """L_D of what it sees of pictures of TI pairs and of TR images.

        Args:
            pairs, target: [B, ...] each.
            progress: q in [0, 1]; reversal grows as 2 / (1 + exp(-10 q)) - 1.
        """
        both = reverse_gradient(torch.cat([pairs, target]), reversal_strength(progress))
        logits = self.network(both)
        is_target = torch.arange(len(logits)) >= len(pairs)  # on the CPU, where it is checked
        self.tally[0] += domain_accuracy(logits, is_target)
        self.tally[1] += 1
        return domain_classification(logits, is_target)

    def accuracy(self) -> float | None:
        """Mean accuracy since the tally was last set to zero; .5 is chance."""
        total, steps = self.tally.tolist()
        return total / steps if steps else None
