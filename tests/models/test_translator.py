import copy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from socketlab.models.complexity import complexity
from socketlab.models.names import TRANSLATORS, UnknownTranslator, check_translator
from socketlab.models.translator import REGISTRY, Residual, Translator, build_translator

Array = NDArray[np.float64]
LEARNERS = ("pointwise", "residual", "unet")


def varied(name: str) -> Translator:
    """A translator in eval mode in which no layer is neutral, as if it had been trained."""
    translator = build_translator(name)
    with torch.no_grad():
        for parameter in translator.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        for _ in range(8):  # the running statistics become those of images
            translator.train()(torch.rand(4, 1, 16, 16) * torch.rand(4, 1, 1, 1))
    return translator.eval()


def array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.detach().numpy().astype(np.float64)


def convolved(x: Array, layer: nn.Module) -> Array:
    """A convolution of [C, H, W] with a layer's weights, one output value after another."""
    assert isinstance(layer, nn.Conv2d)
    weight, (step, _), (dilation, _) = array(layer.weight), layer.stride, layer.dilation
    assert not isinstance(layer.padding, str)
    border = layer.padding[0]
    padded = np.pad(x, ((0, 0), (border, border), (border, border)))
    reach = dilation * (weight.shape[2] - 1) + 1
    rows = range(0, padded.shape[1] - reach + 1, step)
    columns = range(0, padded.shape[2] - reach + 1, step)
    out = np.zeros((len(weight), len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            seen = padded[:, top : top + reach : dilation, left : left + reach : dilation]
            out[:, i, j] = (weight * seen).sum(axis=(1, 2, 3))
    return out if layer.bias is None else out + array(layer.bias)[:, None, None]


def normalised(x: Array, layer: nn.Module) -> Array:
    assert isinstance(layer, nn.BatchNorm2d)
    mean, variance = array(layer.running_mean), array(layer.running_var)
    scale = array(layer.weight) / np.sqrt(variance + layer.eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + array(layer.bias)[:, None, None]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def test_every_name_has_its_translator() -> None:
    assert tuple(REGISTRY) == TRANSLATORS
    for name in TRANSLATORS:
        translator = build_translator(name)
        assert type(translator) is REGISTRY[name]
        assert translator.name == name
        assert any(True for _ in translator.parameters()) == (name in LEARNERS)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (56, 31), (33, 64)])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_one_channel_becomes_three_at_every_size(name: str, size: tuple[int, int]) -> None:
    for translator in (varied(name), varied(name).train()):
        with torch.no_grad():
            pictures = translator(torch.rand(3, 1, *size))
        assert pictures.shape == (3, 3, *size)
        assert pictures.dtype == torch.float32
        assert pictures.min() >= 0
        assert pictures.max() <= 1
        assert pictures.std() > 0.01


def test_replicate_is_the_same_channel_three_times() -> None:
    images = torch.rand(2, 1, 8, 9)
    pictures = build_translator("replicate")(images)
    for channel in range(3):
        assert torch.equal(pictures[:, channel], images[:, 0])


def test_colormap_at_values_worked_out_by_hand() -> None:
    expected = {
        0.0: (0.0, 0.0, 0.5),
        0.1: (0.0, 0.0, 0.9),
        0.25: (0.0, 0.5, 1.0),
        0.4: (0.1, 1.0, 0.9),
        0.5: (0.5, 1.0, 0.5),
        0.75: (1.0, 0.5, 0.0),
        0.9: (0.9, 0.0, 0.0),
        1.0: (0.5, 0.0, 0.0),
    }
    images = torch.tensor(list(expected)).view(1, 1, 2, 4)
    pictures = build_translator("colormap")(images)
    colours = pictures.flatten(2)[0].T
    torch.testing.assert_close(colours, torch.tensor(list(expected.values())), rtol=0, atol=1e-6)


def test_pointwise_against_loops() -> None:
    translator = varied("pointwise")
    images = torch.rand(2, 1, 8, 9)
    first, norm, _, last = translator.get_submodule("layers").children()
    assert isinstance(first, nn.Conv2d)
    assert first.weight.shape == (64, 1, 1, 1)
    assert isinstance(last, nn.Conv2d)
    assert last.weight.shape == (3, 64, 3, 3)
    found = array(translator(images))
    for image, picture in zip(array(images), found, strict=True):
        hidden = np.maximum(normalised(convolved(image, first), norm), 0)
        np.testing.assert_allclose(picture, sigmoid(convolved(hidden, last)), atol=1e-5)


def finer(x: Array) -> Array:
    """[C, h, w] twice as large: 3/4 of the nearer value and 1/4 of the next one, per axis."""
    for axis in (1, 2):
        count = x.shape[axis]
        before = np.take(x, np.maximum(np.arange(count) - 1, 0), axis)
        after = np.take(x, np.minimum(np.arange(count) + 1, count - 1), axis)
        pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape([2 * n if i == axis else n for i, n in enumerate(x.shape)])
    return x


@pytest.mark.parametrize("size", [(8, 10), (11, 9)])
def test_residual_against_loops(size: tuple[int, int]) -> None:
    translator = varied("residual")
    images = torch.rand(1, 1, *size)
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    image = array(images)[0]
    even = np.pad(image, ((0, 0), (0, size[0] % 2), (0, size[1] % 2)), mode="edge")
    stem = list(translator.get_submodule("stem").children())
    hidden = np.maximum(normalised(convolved(even, stem[0]), stem[1]), 0)
    for block in translator.get_submodule("blocks").children():
        convolution, norm = block.get_submodule("layers").children()
        hidden = np.maximum(hidden + normalised(convolved(hidden, convolution), norm), 0)
    both = np.concatenate([finer(hidden), even])
    added = convolved(both, translator.get_submodule("last"))[:, : size[0], : size[1]]
    start = np.clip(image, 0.01, 0.99)
    expected = sigmoid(np.log(start / (1 - start)) + added)
    assert np.abs(added).max() > 0.1
    np.testing.assert_allclose(array(translator(images))[0], expected, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_residual_starts_as_replication(training: bool) -> None:
    images = torch.linspace(0, 1, 2 * 15 * 16).view(2, 1, 15, 16)
    pictures = build_translator("residual").train(training)(images)
    for channel in range(3):
        wanted = images[:, 0].clamp(0.01, 0.99)
        torch.testing.assert_close(pictures[:, channel], wanted, rtol=0, atol=1e-6)


def test_residual_sees_a_window_of_about_60_pixels_without_a_hole() -> None:
    translator = Residual().eval()
    with torch.no_grad():
        for parameter in translator.parameters():
            parameter.fill_(0.003)
    images = torch.full((1, 1, 96, 96), 0.5, dtype=torch.float64, requires_grad=True)
    translator.double()(images)[0, 0, 48, 48].backward()
    assert images.grad is not None
    for line in (images.grad[0, 0, 48], images.grad[0, 0, :, 48]):
        reached = line.nonzero().flatten()
        assert len(reached) == reached[-1] - reached[0] + 1  # no hole
        assert 56 <= len(reached) <= 60
        assert abs(int(reached[0] + reached[-1]) - 2 * 48) <= 2


def test_unet_is_the_library_s_network_on_extended_images() -> None:
    translator = varied("unet")
    images = torch.rand(1, 1, 17, 30)
    extended = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 15), (0, 2)), mode="edge")
    with torch.no_grad():
        logits = translator.get_submodule("network")(torch.from_numpy(extended))
        pictures = translator(images)
    expected = sigmoid(array(logits))[:, :, :17, :30]
    np.testing.assert_allclose(array(pictures), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "millions"), [("residual", 25), ("unet", 120)])
def test_cost_at_56_pixels(name: str, millions: int) -> None:
    cost = complexity(build_translator(name), (1, 56, 56))
    assert 0.5 * millions < cost.multiply_adds / 1e6 <= millions


@pytest.mark.parametrize("name", LEARNERS)
def test_learns_colours_from_one_channel(name: str) -> None:
    """All parameters move, also where the last layer began at zero, and the error falls."""
    images = torch.rand(4, 1, 16, 16)
    wanted = torch.cat([images, 1 - images, (2 * images - 1).abs()], dim=1)
    translator = build_translator(name)
    before = copy.deepcopy(dict(translator.named_parameters()))
    optimiser = torch.optim.Adam(translator.parameters(), lr=1e-2)
    errors = []
    for _ in range(25):
        loss = mse_loss(translator(images), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.65 * errors[0]
    for key, parameter in translator.named_parameters():
        assert not torch.equal(parameter, before[key]), f"{key} takes no part"


@pytest.mark.parametrize("name", TRANSLATORS)
def test_bfloat16_gives_nearly_the_same_with_full_precision_at_the_end(name: str) -> None:
    translator, images = varied(name), torch.rand(2, 1, 17, 16)
    with torch.no_grad():
        wanted = translator(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pictures = translator(images)
    assert pictures.dtype == torch.float32
    torch.testing.assert_close(pictures, wanted, rtol=0, atol=0.02)
    if name in LEARNERS:
        assert not torch.equal(pictures, pictures.bfloat16().float())
        pictures.sum().backward()
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) for p in translator.parameters()
        )


@pytest.mark.parametrize("name", TRANSLATORS)
def test_channels_last_gives_the_same(name: str) -> None:
    translator, images = varied(name), torch.rand(2, 1, 16, 17)
    with torch.no_grad():
        wanted = translator(images)
        translator.to(memory_format=torch.channels_last)
        found = translator(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_seed_decides(name: str) -> None:
    images, pictures, gradients = torch.rand(2, 1, 16, 16), [], []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        translator = build_translator(name)
        last = list(translator.parameters())[-2]  # a weight
        pictures.append(translator(images))
        (pictures[-1] ** 2).sum().backward()
        assert last.grad is not None
        gradients.append(last.grad)
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("name", TRANSLATORS)
def test_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    translator, images = varied(name), torch.rand(1, 1, 16, 16)
    save_file(translator.state_dict(), tmp_path / "t.safetensors")
    other = build_translator(name).eval()
    other.load_state_dict(load_file(tmp_path / "t.safetensors"))
    assert torch.equal(other(images), translator(images))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 8, 8), (2, 0, 8, 8)])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' takes images \[B, 1, H, W\], found .*{shape}"):
        build_translator(name)(torch.rand(shape))


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert build_translator("unet").name == "unet"


def test_the_library_of_unet_is_not_loaded_for_the_others() -> None:
    program = (
        "import sys\n"
        "from socketlab.models.translator import build_translator\n"
        "build_translator('residual')\n"
        "print('segmentation_models_pytorch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr


def test_names_are_checked_without_torch() -> None:
    program = (
        "import sys\n"
        "from socketlab.models.names import TRANSLATORS, check_translator\n"
        "for name in TRANSLATORS: assert check_translator(name) == name\n"
        "print([m for m in ('torch', 'segmentation_models_pytorch') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    for asked in (check_translator, build_translator):
        with pytest.raises(UnknownTranslator) as caught:
            asked("u-net")
        message = str(caught.value)
        assert "'u-net'" in message
        for known in TRANSLATORS:
            assert known in message.partition("Choose one of:")[2]
