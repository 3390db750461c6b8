"""Rays, sphere tracing, soft shadows and counter-based noise, batched over rays in torch.

Everything is elementwise and correctly rounded (no reduction, matrix product, power or sine), so
that the result of a ray does not depend on which other rays are traced with it. Integer noise is
a hash of a counter, hence needs no generator state.
Sources: Hart, "Sphere tracing", The Visual Computer 12, 1996; Wellons, "Hash function
prospector", 2018 (the constants of `hash_bits`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from socketlab.data.rendering.shapes import BOUNDING_HEIGHT, BOUNDING_RADIUS, Distance

_LOW_32_BITS = 0xFFFFFFFF
_COMPACTION_INTERVAL = 3

SAMPLE_OFFSETS = ((0.25, 0.3), (0.75, 0.7))
"""Where in a pixel (across, down) its two rays pass."""


class Vectors(NamedTuple):
    """Three coordinates, one tensor each: elementwise code never needs a last axis."""

    x: Tensor
    y: Tensor
    z: Tensor


class Bundle(NamedTuple):
    """Rays in the coordinates of a shape: origins, unit directions [M], proportions [M]."""

    origin: Vectors
    direction: Vectors
    proportions: Vectors


def dot(a: Vectors, b: Vectors) -> Tensor:
    """Scalar product per element."""
    return a.x * b.x + a.y * b.y + a.z * b.z


def normalise(a: Vectors) -> Vectors:
    """Vectors of length one."""
    inverse = 1.0 / dot(a, a).sqrt()
    return Vectors(a.x * inverse, a.y * inverse, a.z * inverse)


def along(origin: Vectors, direction: Vectors, distance: Tensor) -> Vectors:
    """origin + distance * direction."""
    return Vectors(
        origin.x + direction.x * distance,
        origin.y + direction.y * distance,
        origin.z + direction.z * distance,
    )


class Pose(NamedTuple):
    """Where a shape stands, per image: its foot, metres per unit, and the world-to-shape rows."""

    place: Vectors
    scale: Tensor
    rows: tuple[Vectors, Vectors, Vectors]

    def turn(self, world: Vectors) -> Vectors:
        """A direction of the world in the coordinates of the shape."""
        return Vectors(*(dot(row, world) for row in self.rows))

    def move(self, world: Vectors) -> Vectors:
        """A point of the world in the coordinates of the shape."""
        inverse = 1.0 / self.scale
        offset = Vectors(*(w - p for w, p in zip(world, self.place, strict=True)))
        return Vectors(*(part * inverse for part in self.turn(offset)))

    def turn_back(self, local: Vectors) -> Vectors:
        """A direction of the shape in the coordinates of the world."""
        a, b, c = self.rows
        return Vectors(
            a.x * local.x + b.x * local.y + c.x * local.z,
            a.y * local.x + b.y * local.y + c.y * local.z,
            a.z * local.x + b.z * local.y + c.z * local.z,
        )


def pinhole(
    tilt: tuple[Tensor, Tensor], roll: tuple[Tensor, Tensor], half_height: float, size: int
) -> tuple[Vectors, Tensor]:
    """Rays of cameras that look along +z, turned down by `tilt` and about the axis by `roll`.

    Args:
        tilt, roll: sine and cosine, [n, 1] each.
        half_height: tangent of half the field of view.
        size: pixels along a side.

    Returns:
        Unit directions [n, 2 * size * size], first the first sample of every pixel and then the
        second, and their cosine to the optical axis [1, 2 * size * size].
    """
    (sin_tilt, cos_tilt), (sin_roll, cos_roll) = tilt, roll
    pixels = torch.arange(size, device=sin_tilt.device, dtype=torch.float32)
    steps = 2.0 * half_height / size
    x = [(pixels + across) * steps - half_height for across, _ in SAMPLE_OFFSETS]
    y = [half_height - (pixels + down) * steps for _, down in SAMPLE_OFFSETS]
    u = torch.cat([column.repeat(size) for column in x])[None]
    v = torch.cat([row.repeat_interleave(size) for row in y])[None]
    cosine = 1.0 / (u * u + v * v + 1.0).sqrt()
    up = u * sin_roll + v * cos_roll
    direction = Vectors(
        (u * cos_roll - v * sin_roll) * cosine,
        (up * cos_tilt - sin_tilt) * cosine,
        (up * sin_tilt + cos_tilt) * cosine,
    )
    return direction, cosine


def enter_bounding_sphere(origin: Vectors, direction: Vectors) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the sphere that holds every shape.

    Solves |o + t d - c|^2 = r^2 for unit d. Returns entry (at least 0) and exit, in the unit of
    the origin; a ray that misses has exit = -1.
    """
    up = origin.y - BOUNDING_HEIGHT
    half = origin.x * direction.x + up * direction.y + origin.z * direction.z
    rest = origin.x * origin.x + up * up + origin.z * origin.z - BOUNDING_RADIUS * BOUNDING_RADIUS
    discriminant = half * half - rest
    root = discriminant.clamp(min=0.0).sqrt()
    leave = torch.where(discriminant > 0.0, root - half, torch.full_like(root, -1.0))
    return (-half - root).clamp(min=0.0), leave


def trace(
    distance: Distance, rays: Bundle, start: Tensor, stop: Tensor, *, steps: int, tolerance: float
) -> Tensor:
    """Sphere tracing: t <- t + distance(o + t d) until the distance is below the tolerance.

    Args:
        distance: signed distance of the shape.
        rays: M rays in the coordinates of the shape.
        start, stop: [M] first and last t of each ray.
        steps: most distance evaluations per ray.
        tolerance: distance that counts as a hit.

    Returns:
        [M] t of the hit, infinity for rays that miss.
    """
    result = torch.full_like(start, float("inf"))
    index = torch.arange(start.shape[0], device=start.device)
    state = torch.stack((*rays.origin, *rays.direction, *rays.proportions, stop))
    t = start
    for step in range(1, steps + 1):
        ox, oy, oz, dx, dy, dz, p, q, r, last = state.unbind(0)
        gap = distance(ox + dx * t, oy + dy * t, oz + dz * t, p, q, r)
        # Frozen once hit or past, so that removing finished rays sooner or later changes nothing.
        hit = (gap < tolerance) & (t < last)
        t = torch.where(hit, t, t + gap)
        if step % _COMPACTION_INTERVAL and step < steps:
            continue
        result[index[hit]] = t[hit]
        keep = (~hit & (t < last)).nonzero().squeeze(1)
        if keep.shape[0] == 0:
            break
        index, state, t = index[keep], state.index_select(1, keep), t[keep]
    return result


def surface_normals(distance: Distance, points: Vectors, proportions: Vectors) -> Vectors:
    """Unit normals: the gradient of the distance from four points of a tetrahedron."""
    x, y, z = points
    h = 0.004
    a = distance(x + h, y - h, z - h, *proportions)
    b = distance(x - h, y - h, z + h, *proportions)
    c = distance(x - h, y + h, z - h, *proportions)
    d = distance(x + h, y + h, z + h, *proportions)
    # The tiny offset keeps a vanishing gradient (the middle of a sphere) from dividing by zero.
    return normalise(Vectors(a - b - c + d + 1e-12, c - a - b + d, b - a - c + d))


def soft_visibility(
    distance: Distance, rays: Bundle, start: Tensor, stop: Tensor, *, steps: int, hardness: float
) -> Tensor:
    """Share of a light that reaches a point: min over the ray of hardness * distance / t.

    Args as in `trace`; `hardness` is the inverse of the light's angular size.

    Returns:
        [M] in [0, 1]; 0 in full shadow.
    """
    result = torch.ones_like(start)
    index = torch.arange(start.shape[0], device=start.device)
    state = torch.stack((*rays.origin, *rays.direction, *rays.proportions, stop))
    t, light = start, result.clone()
    for step in range(1, steps + 1):
        ox, oy, oz, dx, dy, dz, p, q, r, last = state.unbind(0)
        gap = distance(ox + dx * t, oy + dy * t, oz + dz * t, p, q, r)
        # A point that has left the sphere is past the shape: its distance says nothing any more.
        light = torch.where(t < last, torch.minimum(light, gap * hardness / t), light)
        t = t + gap.clamp(min=0.03)
        if step % _COMPACTION_INTERVAL and step < steps:
            continue
        result[index] = light.clamp(min=0.0)
        keep = ((light > 0.0) & (t < last)).nonzero().squeeze(1)
        if keep.shape[0] == 0:
            break
        index, state, t, light = index[keep], state.index_select(1, keep), t[keep], light[keep]
    return result


def hash_bits(counter: Tensor, key: Tensor) -> Tensor:
    """A 32-bit hash of each counter under a key.

    Args:
        counter, key: int64, broadcastable, in [0, 2^32).

    Returns:
        int64 in [0, 2^32). The multipliers are below 2^31, so that no product overflows.
    """
    value = counter ^ key
    for shift, multiplier in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        value = value ^ (value >> shift)
        value = (value * multiplier) & _LOW_32_BITS
    return value ^ (value >> 15)


def bell_noise(bits: Tensor) -> Tensor:
    """Nearly Gaussian noise of mean 0 and deviation 1 from 32 random bits.

    The sum of the four bytes (Irwin-Hall), which is exact in float32; range +-3.45.
    """
    total = (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24)
    return (total - 510).to(torch.float32) * (1.0 / 147.8)
