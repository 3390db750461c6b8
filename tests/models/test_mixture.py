from pathlib import Path

import pytest
import torch

from socketlab.models.checkpoint import describe_classifier, load_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture, joined

CLASSES = ("bed", "desk", "sofa")


def classifier(bottleneck: int, seed: int, classes: tuple[str, ...] = CLASSES) -> Classifier:
    torch.manual_seed(seed)
    mean = (0.1 * bottleneck, 0.2, 0.3)
    return Classifier("resnet_small", classes, bottleneck=bottleneck, mean=mean).eval()


@pytest.fixture
def mixture() -> Mixture:
    """Two members of unlike width and constants, and weights that are not even."""
    found = Mixture([classifier(8, 0), classifier(4, 1)]).eval()
    with torch.no_grad():
        found.mixing_logits.copy_(torch.tensor([1.0, -0.5]))
    return found


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 14, 14, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_logits_are_mixed_by_the_softmax_of_the_mixing_logits(
    mixture: Mixture, images: torch.Tensor
) -> None:
    first, second = (member(images).double() for member in mixture.members)
    share = 1 / (1 + torch.tensor(-1.5).double().exp())
    wanted = share * first + (1 - share) * second
    torch.testing.assert_close(mixture(images).double(), wanted, rtol=1e-5, atol=1e-6)
    assert float(mixture.mixing_weights()[0]) == pytest.approx(float(share))


@torch.no_grad()
def test_cosines_of_features_are_the_weighted_mean_of_the_members(
    mixture: Mixture, images: torch.Tensor
) -> None:
    features, logits = mixture.outputs(images)
    assert features.shape == (5, 12) and torch.equal(logits, mixture(images))
    wanted = torch.zeros(5, 5, dtype=torch.float64)
    for weight, member in zip(mixture.mixing_weights(), mixture.members, strict=True):
        unit = torch.nn.functional.normalize(member.features(images).double(), dim=1)
        wanted += float(weight) * unit @ unit.T
    found = torch.nn.functional.normalize(features.double(), dim=1)
    torch.testing.assert_close(found @ found.T, wanted, rtol=1e-5, atol=1e-5)


def test_a_student_learns_all_but_the_heads_and_a_teacher_nothing(mixture: Mixture) -> None:
    student, teacher = mixture.student(), mixture.frozen()
    assert student.mixing_logits.requires_grad
    for member in student.members:
        assert not any(p.requires_grad for p in member.head.parameters())
        assert all(p.requires_grad for p in member.encoder.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    with torch.no_grad():
        student.mixing_logits.add_(1)
    assert not torch.equal(student.mixing_logits, mixture.mixing_logits)


def test_a_mixture_is_kept_whole(mixture: Mixture, images: torch.Tensor, tmp_path: Path) -> None:
    about = {"domain": "a/depth", "crop": 14, "size": 16, "method": "socket"}
    card = describe_classifier(mixture, **about, configuration={}, scores={})
    save_classifier(mixture, tmp_path / "mixture.safetensors", card)
    again, found = load_classifier(tmp_path / "mixture.safetensors")
    assert isinstance(again, Mixture)
    assert [member.bottleneck for member in found.members] == [8, 4]
    assert found.mixing == pytest.approx(mixture.mixing_weights().tolist())
    with torch.no_grad():
        assert torch.equal(again(images), mixture(images))


def test_what_cannot_be_mixed() -> None:
    alone = classifier(8, 0)
    assert joined([alone]) is alone
    with pytest.raises(ValueError, match="at least two classifiers, found 1"):
        Mixture([alone])
    with pytest.raises(ValueError, match="different classes"):
        joined([alone, classifier(8, 1, ("bed", "sofa", "desk"))])
