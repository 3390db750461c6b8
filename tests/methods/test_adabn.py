from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from socketlab.data.views import Views
from socketlab.methods import UnknownOption, check_options
from socketlab.models.classifier import Classifier

Begin = Callable[..., Any]


def adapted(begin: Begin, views: Views, **about: Any) -> Any:
    return begin("adabn", views, epochs=1, **about).finish()


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means and variances, by name."""
    return {k: v for k, v in model.state_dict().items() if k.endswith(("_mean", "_var"))}


def test_the_statistics_are_those_of_the_target_images(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    """The first BatchNorm's, value after value in float64."""
    model = adapted(begin, views, batch_size=13).method.model
    raw = views.target.images.raw[:, 1:15, 1:15].to(torch.int32).double()
    images = ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]
    images = (images - source_model.mean.double()) / source_model.deviation.double()
    filters = source_model.encoder.get_parameter("stages.0.weight").detach().double()
    inputs = conv2d(images, filters, stride=2, padding=1)
    layer = model.encoder.stages[1]
    for channel in (0, 7, 31):
        values = inputs[:, channel].flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert float(layer.running_mean[channel]) == pytest.approx(mean, rel=1e-4, abs=1e-5)
        assert float(layer.running_var[channel]) == pytest.approx(variance, rel=1e-4)


def test_alpha_mixes_the_source_s_statistics_in(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    source = statistics(source_model)
    target, mixed, none = (
        statistics(adapted(begin, views, alpha=alpha).method.model) for alpha in (1.0, 0.3, 0.0)
    )
    assert len(source) == 26  # of twelve layers of the encoder and one of the bottleneck
    for name, value in source.items():
        assert not torch.allclose(target[name], value), name
        torch.testing.assert_close(mixed[name], 0.3 * target[name] + 0.7 * value)
        assert torch.equal(none[name], value), name


def test_nothing_is_trained(views: Views, begin: Begin, source_model: Classifier) -> None:
    training = adapted(begin, views)
    assert [(step.kind, step.epoch, step.step) for step in training.taken] == [
        ("start", 0, 0),
        ("epoch", 1, 0),
    ]
    before = dict(source_model.named_parameters())
    for name, parameter in training.method.model.named_parameters():
        assert torch.equal(parameter, before[name]) and not parameter.requires_grad, name
    confidence = [step.evaluation.confidence for step in training.taken]
    assert not torch.allclose(*confidence)


def test_without_batch_norm_in_the_encoder_the_bottleneck_adapts(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    source_model.encoder = nn.Sequential(
        nn.Conv2d(3, 256, 3), nn.GroupNorm(1, 256), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    before = {name: value.clone() for name, value in source_model.state_dict().items()}
    after = adapted(begin, views, model=source_model).weights
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"bottleneck.1.{n}" for n in ("running_mean", "running_var")} | {
        "bottleneck.1.num_batches_tracked"
    }


def test_several_sources_adapt_each_for_itself(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    torch.manual_seed(8)
    other = Classifier("resnet_small", source_model.classes, bottleneck=8)
    both = adapted(begin, views, model=[source_model, other]).method.model
    for member, source in zip(both.members, (source_model, other), strict=True):
        alone = statistics(adapted(begin, views, model=source).method.model)
        assert all(torch.equal(v, alone[k]) for k, v in statistics(member).items())


def test_what_it_cannot_be_told() -> None:
    with pytest.raises(UnknownOption, match="epochs = 5"):
        check_options("adabn", {"epochs": 5})
    with pytest.raises(UnknownOption, match=r"alpha = 1\.5"):
        check_options("adabn", {"alpha": 1.5})
