"""Features of paired images: the RGB half through the source model, the other through another."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs
from socketlab.models.mixture import AnyClassifier
from socketlab.training.inference import Outputs, predict
from socketlab.training.precision import Precision


@dataclass(frozen=True)
class PairFeatures:
    """Features [N, D] of the two halves of N pairs, rows are partners."""

    rgb: Tensor
    other: Tensor

    @property
    def distances(self) -> Tensor:
        """||x_i - y_i|| of the L2-normalised halves, float64 [N], from 0 to 2."""
        x, y = (normalize(half.double(), dim=1) for half in (self.rgb, self.other))
        found: Tensor = (x - y).norm(dim=1)
        return found


@dataclass(frozen=True)
class PairOutputs:
    """What two models say of the two halves of N pairs, on the CPU."""

    rgb: Outputs
    other: Outputs

    @property
    def features(self) -> PairFeatures:
        """The bottleneck features [N, 256] alone."""
        return PairFeatures(self.rgb.features, self.other.features)


def pair_outputs(
    source_model: AnyClassifier,
    model: AnyClassifier,
    pairs: ImagePairs,
    crop: int,
    precision: Precision,
    encoding: Encoding = "replicate",
) -> PairOutputs:
    """Features and logits of every pair (r, m), F_s(r) and F(m), centre crop, float32.

    Args:
        source_model: F_s, for the RGB half.
        model: F, for the other half: the source model itself (before) or a target model (after).
        pairs: RGB and the other modality, the same scenes.
    """
    device = precision.device
    rgb = predict(source_model.to(device), pairs.source.to(device), crop, precision)
    other = predict(model.to(device), pairs.target.to(device), crop, precision, encoding=encoding)
    return PairOutputs(rgb.to("cpu"), other.to("cpu"))
