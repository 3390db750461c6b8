from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from socketlab.models.classifier import Classifier
from socketlab.training.optimiser import SgdOptions, build_sgd

MakeModel = Callable[[], Classifier]


def names(model: Classifier, group: dict[str, object]) -> set[str]:
    parameters = group["params"]
    assert isinstance(parameters, list)
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_the_groups_of_the_source_model(make_model: MakeModel) -> None:
    model = make_model()
    options = SgdOptions(learning_rate=0.02, backbone_factor=0.25)
    backbone, bottleneck = build_sgd(model, options).param_groups
    everything = {name for name, _ in model.named_parameters()}
    encoder = {name for name in everything if name.startswith("encoder.")}
    assert (backbone["name"], bottleneck["name"]) == ("backbone", "bottleneck")
    assert names(model, backbone) == encoder
    assert names(model, bottleneck) == everything - encoder
    assert backbone["base"] == backbone["lr"] == pytest.approx(0.005)
    assert bottleneck["base"] == bottleneck["lr"] == 0.02


def test_the_groups_of_a_student_leave_out_the_head(make_model: MakeModel) -> None:
    student = make_model().student()
    backbone, bottleneck = build_sgd(student, SgdOptions()).param_groups
    assert names(student, bottleneck) == {
        name for name, _ in student.named_parameters() if name.startswith("bottleneck.")
    }
    assert names(student, backbone)


def test_the_options_reach_the_optimiser(make_model: MakeModel) -> None:
    options = SgdOptions(momentum=0.8, weight_decay=0.01)
    for group in build_sgd(make_model(), options).param_groups:
        assert (group["momentum"], group["weight_decay"]) == (0.8, 0.01)
        assert group["nesterov"] is True
    assert not build_sgd(make_model(), SgdOptions(momentum=0)).defaults["nesterov"]


def test_the_defaults_are_those_of_the_released_program() -> None:
    assert SgdOptions().model_dump() == {
        "batch_size": 32,
        "learning_rate": 1e-2,
        "backbone_factor": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-3,
    }


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 1}, {"learning_rate": 0}, {"momentum": 1.0}, {"weight_decay": -1}, {"lr": 1}],
)
def test_options_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SgdOptions.model_validate(wrong)


def test_a_step_is_nesterov_s(make_model: MakeModel) -> None:
    """Two steps with a constant gradient g: v = g, then 1.9 g; w -= lr (g + 0.9 v)."""
    model = make_model()
    optimiser = build_sgd(model, SgdOptions(learning_rate=0.1, weight_decay=0))
    bias = model.get_parameter("bottleneck.0.bias")
    start = bias.detach().clone()
    gradient = torch.arange(8, dtype=torch.float32)
    for _ in range(2):
        bias.grad = gradient.clone()
        optimiser.step()
    expected = start - 0.1 * (gradient * 1.9 + gradient * (1 + 0.9 * 1.9))
    torch.testing.assert_close(bias.detach(), expected)
