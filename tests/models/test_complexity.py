import copy
import doctest

import pytest
import torch
from torch import Tensor, nn

from socketlab.models import complexity as module
from socketlab.models.complexity import Complexity, complexity


def test_a_convolution_by_hand() -> None:
    """8 filters of 3 x 3 over 5 channels, at 4 x 6 places after a stride of 2."""
    layer = nn.Conv2d(5, 8, 3, stride=2, padding=1)
    assert complexity(layer, (5, 8, 12)) == Complexity(8 * 5 * 9 + 8, 8 * 5 * 9 * 4 * 6)


def test_a_depthwise_convolution_by_hand() -> None:
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
    assert complexity(layer, (6, 7, 5)) == Complexity(6 * 9, 6 * 9 * 7 * 5)


def test_a_linear_layer_by_hand() -> None:
    assert complexity(nn.Linear(12, 7), (12,)) == Complexity(12 * 7 + 7, 12 * 7)


def test_layers_add_up() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)
    )
    expected = Complexity((4 + 4) + (4 + 4) + (72 + 2), 4 * 9 + 72)
    assert complexity(network, (1, 3, 3)) == expected


def test_attention_by_hand() -> None:
    """Queries by keys and weights by values, 5 tokens of 4 numbers in 2 heads."""

    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert complexity(Attention(), (2, 5, 4)) == Complexity(0, 2 * 2 * 5 * 5 * 4)


def test_a_shared_parameter_is_counted_once_and_used_twice() -> None:
    layer = nn.Linear(3, 3, bias=False)
    assert complexity(nn.Sequential(layer, layer), (3,)) == Complexity(9, 18)


def test_frozen_parameters_count() -> None:
    layer = nn.Linear(3, 2).requires_grad_(False)
    assert complexity(layer, (3,)).parameters == 8


def test_what_has_no_parameters() -> None:
    assert complexity(nn.ReLU(), (3, 8, 8)) == Complexity(0, 0)


class Watching(nn.Module):
    """Notes in which mode it was run, with what, and whether gradients were on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4).double()
        self.seen: list[object] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = [self.training, tuple(x.shape), x.dtype, torch.is_grad_enabled()]
        result: Tensor = self.layer(x)
        return result


def test_one_input_in_eval_mode_without_gradients_in_the_network_s_own_type() -> None:
    network = Watching()
    complexity(network, (3, 4))
    assert network.seen == [False, (1, 3, 4), torch.float64, False]


def test_integer_buffers_do_not_decide_the_type() -> None:
    norm = nn.BatchNorm1d(4, affine=False)
    norm.running_mean = norm.running_var = None
    assert complexity(nn.Sequential(norm, nn.Flatten()), (4, 2)) == Complexity(0, 0)


def test_each_layer_keeps_its_mode_and_its_state() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    generator_state = torch.get_rng_state()
    complexity(network, (1, 8, 8))
    assert [layer.training for layer in network.modules()] == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), generator_state)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_layer_in_two_places_keeps_its_mode() -> None:
    shared = nn.Linear(4, 4).eval()
    network = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    before = [layer.training for layer in network.modules()]
    complexity(network, (4,))
    assert [layer.training for layer in network.modules()] == before == [True, True, False, True]


def test_the_mode_is_restored_after_an_error() -> None:
    layer = nn.Linear(4, 2).train()
    with pytest.raises(RuntimeError):
        complexity(layer, (5,))
    assert layer.training


@pytest.mark.parametrize(
    ("multiply_adds", "words"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_000_000, "1.0 million"),
        (1_234_567, "1.2 million"),
        (4_089_184_256, "4.1 billion"),
        (1_500_000_000_000, "1,500.0 billion"),
    ],
)
def test_in_words(multiply_adds: int, words: str) -> None:
    assert str(Complexity(9763, multiply_adds)) == f"9,763 parameters, {words} multiply-adds"


def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
