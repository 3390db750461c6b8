"""L_D at each place: what it sees, its value, whom its gradient serves, and its accuracy."""

import math
from collections.abc import Callable
from typing import cast, get_args

import pytest
import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier
from socketlab.models.discriminator import DiscriminatorPlace
from socketlab.training.adversary import Adversary

Make = Callable[[], Classifier]
CPU = torch.device("cpu")
PLACES: tuple[DiscriminatorPlace, ...] = get_args(DiscriminatorPlace)
every_place = pytest.mark.parametrize("place", PLACES)


def frozen(make_model: Make) -> Classifier:
    return make_model().frozen()


def passed(adversary: Adversary, source: Classifier, pictures: Tensor) -> Tensor:
    """What the discriminator looks at, of a pass as a method makes it."""
    with adversary.watching() as early:
        features = source.features(pictures)
    return adversary.choose(pictures, features, early)


@every_place
def test_where_it_looks(place: DiscriminatorPlace, make_model: Make) -> None:
    source, pictures = frozen(make_model), torch.rand(5, 3, 16, 16)
    found = passed(Adversary(place, source, 16, CPU), source, pictures)
    first = next(m for m in source.encoder.modules() if isinstance(m, nn.Conv2d))
    wanted = {
        "patches": pictures,
        "features": source.features(pictures),
        "early": first((pictures - source.mean) / source.deviation),
    }
    torch.testing.assert_close(found, wanted[place])


@every_place
def test_the_network_fits_what_it_looks_at(place: DiscriminatorPlace, make_model: Make) -> None:
    source = frozen(make_model)
    adversary = Adversary(place, source, 16, CPU)
    logits = adversary.network(passed(adversary, source, torch.rand(5, 3, 16, 16)))
    assert logits.shape[:2] == (5, 2) and logits.ndim == 3
    assert all(parameter.requires_grad for parameter in adversary.network.parameters())
    assert adversary.reads_source is (place != "patches")


def test_only_patches_need_no_pass_through_the_source_model(make_model: Make) -> None:
    adversary, pictures = (
        Adversary("patches", frozen(make_model), 16, CPU),
        torch.rand(2, 3, 16, 16),
    )
    assert adversary.choose(pictures, torch.empty(0), []) is pictures


@every_place
def test_building_one_leaves_the_source_model_alone(
    place: DiscriminatorPlace, make_model: Make
) -> None:
    """Not even a pass in train mode: its running statistics and mode are as before."""
    source = make_model().train()
    before = {name: value.clone() for name, value in source.state_dict().items()}
    adversary = Adversary(place, source, 16, CPU)
    assert source.training
    assert all(torch.equal(before[k], v) for k, v in source.state_dict().items())
    with pytest.raises(KeyError), adversary.watching() as seen:
        source(torch.rand(2, 3, 16, 16))
        raise KeyError
    found = len(seen)
    assert found == 1 or place != "early"
    source(torch.rand(2, 3, 16, 16))
    assert len(seen) == found  # nothing is watched afterwards


class Given(nn.Module):
    """A discriminator that says what it is told, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def told(make_model: Make) -> Adversary:
    adversary = Adversary("patches", frozen(make_model), 16, CPU)
    adversary.network = Given()
    return adversary


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_the_term_and_both_gradients_by_hand(progress: float, make_model: Make) -> None:
    """3 samples of pairs and 2 of the target, 4 patches each."""
    adversary = told(make_model)
    pairs, target = (torch.randn(n, 2, 4, dtype=torch.float64).requires_grad_() for n in (3, 2))
    found = adversary.term(pairs, target, progress)
    losses = []
    for samples, domain in ((pairs, 0), (target, 1)):
        values = [
            -math.log(math.exp(x[domain]) / (math.exp(x[0]) + math.exp(x[1])))
            for sample in samples.tolist()
            for x in zip(*sample, strict=True)
        ]
        losses.append(sum(values) / len(values))
    assert float(found.detach()) == pytest.approx(sum(losses) / 2, rel=1e-6)

    # d/dx_d of a softmax's cross-entropy is p - onehot, over the samples and patches of a domain
    found.backward()  # type: ignore[no-untyped-call]
    ramp, slope = 2 / (1 + math.exp(-10 * progress)) - 1, 0.0
    for samples, domain in ((pairs, 0), (target, 1)):
        wanted = samples.detach().softmax(1)
        wanted[:, domain] -= 1
        wanted /= 2 * len(samples) * 4
        slope += float((wanted * samples.detach()).sum())
        torch.testing.assert_close(samples.grad, -ramp * wanted)
    weight = cast(Given, adversary.network).weight
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(slope, rel=1e-5)


def domains(right_of_pairs: int, right_of_target: int) -> tuple[Tensor, Tensor]:
    """Logits of 4 and 4 samples, of which so many are told right."""
    sign = [1.0 if n < right_of_pairs else -1.0 for n in range(4)]
    other = [-1.0 if n < right_of_target else 1.0 for n in range(4)]
    logits = [torch.tensor([[x, 0.0] for x in signs]).unsqueeze(2) for signs in (sign, other)]
    return logits[0], logits[1]


def test_accuracy_is_the_mean_over_steps_since_the_tally_was_zero(make_model: Make) -> None:
    adversary = told(make_model)
    assert adversary.accuracy() is None
    adversary.term(*domains(4, 2), 0.5)
    assert adversary.accuracy() == 0.75
    adversary.term(*domains(1, 0), 0.5)
    assert adversary.accuracy() == pytest.approx((0.75 + 0.125) / 2)
    adversary.tally.zero_()
    assert adversary.accuracy() is None
    adversary.term(*domains(4, 4), 0.5)
    assert adversary.accuracy() == 1


@every_place
def test_what_has_to_be_kept(place: DiscriminatorPlace, make_model: Make) -> None:
    """The tensors themselves, so that one can go on from what was written into them."""
    source = frozen(make_model)
    first, second = (Adversary(place, source, 16, CPU) for _ in range(2))
    first.tally += torch.tensor([3.0, 4.0])
    assert set(first.memory) == set(second.memory)
    names = {f"adversary.{name}" for name, _ in first.network.named_parameters()}
    assert set(first.memory) == {"adversary.tally", *names}
    with torch.no_grad():
        for name, value in second.memory.items():
            value.copy_(first.memory[name])
    assert second.accuracy() == 0.75
    seen = passed(first, source, torch.rand(3, 3, 16, 16))
    assert torch.equal(first.network(seen), second.network(seen))


class Flat(nn.Module):
    """An encoder without a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 256)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images.flatten(1))
        return features


def without_convolution(make_model: Make) -> Classifier:
    source = make_model()
    source.encoder = Flat()
    return source.frozen()


def test_an_encoder_without_a_convolution_cannot_be_watched(make_model: Make) -> None:
    with pytest.raises(ValueError, match=r"no convolution .* Set adversary: features"):
        Adversary("early", without_convolution(make_model), 16, CPU)


@pytest.mark.parametrize("place", ["features", "patches"])
def test_the_other_places_need_no_convolution(place: DiscriminatorPlace, make_model: Make) -> None:
    source = without_convolution(make_model)
    adversary = Adversary(place, source, 16, CPU)
    assert adversary.network(passed(adversary, source, torch.rand(3, 3, 16, 16))).shape[0] == 3
