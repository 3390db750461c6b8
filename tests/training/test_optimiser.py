import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from socketlab.models.classifier import Classifier
from socketlab.training.optimiser import SgdOptions, build_sgd, fused

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


def test_a_state_of_the_unfused_optimiser_goes_on_unfused(make_model: MakeModel) -> None:
    """To the same weights, bit by bit: a training that was begun so ends so."""

    def stepped(optimiser: torch.optim.SGD, model: Classifier) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        optimiser.step()

    plain = make_model()
    before = build_sgd(plain, SgdOptions())
    for group in before.param_groups:
        group["fused"] = None
    stepped(before, plain)
    resumed = copy.deepcopy(plain)
    after = build_sgd(resumed, SgdOptions())
    assert all(group["fused"] for group in after.param_groups)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    for optimiser, model in ((before, plain), (after, resumed)):
        stepped(optimiser, model)
    for found, wanted in zip(resumed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_fused_steps_are_those_of_the_definition(make_model: MakeModel) -> None:
    model = make_model()
    optimiser = build_sgd(model, SgdOptions(momentum=0.5, weight_decay=0.0))
    start = copy.deepcopy(model)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    # v1 = 1, v2 = 1.5; Nesterov steps by 1 + 0.5 v: 1.5, then 1.75.
    for (name, found), begun in zip(model.named_parameters(), start.parameters(), strict=True):
        rate = 1e-3 if name.startswith("encoder.") else 1e-2
        torch.testing.assert_close(found, begun - rate * (1.5 + 1.75))


def test_it_is_fused_where_torch_can() -> None:
    def groups(device: str) -> list[dict[str, Any]]:
        return [{"params": [torch.zeros(2, device=device)]}, {"params": []}]

    assert fused(groups("cpu")) is True
    assert fused(groups("meta")) is None
