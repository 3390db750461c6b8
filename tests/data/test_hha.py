"""HHA of scenes whose planes are known, against what geometry says by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data.domain_schema import Intrinsics
from socketlab.data.hha import at_size, gravity, height_above_ground, hha, rays, surface_normals
from socketlab.data.manifest import load_manifest
from socketlab.data.rendering.rooms import draw_room
from socketlab.data.rendering.scenes import SENSORS, TASK_RELEVANT, render

SIZE = 64
CAMERA = Intrinsics(fx=64, fy=64, cx=31.5, cy=31.5, width=SIZE, height=SIZE)
NEAREST, FARTHEST = 0.5, 8.0


def turned(tilt: float, roll: float = 0.0) -> tuple[Tensor, Tensor]:
    """Down and forward in the coordinates of a camera that looks down by `tilt`, both level."""
    t, r = math.radians(tilt), math.radians(roll)
    down = torch.tensor([math.sin(r) * math.cos(t), math.cos(r) * math.cos(t), math.sin(t)])
    ahead = torch.tensor([-math.sin(r) * math.sin(t), -math.cos(r) * math.sin(t), math.cos(t)])
    return down, ahead


def plane(normal: Tensor, metres: float, camera: Intrinsics = CAMERA) -> Tensor:
    """Depth [H, W] of the plane normal . P = metres, infinite where no ray meets it."""
    along = torch.einsum("c,chw->hw", normal, rays(camera))
    return torch.where(along > 1e-6, metres / along, torch.inf)


def stored(metres: Tensor) -> Tensor:
    """Whole millimetres [1, H, W], as a store has them."""
    return (metres * 1000).round().to(torch.int32).to(torch.uint16)[None]


def room(tilt: float, roll: float = 0.0, high: float = 1.2, wall: float = 3.0) -> Tensor:
    """Depth [H, W] of a floor `high` metres below the camera and a wall ahead of it."""
    down, ahead = turned(tilt, roll)
    return torch.minimum(plane(down, high), plane(ahead, wall))


def apart(floor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where a mask [H, W] is true and where it is not, two pixels away from the other."""
    near = [
        torch.nn.functional.max_pool2d(mask[None].float(), 5, 1, 2)[0] > 0
        for mask in (floor, ~floor)
    ]
    return (~near[1]).numpy(), (~near[0]).numpy()


def channels(depth: Tensor, camera: Intrinsics = CAMERA) -> np.ndarray:
    """[H, W, 3] as integers that can be subtracted."""
    return hha(depth, camera, NEAREST, FARTHEST)[0].numpy().astype(int)


def test_a_wall_two_metres_away() -> None:
    found = channels(stored(torch.full((SIZE, SIZE), 2.0)))
    assert found.shape == (SIZE, SIZE, 3)
    # (1/2 - 1/8) / (1/0.5 - 1/8) of 255, and 38 + 90 degrees
    assert set(found[..., 0].ravel()) == {51}
    assert set(found[..., 2].ravel()) == {128}
    # a row is 2 m / 64 high, and the lowest is the ground
    rows = np.arange(SIZE)
    by_hand = np.round((SIZE - 1 - rows) * 2 / 64 * 100)
    assert np.abs(found[..., 1] - by_hand[:, None]).max() <= 1
    assert np.ptp(found[..., 1], axis=1).max() == 0


def test_nearness_ends_at_the_range() -> None:
    frame = torch.full((SIZE, SIZE), 2.0)
    frame[:, :16], frame[:, 16:32], frame[:, 32:48] = 0.25, 0.5, 8.0
    frame[:, 48:] = 20.0
    assert channels(stored(frame))[5, ::16, 0].tolist() == [255, 255, 0, 0]


def test_height_ends_at_two_metres_and_a_half() -> None:
    frame = torch.full((SIZE, SIZE), 6.0)  # 9 cm a row, so that the upper rows are 5.9 m high
    found = channels(stored(frame))[..., 1]
    assert found[0, 0] == 255 and found[SIZE - 1, 0] == 0 and found[SIZE - 11, 0] == 94


@pytest.mark.parametrize(("tilt", "roll"), [(0, 0), (15, 0), (30, 8), (5, -12)])
def test_floor_and_wall_of_a_tilted_camera(tilt: float, roll: float) -> None:
    depth = room(tilt, roll)
    down, ahead = turned(tilt, roll)
    metres = stored(depth).to(torch.float32) / 1000
    estimated = gravity(surface_normals(metres, CAMERA, 1))[0]
    assert math.degrees(math.acos(min(1.0, float(estimated @ down)))) < 0.3

    found = channels(stored(depth))
    floor, wall = apart(plane(down, 1.2) < plane(ahead, 3.0))
    assert floor.sum() > 200 and wall.sum() > 200
    assert np.abs(found[floor][:, 2] - 38).max() <= 3
    assert np.abs(found[wall][:, 2] - 128).max() <= 3
    assert found[floor][:, 1].max() <= 2
    above = 1.2 - torch.einsum("c,chw->hw", down, rays(CAMERA)) * depth
    by_hand = (100 * above.numpy()).clip(0, 255)
    assert np.abs(found[wall][:, 1] - by_hand[wall]).max() <= 2


def test_a_pit_is_no_lower_than_the_ground() -> None:
    metres = torch.full((1, SIZE, SIZE), 2.0)
    metres[0, SIZE - 1, :5] = 6.0  # fewer than a hundredth, 12 cm deeper than the row's others
    height = height_above_ground(metres, CAMERA, torch.tensor([[0.0, 1.0, 0.0]]))[0]
    assert float(height.min()) == 0.0 == float(height[SIZE - 1, 2])
    assert float(height[SIZE - 2, 30]) == pytest.approx(2 / 64, abs=1e-4)


def test_a_ceiling_turns_the_other_way() -> None:
    found = channels(stored(torch.minimum(plane(torch.tensor([0.0, -1.0, 0.0]), 1.0), room(0))))
    assert abs(found[3, 32, 2] - 218) <= 1  # 38 + 180
    assert abs(found[3, 32, 1] - 220) <= 1  # 1 m above the camera, which is 1.2 m above the floor


def test_each_axis_has_its_own_factor() -> None:
    camera = Intrinsics(fx=500, fy=520, cx=319.5, cy=200, width=640, height=480)
    small = at_size(camera, 64)
    assert (small.width, small.height) == (64, 64)
    assert small.fx == pytest.approx(50) and small.fy == pytest.approx(520 * 64 / 480)
    # the middle of the frame stays the middle: pixel x reaches from x - 1/2 to x + 1/2
    assert small.cx == pytest.approx(31.5)
    assert small.cy == pytest.approx(200.5 * 64 / 480 - 0.5)


def test_a_frame_that_was_squeezed_keeps_its_angles() -> None:
    wide = Intrinsics(fx=80, fy=80, cx=63.5, cy=31.5, width=128, height=64)
    down, ahead = turned(20)
    sideways = torch.tensor([math.sin(0.6), 0.0, 0.0]) + ahead * math.cos(0.6)
    whole = torch.minimum(plane(down, 1.0, wide), plane(sideways, 2.5, wide))
    squeezed = at_size(wide, 64)
    small = torch.minimum(plane(down, 1.0, squeezed), plane(sideways, 2.5, squeezed))
    # the same scene through both: only then do the two cameras see the same rays
    assert torch.allclose(whole[:, ::2], small, rtol=0.02)
    found = channels(stored(small), squeezed)
    floor, wall = apart(plane(down, 1.0, squeezed) < plane(sideways, 2.5, squeezed))
    assert np.abs(found[floor][:, 2] - 38).max() <= 3 and floor.sum() > 200
    assert np.abs(found[wall][:, 2] - 128).max() <= 3 and wall.sum() > 200
    with pytest.raises(ValueError, match=r"takes frames of 128 x 64 pixels, found depth \[1, 64"):
        hha(stored(small), wide, NEAREST, FARTHEST)


def test_no_reading_is_black() -> None:
    depth = stored(room(15))
    depth[0, 10:20, 30:40] = 0
    found = channels(depth)
    assert not found[10:20, 30:40].any()
    assert (found[20:, :, 0] > 0).all() and (found[..., 2] > 0).sum() == SIZE**2 - 100
    whole = channels(stored(room(15)))
    # the hole is left out of the windows beside it, not taken for something near
    assert np.abs(found[8, 28:42, 2] - whole[8, 28:42, 2]).max() <= 2


def test_a_reading_that_stands_alone_has_no_angle() -> None:
    depth = torch.zeros(1, SIZE, SIZE, dtype=torch.uint16)
    depth[0, 5, 5] = 1000
    depth[0, 30, 10:14] = 1000  # nor have neighbours on one line
    found = channels(depth)
    assert found[5, 5].tolist()[0] == 119 and found[5, 5, 2] == 0
    assert not found[30, 10:14, 2].any()
    depth[0, 31, 12] = 1000
    assert channels(depth)[30, 12, 2] == 128


def test_nothing_at_all() -> None:
    empty = torch.zeros(2, SIZE, SIZE, dtype=torch.uint16)
    assert not hha(empty, CAMERA, NEAREST, FARTHEST).any()
    assert not height_above_ground(empty.float(), CAMERA, torch.tensor([[0.0, 1.0, 0.0]] * 2)).any()


def test_one_wall_leaves_gravity_where_it_was() -> None:
    normals = surface_normals(torch.full((1, SIZE, SIZE), 2.0), CAMERA, 1)
    torch.testing.assert_close(normals[0, :, 5, 5], torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(gravity(normals), torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize(("size", "radius"), [(64, 1), (320, 2)])
def test_the_window_grows_with_the_frame(size: int, radius: int) -> None:
    frame = torch.full((size, size), 2.0)
    frame[size // 2, size // 2] = 1.9
    changed = channels(stored(frame), at_size(CAMERA, size))[..., 2] != 128
    rows = np.flatnonzero(changed.any(axis=1))
    assert rows.min() == size // 2 - radius and rows.max() == size // 2 + radius


def test_an_image_is_the_same_alone_and_among_others() -> None:
    frames = torch.cat([stored(room(tilt)) for tilt in (0, 10, 20)])
    together = hha(frames, CAMERA, NEAREST, FARTHEST).to(torch.int32)
    for index in range(3):
        alone = hha(frames[index : index + 1], CAMERA, NEAREST, FARTHEST).to(torch.int32)
        assert int((alone[0] - together[index]).abs().max()) <= 1


@pytest.mark.parametrize("sensor", ["a", "b"])
def test_the_built_in_data_says_what_camera_it_has(sensor: str) -> None:
    camera = load_manifest("scenes").domain(f"{sensor}/depth").intrinsics
    assert camera is not None
    half = math.radians(SENSORS[sensor].field_of_view / 2)
    assert camera.fx == camera.fy == pytest.approx(camera.height / 2 / math.tan(half), rel=1e-5)
    assert camera.cx == camera.cy == (camera.width - 1) / 2

    classes, numbers = [*TASK_RELEVANT] * 3, [0] * 6 + [1] * 6 + [2] * 6
    depth = render(classes, numbers, sensor=sensor, seed=0, size=64).depth
    metres = torch.from_numpy(depth.astype(np.float32)) / 1000
    found = gravity(surface_normals(metres, at_size(camera, 64), 1))
    degrees = []
    for name, number, direction in zip(classes, numbers, found, strict=True):
        _, sin_tilt, cos_tilt, sin_roll, cos_roll = draw_room(name, number, sensor, 0).camera
        # the renderer's v points up, and ours down
        down = torch.tensor([-sin_roll * cos_tilt, cos_roll * cos_tilt, sin_tilt])
        degrees.append(math.degrees(math.acos(min(1.0, float(direction @ down)))))
    assert float(np.median(degrees)) < 1.0
