"""What the loop says after every step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from socketlab.training.controls import Change, Controls
from socketlab.training.inference import Score

__all__ = ["Change", "Controls", "Look", "Step"]

WINS, LOSES = 0.99, 0.51  # accuracies of a discriminator over an epoch; .5 is chance


@dataclass(frozen=True)
class Look:
    """What can be said of a model without a label.

    Attributes:
        scores: label-free scores by name.
        predicted: how many target images the model puts into each class.
        mixing: the weight of each source model, where there are several.
        measures: what else a method says of itself, e.g. PSNR of a translator's pictures; no model
            is chosen by it.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    predicted: tuple[int, ...] = ()
    mixing: tuple[float, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def predicted_entropy(self) -> float:
        """Entropy of the shares of `predicted`, in nats: 0 for one class, log K for all alike."""
        shares = [count / sum(self.predicted) for count in self.predicted if count > 0]
        return -sum(share * math.log(share) for share in shares)

    @property
    def note(self) -> str:
        """A warning where the answers fall on under half of the classes, else nothing.

        A class counts from a tenth of an even share on.
        """
        classes = len(self.predicted)
        even = sum(self.predicted) / classes if classes else 0.0
        used = sum(count > 0 and count >= even / 10 for count in self.predicted)
        return f"answers fall on {used} of {classes} classes" if used < classes / 2 else ""

    @property
    def advice(self) -> str:
        """What to do where a translator's adversary wins or loses outright, else nothing."""
        accuracy = self.measures.get("discriminator_accuracy")
        if accuracy is None or LOSES <= accuracy <= WINS:
            return ""
        if accuracy > WINS:
            return (
                f"the discriminator wins outright ({accuracy:.1%} right): the pictures cannot be "
                "made alike there; let it look elsewhere (adversary) or lower adversarial_weight"
            )
        return (
            f"the discriminator loses outright ({accuracy:.1%} right): the pictures are alike "
            "there already; let it look elsewhere (adversary) or lower adversarial_weight"
        )


@dataclass(frozen=True)
class Step:
    """What the loop says after every step, and with more at the end of every epoch.

    Attributes:
        kind: `start` (nothing trained yet), `step`, `epoch`, `paused`, `saved` (somebody asked that
            the model be kept as it is now) or `stopped`.
        epoch, epochs: epochs finished, and to do in all.
        step, steps: steps taken since the beginning, and to do in all.
        learning_rates: by parameter group.
        terms: each loss term by name, unweighted, 0-d on the device; at `epoch` the epoch's means.
        look: what can be said of the model without labels, at the start and after every epoch.
        evaluation: how the model scores, where there is something to score on.
        seconds: wall time of the training so far, without what came before a resume.
        changes: what took effect with this step.
    """

    kind: Literal["start", "step", "epoch", "paused", "saved", "stopped"]
    epoch: int
    epochs: int
    step: int
    steps: int
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    look: Look = Look()
    evaluation: Score | None = None
    seconds: float = 0.0
    changes: tuple[Change, ...] = ()
