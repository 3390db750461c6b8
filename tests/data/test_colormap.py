from __future__ import annotations

import pytest
import torch

from socketlab.data.colormap import jet


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (0.0, (0, 0, 0.5)),
        (0.125, (0, 0, 1)),
        (0.25, (0, 0.5, 1)),
        (0.375, (0, 1, 1)),
        (0.5, (0.5, 1, 0.5)),
        (0.75, (1, 0.5, 0)),
        (1.0, (0.5, 0, 0)),
    ],
)
def test_colours_by_hand(value: float, colour: tuple[float, float, float]) -> None:
    made = jet(torch.full((2, 1, 3, 4), value))
    assert made.shape == (2, 3, 3, 4)
    assert made[1, :, 2, 1].tolist() == pytest.approx(colour)


def test_no_value_is_black_and_the_input_stays_what_it_was() -> None:
    values = torch.linspace(0, 1, 1001).view(1, 1, 1, -1)
    before = values.clone()
    made = jet(values)
    assert torch.equal(values, before)
    assert float(made.amax(dim=1).min()) >= 0.5
    assert float(made.min()) >= 0 and float(made.max()) <= 1


def test_a_gradient_goes_through() -> None:
    value = torch.full((1, 1, 1, 1), 0.3, requires_grad=True)
    torch.autograd.backward(jet(value)[:, 1].sum())
    assert value.grad is not None and float(value.grad) == pytest.approx(4.0)
