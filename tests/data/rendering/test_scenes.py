"""The rendered data set: geometry against closed forms, bytes that depend on nothing else."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from socketlab.data.rendering import scenes
from socketlab.data.rendering.raymarch import (
    Bundle,
    Vectors,
    bell_noise,
    enter_bounding_sphere,
    hash_bits,
    soft_visibility,
    surface_normals,
    trace,
)
from socketlab.data.rendering.scenes import (
    SENSORS,
    TASK_IRRELEVANT,
    TASK_RELEVANT,
    Rendered,
    render,
)
from socketlab.data.rendering.shapes import BOUNDING_HEIGHT, BOUNDING_RADIUS, SHAPES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_points(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(6, count, generator=generator) * torch.tensor(
        [[4.0], [4.0], [4.0]] + [[1.0]] * 3
    )


def arrays(images: Rendered) -> tuple[NDArray[np.generic], ...]:
    return images.rgb, images.depth, images.nir


def assert_same(first: Rendered, second: Rendered, order: list[int]) -> None:
    """Image k of `first` is image order[k] of `second`."""
    for a, b in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(a, b[order])


@pytest.fixture(scope="module")
def gallery() -> Rendered:
    """Forty images of each task-relevant class, sensor a."""
    names = [name for name in TASK_RELEVANT for _ in range(40)]
    return render(names, list(range(40)) * 6, sensor="a", seed=0, size=32)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shapes_fill_the_bounding_sphere_and_bound_the_distance(name: str) -> None:
    points = random_points(40_000, seed=1)
    points[:3] -= torch.tensor([[2.0], [1.5], [2.0]])
    x, y, z, *proportions = points
    distance = SHAPES[name](x, y, z, *proportions)
    away = (x * x + (y - BOUNDING_HEIGHT) ** 2 + z * z).sqrt()
    inside = distance < 0.0
    assert inside.any()
    assert away[inside].max() < BOUNDING_RADIUS
    assert y[inside].min() > -1e-4
    # A step of the length of the distance never enters the shape: no point nearer than that is in.
    step = torch.nn.functional.normalize(torch.randn(3, x.shape[0]), dim=0) * distance.clamp(min=0)
    there = SHAPES[name](x + step[0], y + step[1], z + step[2], *proportions)
    assert there[distance > 0.0].min() > -1e-3


def rays_at_ball(count: int) -> tuple[Bundle, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    origin = torch.tensor([[0.3], [1.0], [-4.0]]).expand(3, count)
    target = torch.rand(3, count, generator=generator) * 1.6 - torch.tensor([[0.8], [0.2], [0.8]])
    direction = torch.nn.functional.normalize(target - origin, dim=0)
    proportion = torch.rand(count, generator=generator)
    unused = torch.zeros(count)
    bundle = Bundle(Vectors(*origin), Vectors(*direction), Vectors(proportion, unused, unused))
    start, stop = enter_bounding_sphere(bundle.origin, bundle.direction)
    return bundle, start, stop


def closed_form_of_ball(rays: Bundle) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance along each ray (nan where it misses) and centre height, in double precision."""
    origin = torch.stack(rays.origin).double().numpy()
    direction = torch.stack(rays.direction).double().numpy()
    radius = rays.proportions.x.double().numpy() * 0.2 + 0.45
    offset = origin - np.stack([0 * radius, radius, 0 * radius])
    half = (offset * direction).sum(0)
    inner = half**2 - (offset**2).sum(0) + radius**2
    return -half - np.sqrt(np.where(inner > 0, inner, np.nan)), radius


def test_trace_finds_the_closed_form_of_a_ball() -> None:
    rays, start, stop = rays_at_ball(2000)
    crossing = stop > start
    found = trace(SHAPES["ball"], rays, start, stop, steps=60, tolerance=1e-4).numpy()
    expected, _ = closed_form_of_ball(rays)
    hit = np.isfinite(expected)
    assert 200 < hit.sum() < 1900
    assert crossing.numpy()[hit].all()
    # Rays that touch the ball may go either way.
    assert (np.isfinite(found) != hit).mean() < 0.01
    both = hit & np.isfinite(found)
    np.testing.assert_allclose(found[both], expected[both], atol=0.02)
    assert np.median(np.abs(found[both] - expected[both])) < 1e-3


def test_normals_point_from_the_middle_of_a_ball() -> None:
    rays, _, _ = rays_at_ball(500)
    t, radius = closed_form_of_ball(rays)
    seen = np.flatnonzero(np.isfinite(t))
    point = np.stack(rays.origin)[:, seen] + np.stack(rays.direction)[:, seen] * t[seen]
    proportions = Vectors(*(part[seen] for part in rays.proportions))
    local = Vectors(*torch.tensor(point, dtype=torch.float32))
    normal = np.stack(surface_normals(SHAPES["ball"], local, proportions))
    expected = (point - np.stack([0 * t, radius, 0 * t])[:, seen]) / radius[seen]
    np.testing.assert_allclose(normal, expected, atol=5e-3)


def test_a_ball_shades_what_is_behind_it() -> None:
    rays, _, stop = rays_at_ball(2000)
    start = torch.full_like(stop, 0.02)
    share = soft_visibility(SHAPES["ball"], rays, start, stop, steps=60, hardness=10.0).numpy()
    expected, _ = closed_form_of_ball(rays)
    assert share[np.isfinite(expected)].max() < 0.1
    assert share.min() == 0.0
    assert share.max() <= 1.0


def test_hash_is_spread_evenly_and_bell_noise_is_standard() -> None:
    bits = hash_bits(torch.arange(200_000), torch.tensor(12345))
    assert bits.min() >= 0
    assert bits.max() < 2**32
    shares = torch.stack([((bits >> i) & 1).double().mean() for i in range(32)])
    assert (shares - 0.5).abs().max() < 0.01
    noise = bell_noise(bits)
    assert abs(noise.mean().item()) < 0.01
    assert abs(noise.std().item() - 1.0) < 0.01
    assert abs(np.corrcoef(noise[1:].numpy(), noise[:-1].numpy())[0, 1]) < 0.01


def test_bytes_do_not_depend_on_batch_order_or_threads() -> None:
    # Forty of one class cross the renderer's own batches (16 images at 64 pixels).
    names = ["chair"] * 40 + list(TASK_IRRELEVANT[:5]) + ["lamp"] * 3
    numbers = [*range(40), 7, 7, 7, 7, 7, 0, 1, 2]
    whole = render(names, numbers, sensor="a", seed=5, size=64)
    order = np.random.default_rng(0).permutation(len(names)).tolist()

    def some(chosen: list[int]) -> Rendered:
        return render(
            [names[i] for i in chosen], [numbers[i] for i in chosen], sensor="a", seed=5, size=64
        )

    assert_same(some(order), whole, order)
    assert_same(some(list(range(33))), whole, list(range(33)))
    for single in (0, 17, 39, 42, 47):
        assert_same(some([single]), whole, [single])
    # One full batch: its 131,072 rays are more than torch leaves to a single thread.
    torch.set_num_threads(2)
    assert_same(some(list(range(16))), whole, list(range(16)))
    # The comparison is worth something: the images are neither empty nor alike.
    assert len({image.tobytes() for image in whole.rgb}) == len(names)
    assert len({image.tobytes() for image in whole.depth}) == len(names)


def test_every_argument_changes_the_image() -> None:
    first = render(["mug"], [0], sensor="a", seed=0, size=32)
    others = [
        render(["mug"], [1], sensor="a", seed=0, size=32),
        render(["vase"], [0], sensor="a", seed=0, size=32),
        render(["mug"], [0], sensor="b", seed=0, size=32),
        render(["mug"], [0], sensor="a", seed=1, size=32),
    ]
    for other in others:
        for a, b in zip(arrays(first), arrays(other), strict=True):
            assert (a != b).mean() > 0.5


def test_shapes_and_types_of_the_arrays(gallery: Rendered) -> None:
    assert gallery.rgb.shape == (240, 32, 32, 3)
    assert gallery.depth.shape == gallery.nir.shape == (240, 32, 32)
    kinds = [array.dtype.name for array in arrays(gallery)]
    assert kinds == ["uint8", "uint16", "uint8"]
    assert render([], [], sensor="a", seed=0, size=32).rgb.shape == (0, 32, 32, 3)


def test_task_relevant_and_irrelevant_classes_share_nothing() -> None:
    assert len(TASK_RELEVANT) == 6
    assert len(TASK_IRRELEVANT) >= 6
    assert not set(TASK_RELEVANT) & set(TASK_IRRELEVANT)
    assert set(SHAPES) == {*TASK_RELEVANT, *TASK_IRRELEVANT}


def test_infrared_is_neither_grey_nor_depth(gallery: Rendered) -> None:
    grey = gallery.rgb.astype(float) @ np.array([0.299, 0.587, 0.114])
    for other in (grey, gallery.depth.astype(float)):
        pairs = zip(gallery.nir, other, strict=True)
        correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
        assert np.mean(np.abs(correlation)) < 0.8
    assert gallery.nir.std(axis=(1, 2)).min() > 3.0


def test_depth_keeps_the_range_of_the_sensor(gallery: Rendered) -> None:
    read = gallery.depth[gallery.depth > 0]
    assert read.min() >= 300
    assert read.max() <= 6000
    assert 1000 < np.median(read) < 3500
    assert 0.001 < (gallery.depth == 0).mean() < 0.1


def with_sensor(monkeypatch: pytest.MonkeyPatch, **changes: float) -> NDArray[np.float64]:
    sensor = replace(SENSORS["a"], **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(scenes, "SENSORS", {"a": sensor})
    return render(["arch"] * 40, range(40), sensor="a", seed=3, size=32).depth.astype(float)


def test_depth_noise_grows_with_the_square_of_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = with_sensor(monkeypatch, depth_noise=0.0, depth_noise_growth=0.0)
    noisy = with_sensor(monkeypatch, depth_noise=2.0, depth_noise_growth=10.0)
    both = (clean > 0) & (noisy > 0)
    for near, far in ((600, 1200), (1200, 2000), (2000, 3000)):
        there = both & (clean > near) & (clean < far)
        expected = 2.0 + 10.0 * (clean[there] / 1000) ** 2
        assert there.sum() > 500
        assert np.std((noisy - clean)[there] / expected) == pytest.approx(1.0, abs=0.1)


def test_holes_spread_with_the_grazing_limit_and_lie_on_edges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = {"depth_noise": 0.0, "depth_noise_growth": 0.0}
    solid = with_sensor(monkeypatch, grazing_limit=0.0, edge_loss=0.0, **quiet)
    grazing = with_sensor(monkeypatch, grazing_limit=30.0, edge_loss=0.0, **quiet)
    edges = with_sensor(monkeypatch, grazing_limit=0.0, edge_loss=1.0, **quiet)
    assert (grazing == 0).mean() > (solid == 0).mean() + 0.03
    assert not ((solid == 0) & (grazing != 0)).any()
    # Where an edge swallowed the reading, neighbours are far apart in depth.
    lost = (edges == 0) & (solid > 0)
    assert lost.mean() > 0.005
    jump = np.maximum(np.abs(np.gradient(solid, axis=1)), np.abs(np.gradient(solid, axis=2)))
    assert np.median(jump[lost]) > 5 * np.median(jump[~lost])


def test_a_larger_image_shows_the_same_scene() -> None:
    small = render(["table"], [4], sensor="b", seed=0, size=32).rgb.astype(float)
    large = render(["table"], [4], sensor="b", seed=0, size=64).rgb.astype(float)
    shrunk = large.reshape(1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor": "c"}, r"Unknown sensor 'c'. Known: a, b."),
        ({"classes": ["mug", "dragon"]}, r"Unknown class 'dragon'. Known: arch, "),
        ({"numbers": [0]}, r"2 classes but 1 numbers. Give one number per class."),
        ({"size": 4}, r"Size 4 is too small. Give at least 8 pixels."),
    ],
)
def test_errors_name_the_value_and_the_way_out(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "classes": ["mug", "mug"], "numbers": [0, 1], "sensor": "a", "seed": 0, "size": 16,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        render(**(arguments | changes))  # type: ignore[arg-type]
