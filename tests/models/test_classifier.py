from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from socketlab.models.classifier import Classifier, normalisation_constants
from socketlab.models.translator import Translator, build_translator

Build = Callable[..., Classifier]


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_shapes(build: Build) -> None:
    model, images = build(), torch.rand(4, 3, 14, 14)
    assert model.features(images).shape == (4, 8)
    assert model(images).shape == (4, 3)
    assert torch.equal(model(images), model.head(model.features(images)))


def test_one_channel_is_three_equal_channels(build: Build) -> None:
    model, grey = build(), torch.rand(4, 1, 14, 14)
    assert torch.equal(model(grey), model(grey.repeat(1, 3, 1, 1)))


def painter() -> Translator:
    """A translator whose running statistics are not those of a new one."""
    translator = build_translator("pointwise").train()
    translator(torch.rand(6, 1, 14, 14))
    return translator.eval()


@pytest.mark.parametrize("where", ["given", "built"])
def test_one_channel_goes_through_the_translator_and_rgb_past_it(where: str, build: Build) -> None:
    model = build(translator="pointwise" if where == "built" else "replicate")
    if where == "given":
        model.translate_with(painter())
    assert model.translator.name == "pointwise"
    grey, rgb = torch.rand(4, 1, 14, 14), torch.rand(4, 3, 14, 14)
    pictures = model.translator(grey)
    assert pictures.shape == (4, 3, 14, 14)
    assert torch.equal(model(grey), model(pictures))
    assert not torch.allclose(model(grey), model(grey.repeat(1, 3, 1, 1)))
    before = model(rgb)
    model.translator.register_forward_hook(lambda *_: pytest.fail("RGB was translated"))
    assert torch.equal(model(rgb), before)


def test_a_translator_that_was_given_is_shared(build: Build) -> None:
    """What trains it elsewhere is seen here."""
    model, translator = build(), painter()
    model.translate_with(translator)
    grey = torch.rand(4, 1, 14, 14)
    before = model(grey)
    with torch.no_grad():
        for parameter in translator.parameters():
            parameter.mul_(-1)
    assert not torch.allclose(model(grey), before)


def modes(model: Classifier) -> tuple[set[bool], set[bool]]:
    """Those of the translator's parts, and of all others."""
    theirs = set(model.translator.modules())
    others = {part.training for part in model.modules() if part not in theirs}
    return {part.training for part in theirs}, others


def test_a_frozen_translator_stays_in_eval_mode(build: Build) -> None:
    model = build()
    model.translate_with(painter().requires_grad_(False))
    assert model.train() is model
    assert modes(model) == ({False}, {True})
    before = copied(model.translator)
    model(torch.rand(4, 1, 14, 14))
    assert same(copied(model.translator), before)
    model.eval()
    assert modes(model) == ({False}, {False})


def test_a_translator_that_is_trained_follows_the_mode(build: Build) -> None:
    model = build()
    model.translate_with(painter())
    model.train()
    assert modes(model) == ({True}, {True})
    before = copied(model.translator)
    model(torch.rand(4, 1, 14, 14))
    assert not same(copied(model.translator), before)
    model.eval()
    assert modes(model) == ({False}, {False})


def test_copies_have_a_translator_of_their_own_which_is_frozen(build: Build) -> None:
    model = build()
    model.translate_with(painter())
    for made in (model.student(), model.frozen()):
        assert made.translator is not model.translator
        assert same(copied(made.translator), copied(model.translator))
        assert not any(p.requires_grad for p in made.translator.parameters())
    assert model.student().encoder.training is False
    assert modes(model.student().train()) == ({False}, {True})
    assert all(p.requires_grad for p in model.translator.parameters())


def test_normalisation_happens_inside(build: Build) -> None:
    """A network with other constants sees the image that these constants make of it."""
    plain = build(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
    mean, deviation = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    normalising = Classifier("resnet_small", plain.classes, bottleneck=8).eval()
    constants = {"mean": torch.tensor(mean), "deviation": torch.tensor(deviation)}
    state = plain.state_dict() | {k: v.view(1, 3, 1, 1) for k, v in constants.items()}
    normalising.load_state_dict(state)
    images = torch.rand(4, 3, 14, 14)
    channels = [(images[:, c] - mean[c]) / deviation[c] for c in range(3)]
    torch.testing.assert_close(normalising(images), plain(torch.stack(channels, dim=1)))
    assert not torch.allclose(normalising(images), plain(images))


def test_the_head_is_weight_normalised(build: Build) -> None:
    model = build()
    magnitude, direction = (
        model.head.get_parameter(f"parametrizations.weight.original{part}") for part in (0, 1)
    )
    assert magnitude.shape == (3, 1)
    with torch.no_grad():
        direction *= 7  # a direction has no length
        magnitude.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        weight = model.head.weight
        assert isinstance(weight, Tensor)
        torch.testing.assert_close(weight.norm(dim=1), torch.tensor([1.0, 2.0, 3.0]))
        features = torch.rand(5, 8)
        unit = direction / direction.square().sum(1, keepdim=True).sqrt()
        expected = features @ (unit * magnitude).T + model.head.get_parameter("bias")
        torch.testing.assert_close(model.head(features), expected)


def test_frozen_is_an_untrainable_copy_in_eval_mode(build: Build) -> None:
    model = build().train()
    before = copied(model)
    frozen = model.frozen()
    assert not frozen.training and model.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert same(copied(frozen), before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model(torch.rand(4, 3, 14, 14))
    assert same(copied(frozen), before)


def test_student_is_a_copy_of_which_all_but_the_head_can_be_trained(build: Build) -> None:
    model = build().frozen()
    before = copied(model)
    student = model.student()
    trainable = {name for name, p in student.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in student.named_parameters() if not n.startswith("head.")}
    assert trainable
    assert not any(parameter.requires_grad for parameter in model.parameters())
    student.train()(torch.rand(4, 3, 14, 14)).sum().backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert same(copied(model), before)


def test_too_few_classes() -> None:
    with pytest.raises(ValueError, match=r"at least two classes, found \['bed'\]"):
        Classifier("resnet_small", ["bed"])


def test_fixed_normalisation_constants() -> None:
    imagenet, released = (normalisation_constants(name) for name in ("imagenet", "socket_code"))
    assert imagenet == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert released == ((0.6983, 0.3918, 0.4474), (0.1648, 0.1359, 0.1644))


def test_normalisation_measured_on_the_source() -> None:
    scale = torch.tensor([0.2, 0.5, 1.0]).view(1, 3, 1, 1)
    pixels = torch.rand(6, 3, 4, 4) * scale
    mean, deviation = normalisation_constants("source_statistics", pixels)
    for channel in range(3):
        values = pixels[:, channel].double().numpy()
        assert mean[channel] == pytest.approx(values.mean(), rel=1e-5)
        assert deviation[channel] == pytest.approx(values.std(ddof=1), rel=1e-5)
    assert normalisation_constants("source_statistics", torch.zeros(2, 3, 4, 4))[1][0] > 0


def test_normalisation_that_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="source_statistics needs the source images"):
        normalisation_constants("source_statistics")
    with pytest.raises(ValueError, match=r"'image'. Known: imagenet, socket_code, source_stat"):
        normalisation_constants("image")  # type: ignore[arg-type]
