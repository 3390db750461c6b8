"""Light is changed as torchvision changes it, image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from socketlab.training.photometric import Light, random_light, relight

IMAGES = torch.rand(6, 3, 9, 9, generator=torch.Generator().manual_seed(0))
CHANGES = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
)


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("last", [False, True])
def test_every_image_is_changed_as_torchvision_does(position: int, last: bool) -> None:
    images = IMAGES.contiguous(memory_format=torch.channels_last) if last else IMAGES
    before = images.clone()
    light = random_light(6, 0.8, 0, "source", position)
    found = relight(images, light)
    assert torch.equal(images, before)
    for row, image in enumerate(IMAGES):
        for change in light.order:
            image = CHANGES[change](image, float(light.factors[change, row]))
        torch.testing.assert_close(found[row], image, rtol=0, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last) is last


def test_light_is_a_function_of_seed_stream_and_position() -> None:
    light = random_light(400, 0.4, 0, "source", 3)
    again = random_light(400, 0.4, 0, "source", 3)
    assert torch.equal(light.factors, again.factors) and light.order == again.order
    for other in (
        random_light(400, 0.4, 1, "source", 3),
        random_light(400, 0.4, 0, "target", 3),
        random_light(400, 0.4, 0, "source", 4),
    ):
        assert not torch.equal(light.factors, other.factors)
    assert light.factors.shape == (3, 400)
    assert 0.6 <= light.factors.min() < 0.61 and 1.39 < light.factors.max() <= 1.4
    assert light.factors.mean(1).tolist() == pytest.approx([1, 1, 1], abs=0.05)
    orders = {random_light(1, 0.4, 0, "source", step).order for step in range(60)}
    assert len(orders) == 6
    assert all(sorted(order) == [0, 1, 2] for order in orders)


def test_no_strength_leaves_images_as_they_are() -> None:
    torch.testing.assert_close(relight(IMAGES, random_light(6, 0, 0, "s", 0)), IMAGES)


def test_the_light_of_some_images_is_theirs() -> None:
    light, rows = random_light(6, 0.5, 0, "s", 1), torch.tensor([4, 1])
    assert torch.equal(relight(IMAGES[rows], light.rows(rows)), relight(IMAGES, light)[rows])


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_that_is_none(strength: float) -> None:
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\], found {strength}"):
        random_light(2, strength, 0, "s", 0)


def test_what_is_no_rgb_and_light_of_others() -> None:
    light = Light(torch.ones(3, 6), (0, 1, 2))
    with pytest.raises(ValueError, match=r"needs RGB images, .* found \[6, 1, 9, 9\]"):
        relight(IMAGES[:, :1], light)
    with pytest.raises(
        ValueError, match=r"2 images need factors of shape \[3, 2\], found \[3, 6\]"
    ):
        relight(IMAGES[:2], light)
