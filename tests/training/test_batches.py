from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from socketlab.data.modality import PixelFormat
from socketlab.data.streaming import Streamed
from socketlab.data.views import ImagePairs, Images
from socketlab.training.batches import (
    Window,
    _gathered,
    _indexed,
    _Places,
    centre_window,
    derive,
    generator,
    in_order,
    random_window,
    read_ahead,
    shuffled_batch,
    take,
    take_pairs,
    to_device,
)

MakeImages = Callable[..., Images]


def test_derived_seeds_differ_in_every_part_and_fit_a_generator() -> None:
    parts: list[tuple[int | str, ...]] = [
        (0, "target", 3),
        (0, "target", 4),
        (0, "pairs", 3),
        (1, "target", 3),
        (0, "target"),
    ]
    seeds = [derive(int(seed), *rest) for seed, *rest in parts]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [derive(int(seed), *rest) for seed, *rest in parts]
    assert generator(0, "target", 3).initial_seed() == seeds[0]


def sweep(count: int, batch: int, positions: range, seed: int = 0, stream: str = "t") -> list[int]:
    batches = [shuffled_batch(count, batch, seed, stream, position) for position in positions]
    assert all(len(found) == batch and found.dtype == torch.int64 for found in batches)
    return [int(index) for found in batches for index in found]


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (12, 4), (3, 8), (5, 5), (1, 3)])
def test_sweeps_without_replacement_and_across_cycles(count: int, batch: int) -> None:
    """`batch` cycles of `count` samples, end to end: each one a permutation."""
    drawn = sweep(count, batch, range(count))
    cycles = [drawn[start : start + count] for start in range(0, len(drawn), count)]
    assert len(cycles) == batch
    assert all(sorted(cycle) == list(range(count)) for cycle in cycles)
    if count > 4:
        assert len({tuple(cycle) for cycle in cycles}) > 1
        assert list(range(count)) not in cycles


def test_a_batch_depends_on_seed_stream_and_position_alone() -> None:
    forwards = sweep(50, 8, range(10))
    torch.manual_seed(123)
    later = {p: shuffled_batch(50, 8, 0, "t", p).tolist() for p in reversed(range(10))}
    assert [index for p in range(10) for index in later[p]] == forwards
    before = torch.get_rng_state()
    assert sweep(50, 8, range(10), seed=1) != forwards
    assert sweep(50, 8, range(10), stream="pairs") != forwards
    assert torch.equal(torch.get_rng_state(), before)


def test_random_windows_reach_every_place_and_mirror_half() -> None:
    window = random_window(4000, 16, 14, 0, "t", 0)
    places = {(int(t), int(left)) for t, left in zip(window.top, window.left, strict=True)}
    assert places == {(t, left) for t in range(3) for left in range(3)}
    assert window.flip.dtype == torch.bool
    assert 0.45 < window.flip.float().mean() < 0.55
    again = random_window(4000, 16, 14, 0, "t", 0)
    for name in ("top", "left", "flip"):
        assert torch.equal(getattr(window, name), getattr(again, name))
    for other in (
        random_window(4000, 16, 14, 1, "t", 0),
        random_window(4000, 16, 14, 0, "p", 0),
        random_window(4000, 16, 14, 0, "t", 1),
    ):
        assert not torch.equal(window.top, other.top)
        assert not torch.equal(window.flip, other.flip)


def test_a_window_as_large_as_the_image_stays_where_it_is() -> None:
    window = random_window(50, 16, 16, 0, "t", 0)
    assert not window.top.any() and not window.left.any()


def test_centre_window() -> None:
    window = centre_window(3, 17, 14)
    assert window.top.tolist() == window.left.tolist() == [1, 1, 1]
    assert not window.flip.any()


@pytest.mark.parametrize("crop", [17, 0, -1])
def test_a_crop_that_does_not_fit(crop: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the prepared size 16, found {crop}"):
        random_window(2, 16, crop, 0, "t", 0)
    with pytest.raises(ValueError, match=f"between 1 and the prepared size 16, found {crop}"):
        centre_window(2, 16, crop)


def naive(
    images: Images, index: list[int], window: Window, encoding: str
) -> npt.NDArray[np.float64]:
    """Crop, mirror and scale one sample after the other, in float64."""
    low, high, batch = images.format.low, images.format.high, []
    for place, row in enumerate(index):
        top, left, crop = int(window.top[place]), int(window.left[place]), window.crop
        sample = images.raw.numpy()[row][top : top + crop, left : left + crop]
        if window.flip[place]:
            sample = sample[:, ::-1]
        value = sample.astype(np.float64)
        clipped = np.clip(value, low, high)
        unit = (clipped - low) / (high - low)
        if encoding == "inverse":
            unit = (1 / clipped - 1 / high) / (1 / low - 1 / high)
        if images.format.invalid is not None:
            unit[value == images.format.invalid] = 0
        batch.append(np.moveaxis(unit, -1, 0) if unit.ndim == 3 else unit[None])
    return np.stack(batch)


@pytest.mark.parametrize(
    ("kind", "channels", "encoding"),
    [
        ("rgb", 3, "replicate"),
        ("depth", 1, "replicate"),
        ("depth", 1, "inverse"),
        ("nir", 1, "replicate"),
        ("deep_nir", 1, "replicate"),
    ],
)
@pytest.mark.parametrize("crop", [11, 16])
def test_take_is_crop_mirror_and_scale_of_each_sample(
    kind: str, channels: int, encoding: str, crop: int, make_images: MakeImages
) -> None:
    images = make_images(kind)
    if kind in ("depth", "deep_nir"):
        assert int(images.raw.to(torch.int32).max()) > 32767
    index = [3, 0, 6, 3, 5, 1, 2, 4]
    window = random_window(len(index), 16, crop, 0, "t", 1)
    assert window.flip.any() and not window.flip.all()
    batch = take(images, torch.tensor(index), window, encoding)  # type: ignore[arg-type]
    assert batch.shape == (8, channels, crop, crop)
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch, naive(images, index, window, encoding), atol=2e-6)
    assert batch.min() >= 0 and batch.max() <= 1


def test_take_leaves_the_images_alone(make_images: MakeImages) -> None:
    images = make_images("depth")
    before = images.raw.clone()
    take(images, torch.tensor([1, 2]), centre_window(2, 16, 14)).zero_()
    assert torch.equal(images.raw.to(torch.int32), before.to(torch.int32))


def test_both_halves_of_a_pair_get_the_same_window(make_images: MakeImages) -> None:
    """The depth here is 256 times the red channel, so that equal windows give equal images."""
    rgb = make_images("rgb", count=9)
    deep = (rgb.raw[..., 0].to(torch.int32) * 256).to(torch.uint16)
    depth = Images(deep, PixelFormat("depth", 0, 255 * 256, None), rgb.ids)
    pairs = ImagePairs(rgb, depth, rgb.ids)
    index = shuffled_batch(9, 32, 0, "pairs", 2)
    window = random_window(32, 16, 11, 0, "pairs", 2)
    first, second = take_pairs(pairs, index, window)
    torch.testing.assert_close(first[:, :1], second)
    torch.testing.assert_close(first, take(rgb, index, window), rtol=0, atol=0)


def test_the_encoding_of_a_pair_is_that_of_its_target_half(make_images: MakeImages) -> None:
    rgb, depth = make_images("rgb", count=4), make_images("depth", count=4)
    index, window = torch.arange(4), random_window(4, 16, 11, 0, "pairs", 0)
    first, second = take_pairs(ImagePairs(rgb, depth, rgb.ids), index, window, "inverse")
    assert torch.equal(first, take(rgb, index, window))
    assert torch.equal(second, take(depth, index, window, "inverse"))
    assert not torch.equal(second, take(depth, index, window))


def test_what_is_done_to_a_batch_leaves_the_next_sweep_alone() -> None:
    first = shuffled_batch(8, 4, 0, "kept", 0)
    wanted = first.clone()
    first.zero_()
    assert torch.equal(shuffled_batch(8, 4, 0, "kept", 0), wanted)


@pytest.mark.parametrize("kind", ["rgb", "depth", "nir", "deep_nir"])
def test_other_devices_gather_the_same_pixels(kind: str, make_images: MakeImages) -> None:
    """What is done on a GPU, done here."""
    images, index = make_images(kind), torch.tensor([3, 0, 6, 3, 5])
    window = random_window(5, 16, 11, 0, "t", 1)
    places = _Places(index, window, torch.device("cpu"))
    found, wanted = (
        gathered.to(torch.int32)
        for gathered in (_indexed(images.raw, *places.on_device), _gathered(images.raw, places))
    )
    assert torch.equal(found, wanted)
    assert found.stride() == wanted.stride()


def test_indices_are_sent_at_once_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a GPU that is not there: what is asked of torch is looked at."""
    sent = []

    class Pinned:
        def to(self, device: torch.device, non_blocking: bool = False) -> str:
            sent.append((device, non_blocking))
            return "there"

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: Pinned())
    device = torch.device("cuda")
    assert to_device(torch.arange(3), device) == "there"
    assert sent == [(device, True)]
    here = torch.arange(3)
    assert to_device(here, torch.device("cpu")) is here


def streamed(images: Images) -> Images:
    assert isinstance(images.raw, Tensor)
    rows, cpu = np.arange(len(images)), torch.device("cpu")
    raw = Streamed([images.raw.numpy()], np.zeros_like(rows), rows, device=cpu, reason="a test")
    return replace(images, raw=raw)


@pytest.mark.parametrize("kind", ["rgb", "depth"])
def test_a_streamed_batch_is_the_batch(kind: str, make_images: MakeImages) -> None:
    images, index = make_images(kind), torch.tensor([3, 0, 6, 3, 5])
    window = random_window(5, 16, 11, 0, "t", 1)
    assert torch.equal(take(streamed(images), index, window), take(images, index, window))
    pairs, other = ImagePairs(images, images, images.ids), streamed(images)
    streamed_pairs = ImagePairs(other, streamed(images), images.ids)
    for found, wanted in zip(
        take_pairs(streamed_pairs, index, window), take_pairs(pairs, index, window), strict=True
    ):
        assert torch.equal(found, wanted)


def test_reading_ahead_asks_for_this_step_and_the_next_ones(make_images: MakeImages) -> None:
    images, asked = make_images("rgb"), list[int]()

    def order(step: int) -> Tensor:
        asked.append(step)
        return torch.tensor([step % 7])

    read_ahead(images, order, 4)
    assert not asked  # nothing is streamed
    read_ahead(streamed(images), order, 4)
    assert asked == [4, 5, 6]


@pytest.mark.parametrize("streams", [False, True])
def test_all_images_in_their_order(streams: bool, make_images: MakeImages) -> None:
    images = make_images("rgb")
    given = streamed(images) if streams else images
    batches = list(in_order(given, 3))
    assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
