import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from socketlab.models.batch_norm import (
    BatchNormActOnce,
    BatchNormOnce,
    Call,
    compute_once,
    records_itself,
)


def layer(kind: Callable[[int], nn.Module] = nn.BatchNorm2d, channels: int = 3) -> nn.BatchNorm2d:
    """With weights and running statistics that are not those at the start."""
    torch.manual_seed(2)
    made = kind(channels)
    assert isinstance(made, nn.BatchNorm2d)
    nn.init.uniform_(made.weight, -1, 1)
    nn.init.normal_(made.bias)
    assert made.running_mean is not None and made.running_var is not None
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    return made


def recording(plain: nn.BatchNorm2d) -> tuple[nn.BatchNorm2d, list[Call]]:
    """The same layer, one that records, and what it will have recorded."""
    once = copy.deepcopy(plain)
    compute_once(once)
    calls: list[Call] = []
    once.recorded = calls  # type: ignore[assignment]
    return once, calls


def images(channels: int = 3) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(4, channels, 5, 6) * 3 + 2


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_it_normalises_as_before_and_says_the_statistics(
    kind: Callable[[int], nn.Module],
) -> None:
    plain, x = layer(kind).train(), images()
    once, calls = recording(plain)
    torch.testing.assert_close(once(x), plain(x))
    ((count, mean, variance),) = calls
    assert count == 4 * 5 * 6
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(variance, x.var((0, 2, 3), correction=0))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(once.get_buffer(name), buffer)
    assert int(once.get_buffer("num_batches_tracked")) == 1


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)])
def test_the_gradient_is_that_of_the_definition(
    weights: tuple[int, int, int], affine: bool
) -> None:
    plain = layer(lambda c: nn.BatchNorm2d(c, affine=True)).double().train()
    if not affine:
        plain = nn.BatchNorm2d(3, affine=False).double().train()
    once, calls = recording(plain)
    draws = [torch.randn(4, 3, 5, 6).double(), *torch.randn(2, 3).double()]
    gradients = []
    for by_hand in (True, False):
        x = images().double().requires_grad_()
        if by_hand:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            shape = (1, -1, 1, 1)
            y = (x - mean.view(shape)) / (variance.view(shape) + plain.eps).sqrt()
            if affine:
                y = y * plain.weight.view(shape) + plain.bias.view(shape)
        else:
            y = once(x)
            _, mean, variance = calls[0]
        terms = zip(weights, (y, mean, variance), draws, strict=True)
        torch.stack([w * (found * d).sum() for w, found, d in terms if w]).sum().backward()  # type: ignore[no-untyped-call]
        parameters = [p.grad for p in (plain if by_hand else once).parameters()]
        gradients.append([x.grad, *parameters])
    for found, wanted in zip(gradients[1], gradients[0], strict=True):
        if wanted is not None or found is not None:
            zero = torch.zeros(3).double()
            torch.testing.assert_close(
                zero if found is None else found, zero if wanted is None else wanted
            )


def test_in_half_precision_the_gradient_is_right_far_from_the_origin() -> None:
    """A mean of many deviations: constants that were rounded to bfloat16 would be off by it."""
    exact = layer().train()
    once, calls = recording(exact)
    reference, found = copy.deepcopy(once), copy.deepcopy(once)
    base = (images() * 0.2 + 30).bfloat16()
    gradients = []
    for model, dtype in ((reference, torch.float32), (found, torch.bfloat16)):
        calls = []
        model.recorded = calls  # type: ignore[assignment]
        x = base.to(dtype).requires_grad_()
        model(x)
        ((_, mean, variance),) = calls
        assert mean.dtype == variance.dtype == torch.float32
        (mean.sum() + variance.sum()).backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None and x.grad.dtype == dtype
        gradients.append(x.grad.float())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.01, atol=1e-4)


def test_a_channel_that_never_changes_has_no_variance() -> None:
    once, calls = recording(layer().train())
    once(torch.full((4, 3, 5, 6), 1e3))
    assert (calls[0][2] >= 0).all() and (calls[0][2] < 1e-4).all()


def test_held_statistics_stay_and_are_said_all_the_same() -> None:
    plain = layer().train()
    once, calls = recording(plain)
    once.track_running_stats = False
    once(images())
    assert len(calls) == 1
    for name, buffer in plain.named_buffers():
        assert torch.equal(once.get_buffer(name), buffer)


def test_a_cumulative_average_stays_one() -> None:
    plain = layer(lambda c: nn.BatchNorm2d(c, momentum=None)).train()
    once, _ = recording(plain)
    for shift in (0.0, 5.0, -3.0):
        plain(images() + shift)
        once(images() + shift)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(once.get_buffer(name), buffer)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_without_a_list_it_is_the_layer_it_was(kind: Callable[[int], nn.Module]) -> None:
    plain = layer(kind).train()
    once, _ = recording(plain)
    once.recorded = None  # type: ignore[assignment]
    assert torch.equal(once(images()), plain(images()))
    assert once.state_dict().keys() == plain.state_dict().keys()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(once.state_dict()[name], tensor)
    once.eval()
    plain.eval()
    assert torch.equal(once(images()), plain(images()))
    assert not records_itself(once) and records_itself(once.train())


def test_nothing_is_said_in_eval_mode() -> None:
    once, calls = recording(layer().eval())
    once(images())
    assert calls == []


def test_only_what_is_known_is_exchanged() -> None:
    class Own(nn.BatchNorm2d):
        pass

    network = nn.Sequential(
        nn.BatchNorm2d(3), BatchNormAct2d(3), Own(3), nn.BatchNorm1d(3), nn.LayerNorm(3)
    )
    compute_once(network)
    compute_once(network)
    kinds = [type(module) for module in network]
    assert kinds == [BatchNormOnce, BatchNormActOnce, Own, nn.BatchNorm1d, nn.LayerNorm]


def test_no_activation_is_kept_that_batch_norm_would_not_keep() -> None:
    """What is saved for the backward pass, in bytes: a hook's float32 copies would show."""

    def saved(model: nn.Module) -> int:
        kept = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x)
        return sum(kept.values())

    plain, x = layer().train(), images().bfloat16().requires_grad_()
    once, _ = recording(plain)
    assert saved(once) <= saved(plain) + 100
