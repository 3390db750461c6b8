"""HHA: depth as horizontal disparity, height above ground and angle of the surface with gravity.

    channel  unit                                 uint8
    red      share of the range's disparities     0 (farthest) to 255 (nearest)
    green    centimetres above the lowest point   0 to 255, higher things 255
    blue     degrees to gravity, plus 38          38 (floor), 128 (wall), 218 (ceiling)

All three are 0 where there is no reading, blue also where too few neighbours have one.

Source: Gupta, Girshick, Arbelaez, Malik, Learning Rich Features from RGB-D Images for Object
Detection and Segmentation, ECCV 2014 (arXiv 1407.5736); gravity as in Gupta, Arbelaez, Malik,
CVPR 2013. Ours: disparity is scaled from the range of the domain and not fixed for a Kinect; the
windows are as wide a part of the frame as theirs, not as many pixels; the ground is the lowest
hundredth and not the one lowest pixel, and is not put 1.3 m below a camera that sees none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from socketlab.data.domain_schema import Intrinsics

FRAME_HEIGHT = 480
"""Rows of the frames that the two radii below are of."""
SURFACE_RADIUS, GRAVITY_RADIUS = 3, 10
ALIGNMENT = ((45.0, 5), (15.0, 5))
"""Degrees within which a surface counts as floor or wall, and how often gravity is found anew."""
PULL = 1e-3
"""Weight of the last direction: a single wall leaves every direction in it equally likely."""
GROUND_SHARE = 0.01
ANGLE_OFFSET = 38.0
CENTIMETRES_PER_METRE = 100.0
MILLIMETRES_PER_METRE = 1000.0


def at_size(camera: Intrinsics, size: int) -> Intrinsics:
    """The camera of frames that were resized to `size` x `size`, each axis by its own factor.

    Pixel x is the square around x, so f' = f s and c' = (c + 1/2) s - 1/2 with s = size / width.
    """
    across, down = size / camera.width, size / camera.height
    return Intrinsics(
        fx=camera.fx * across,
        fy=camera.fy * down,
        cx=(camera.cx + 0.5) * across - 0.5,
        cy=(camera.cy + 0.5) * down - 0.5,
        width=size,
        height=size,
    )


def hha(depth: Tensor, camera: Intrinsics, nearest: float, farthest: float) -> Tensor:
    """The three channels of depth images, as the table above says.

    Args:
        depth: millimetres [B, H, W], any number type; 0 where there is no reading.
        camera: of these frames, see `at_size`.
        nearest, farthest: metres that become red 255 and red 0; 0 < nearest < farthest.

    Returns:
        uint8 [B, H, W, 3] on the device of `depth`.

    Raises:
        ValueError: for frames of another size than the camera's.
    """
    if tuple(depth.shape[1:]) != (camera.height, camera.width):
        raise ValueError(
            f"The camera takes frames of {camera.width} x {camera.height} pixels, found depth "
            f"{list(depth.shape)}. Bring the camera to their size (at_size)."
        )
    metres = depth.to(torch.float32) / MILLIMETRES_PER_METRE
    down = gravity(surface_normals(metres, camera, _radius(GRAVITY_RADIUS, camera)))
    normals = surface_normals(metres, camera, _radius(SURFACE_RADIUS, camera))
    disparity = (1 / metres - 1 / farthest) / (1 / nearest - 1 / farthest)
    height = height_above_ground(metres, camera, down)
    cosine = torch.einsum("bchw,bc->bhw", normals, down).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine)) + ANGLE_OFFSET
    angle = angle.masked_fill((normals == 0).all(1), 0.0)
    channels = [disparity * 255, height * CENTIMETRES_PER_METRE, angle]
    found = torch.stack(channels, dim=-1).masked_fill((metres == 0)[..., None], 0.0)
    return found.round().clamp(0, 255).to(torch.uint8)


def rays(camera: Intrinsics, device: torch.device | str = "cpu") -> Tensor:
    """(u, v, 1) of each pixel, [3, H, W]: x right, y down, z forward; a point is depth times it."""
    x = (torch.arange(camera.width, device=device, dtype=torch.float32) - camera.cx) / camera.fx
    y = (torch.arange(camera.height, device=device, dtype=torch.float32) - camera.cy) / camera.fy
    v, u = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([u, v, torch.ones_like(u)])


def surface_normals(metres: Tensor, camera: Intrinsics, radius: int) -> Tensor:
    """Unit normals of the planes through the readings around each pixel.

    A plane n . P = 1 has 1/z = n . (u, v, 1): linear in the pixel's place, so that least squares
    over a window needs nothing but sums. Pixels without a reading, or with fewer than three
    neighbours off one line, have the normal 0.

    Args:
        metres: depth [B, H, W], 0 where there is no reading.
        camera: of these frames.
        radius: the window has 2 radius + 1 pixels a side.

    Returns:
        [B, 3, H, W], pointing away from the camera: (0, 1, 0) is the floor below a level one.
    """
    valid = metres > 0
    n, si, sii, sj, sij, sjj = _moments(valid.float(), radius)
    q, qi, _, qj, _, _ = _moments(torch.where(valid, 1 / metres, 0.0), radius)
    n = n.clamp_min(1)
    cjj, cii, cij = sjj - sj * sj / n, sii - si * si / n, sij - si * sj / n
    dj, di = qj - sj * q / n, qi - si * q / n
    determinant = cjj * cii - cij * cij
    # three neighbours in an angle have 1/3, any number of them on a line 0
    solvable = valid & (determinant > 0.1)
    determinant = torch.where(solvable, determinant, 1.0)
    slope_x = (dj * cii - di * cij) / determinant
    slope_y = (di * cjj - dj * cij) / determinant
    here = (q - slope_x * sj - slope_y * si) / n
    u, v, _ = rays(camera, metres.device)
    a, b = slope_x * camera.fx, slope_y * camera.fy
    c = here - a * u - b * v
    # not torch's norm, which takes ten times as long along this axis
    scale = torch.where(solvable, (a * a + b * b + c * c).clamp_min(1e-24).rsqrt(), 0.0)
    return torch.stack([a * scale, b * scale, c * scale], dim=1)


def gravity(normals: Tensor) -> Tensor:
    """The direction that floors face and walls are across to, [B, 3], from normals [B, 3, H, W].

    Starting downwards in the picture, with t = 45 and then 15 degrees, five times each: normals
    within t of the direction (or its opposite) are floors F, those within t of a right angle to it
    walls W; the new direction is the eigenvector of sum_W n n' - sum_F n n' with the smallest
    eigenvalue, which minimises sum_W cos^2 + sum_F sin^2.
    """
    every = normals.flatten(2)
    start = torch.tensor([0.0, 1.0, 0.0], device=normals.device)
    direction = start.expand(len(normals), 3)
    for degrees, times in ALIGNMENT:
        along, across = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for _ in range(times):
            cosine = torch.einsum("bc,bcp->bp", direction, every).abs()
            sign = (cosine < across).float() - (cosine > along).float()
            scatter = torch.einsum("bcp,bdp->bcd", every * sign[:, None], every)
            outer = direction[:, :, None] * direction[:, None, :]
            vectors = torch.linalg.eigh(scatter - PULL * every.shape[2] * outer).eigenvectors
            found = vectors[:, :, 0]
            same = (found * direction).sum(1, keepdim=True) >= 0
            direction = torch.where(same, found, -found)
    return direction


def height_above_ground(metres: Tensor, camera: Intrinsics, down: Tensor) -> Tensor:
    """Metres [B, H, W] above the lowest hundredth of the readings, along gravity `down` [B, 3].

    Below it 0; a pixel without a reading has 0.
    """
    along = torch.einsum("bc,chw->bhw", down, rays(camera, metres.device))
    height = torch.where(metres > 0, -along * metres, torch.nan)
    ground = torch.nanquantile(height.flatten(1), GROUND_SHARE, dim=1)
    return (height - ground[:, None, None]).clamp_min(0).nan_to_num(0.0)


def _radius(radius: int, camera: Intrinsics) -> int:
    """As large a part of the frame as `radius` is of `FRAME_HEIGHT` rows; 1 at least."""
    return max(1, round(radius * camera.height / FRAME_HEIGHT))


def _moments(values: Tensor, radius: int) -> tuple[Tensor, ...]:
    """Sums of v, v i, v i^2, v j, v i j, v j^2 over the window around each pixel, [B, H, W] each.

    i counts rows and j columns from the pixel; beyond the frame there is nothing.
    """
    count, height, width = values.shape
    offset = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    powers = torch.stack([torch.ones_like(offset), offset, offset * offset])
    by_rows = conv2d(values[:, None], powers[:, None, :, None], padding=(radius, 0))
    by_rows = by_rows.reshape(-1, 1, height, width)
    both = conv2d(by_rows, powers[:, None, None, :], padding=(0, radius))
    of = both.reshape(count, 3, 3, height, width)
    return of[:, 0, 0], of[:, 1, 0], of[:, 2, 0], of[:, 0, 1], of[:, 1, 1], of[:, 0, 2]
