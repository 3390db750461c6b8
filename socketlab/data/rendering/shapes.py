"""Signed distances of the things that the built-in data set `scenes` shows.

Every thing stands on the floor: y points up, its lowest point has y = 0, and it fits in the
sphere of radius `BOUNDING_RADIUS` around (0, `BOUNDING_HEIGHT`, 0). Coordinates have no unit; a
scene scales them. A distance takes coordinates and three proportions in [0, 1], which make one
mug wider than the next, all of one shape, and is negative inside. It may be too small in
magnitude but never too large outside, which is what sphere tracing needs.

Only correctly rounded operations are used (+, -, *, square root, minimum, maximum): a distance
has the same bits wherever in a batch its point lies.
Source: Hart, "Sphere tracing", The Visual Computer 12, 1996.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

BOUNDING_HEIGHT = 0.65
BOUNDING_RADIUS = 1.15

Length = Tensor | float


def _norm(*parts: Tensor) -> Tensor:
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total = total + part * part
    return total.sqrt()


def _rectangle(a: Tensor, b: Tensor, half_a: Length, half_b: Length) -> Tensor:
    """Distance in a plane; with a = distance from an axis it is a cylinder."""
    over_a, over_b = a.abs() - half_a, b.abs() - half_b
    outside = _norm(over_a.clamp(min=0.0), over_b.clamp(min=0.0))
    return outside + torch.maximum(over_a, over_b).clamp(max=0.0)


def _box(x: Tensor, y: Tensor, z: Tensor, half: tuple[Length, Length, Length]) -> Tensor:
    over_x, over_y, over_z = x.abs() - half[0], y.abs() - half[1], z.abs() - half[2]
    outside = _norm(over_x.clamp(min=0.0), over_y.clamp(min=0.0), over_z.clamp(min=0.0))
    return outside + torch.maximum(torch.maximum(over_x, over_y), over_z).clamp(max=0.0)


def _slope(a: Tensor, y: Tensor, top: Length, narrowing: Tensor) -> Tensor:
    """Distance to the flank of a cone or pyramid: a + narrowing * (y - top) <= 0 is inside."""
    return (a + (y - top) * narrowing) * (1.0 / (narrowing * narrowing + 1.0).sqrt())


def _cylinder(x: Tensor, y: Tensor, z: Tensor, radius: Length, half_height: Length) -> Tensor:
    return _rectangle(_norm(x, z), y, radius, half_height)


def _torus(a: Tensor, b: Tensor, c: Tensor, radius: Length, tube: Length) -> Tensor:
    """A ring in the plane of a and b."""
    return _norm(_norm(a, b) - radius, c) - tube


def _legs(x: Tensor, y: Tensor, z: Tensor, at: tuple[Length, Length], height: Length) -> Tensor:
    """Four square legs at (+-at[0], +-at[1]), from the floor to `height`."""
    half = height * 0.5
    return _box(x.abs() - at[0], y - half, z.abs() - at[1], (0.045, half, 0.045))


def chair(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A square seat on four legs with a back."""
    width, seat, top = p * 0.1 + 0.36, q * 0.15 + 0.5, r * 0.25 + 1.1
    back_half = (top - seat) * 0.5
    back = _box(x, y - seat - back_half, z - width + 0.05, (width, back_half, 0.05))
    board = _box(x, y - seat, z, (width, 0.055, width))
    legs = _legs(x, y, z, (width - 0.05, width - 0.05), seat)
    return torch.minimum(torch.minimum(back, board), legs)


def table(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A rectangular top on four legs."""
    width, depth, height = p * 0.12 + 0.58, q * 0.22 + 0.38, r * 0.2 + 0.6
    board = _box(x, y - height, z, (width, 0.05, depth))
    return torch.minimum(board, _legs(x, y, z, (width - 0.09, depth - 0.09), height))


def stool(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A round seat on one column and a foot."""
    radius, height = p * 0.12 + 0.36, q * 0.2 + 0.72
    distance = _norm(x, z)
    seat = _rectangle(distance, y - height, radius, 0.07)
    column = _rectangle(distance, y - height * 0.5, 0.07, height * 0.5)
    foot = _rectangle(distance, y - 0.04, radius * 0.6 + r * 0.1, 0.04)
    return torch.minimum(torch.minimum(seat, column), foot)


def lamp(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A shade, wider below, on a pole and a foot."""
    height, rim, shade = p * 0.25 + 1.2, q * 0.12 + 0.4, r * 0.12 + 0.42
    distance = _norm(x, z)
    half = shade * 0.5
    flank = _slope(distance - rim, y, height - shade, rim * 0.55 / shade)
    cover = torch.maximum(flank, (y - height + half).abs() - half)
    pole = _rectangle(distance, y - 0.5, 0.045, 0.45)
    foot = _rectangle(distance, y - 0.05, 0.26, 0.05)
    return torch.minimum(torch.minimum(cover, pole), foot)


def mug(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A hollow cylinder with a handle."""
    radius, half, grip = p * 0.1 + 0.4, q * 0.15 + 0.42, r * 0.06 + 0.24
    distance = _norm(x, z)
    body = _rectangle(distance, y - half, radius, half)
    hollow = _rectangle(distance, y - half - 0.1, radius - 0.07, half)
    handle = _torus(x - radius, y - half, z, grip, 0.07)
    handle = torch.maximum(handle, radius - 0.03 - distance)
    return torch.minimum(torch.maximum(body, -hollow), handle)


def bottle(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A body, a shoulder and a neck, all round."""
    radius, body, neck = p * 0.1 + 0.27, q * 0.2 + 0.6, r * 0.05 + 0.1
    distance = _norm(x, z)
    belly = _rectangle(distance, y - body * 0.5, radius, body * 0.5)
    shoulder = torch.maximum(((distance - radius + y - body) * 0.7071), body - 0.001 - y)
    shoulder = torch.maximum(shoulder, y - body - radius)
    throat = _rectangle(distance, y - body - 0.25, neck, 0.3)
    return torch.minimum(torch.minimum(belly, shoulder), throat)


def vase(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A round belly on a foot with a flared lip."""
    radius, lip = p * 0.1 + 0.38, q * 0.15 + 0.2
    distance = _norm(x, z)
    belly = _norm(x, (y - 0.57) * 0.85, z) - radius
    throat = _rectangle(distance, y - 0.94, 0.14, 0.25 + r * 0.05)
    rim = torch.maximum(((distance - lip - (y - 1.24) * 0.8) * 0.78), (y - 1.16).abs() - 0.08)
    foot = _rectangle(distance, y - 0.06, 0.24, 0.06)
    return torch.minimum(torch.minimum(belly, throat), torch.minimum(rim, foot))


def shelf(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """An open case with two boards between bottom and top."""
    width, half, depth = p * 0.14 + 0.4, q * 0.1 + 0.55, r * 0.1 + 0.2
    case = _box(x, y - half, z, (width, half, depth))
    gap = (half * 2.0 - 0.06) * (1.0 / 3.0)
    offset = torch.where((y - half).abs() < gap * 0.5, y - half, (y - half).abs() - gap)
    hollow = _box(x, offset, z + 0.06, (width - 0.06, gap * 0.5 - 0.03, depth))
    return torch.maximum(case, -hollow)


def ball(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A sphere."""
    radius = p * 0.2 + 0.45
    return _norm(x, y - radius, z) - radius


def crate(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A box."""
    half = (p * 0.2 + 0.38, q * 0.2 + 0.35, r * 0.2 + 0.38)
    return _box(x, y - half[1], z, half)


def cone(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A cone with its tip up."""
    radius, height = p * 0.15 + 0.45, q * 0.3 + 1.0
    return torch.maximum(_slope(_norm(x, z), y, height, radius / height), -y)


def pyramid(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A pyramid with a square base."""
    half, height = p * 0.12 + 0.5, q * 0.3 + 0.8
    flank = _slope(torch.maximum(x.abs(), z.abs()), y, height, half / height)
    return torch.maximum(flank, -y)


def ring(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A torus that stands upright."""
    radius, tube = p * 0.12 + 0.42, q * 0.07 + 0.1
    return _torus(x, y - radius - tube, z, radius, tube)


def arch(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """A block with a round gateway."""
    width, half, gate = p * 0.1 + 0.55, q * 0.1 + 0.45, r * 0.08 + 0.28
    block = _box(x, y - half, z, (width, half, 0.25))
    gateway = torch.maximum(_norm(x, (y - half).clamp(min=0.0)) - gate, z.abs() - 0.4)
    return torch.maximum(block, -gateway)


def cross(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Three bars that meet at right angles."""
    long, thick = p * 0.12 + 0.52, q * 0.08 + 0.13
    up = y - long
    bars = torch.minimum(_box(x, up, z, (long, thick, thick)), _box(x, up, z, (thick, long, thick)))
    return torch.minimum(bars, _box(x, up, z, (thick, thick, long)))


def stairs(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Three steps."""
    width, rise = p * 0.2 + 0.35, q * 0.1 + 0.27
    low = _box(x, y - rise * 0.5, z, (width, rise * 0.5, 0.6))
    middle = _box(x, y - rise, z - 0.2, (width, rise, 0.4))
    high = _box(x, y - rise * 1.5, z - 0.4, (width, rise * 1.5, 0.2))
    return torch.minimum(torch.minimum(low, middle), high)


def mushroom(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Half a ball on a stem."""
    radius, height = p * 0.15 + 0.45, q * 0.2 + 0.5
    cap = torch.maximum(_norm(x, y - height, z) - radius, height - y)
    return torch.minimum(cap, _cylinder(x, y - height * 0.5, z, r * 0.08 + 0.14, height * 0.5))


def dumbbell(x: Tensor, y: Tensor, z: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Two balls on a bar that lies."""
    radius, apart = p * 0.08 + 0.27, q * 0.12 + 0.5
    up = y - radius
    balls = _norm(x.abs() - apart, up, z) - radius
    return torch.minimum(balls, _rectangle(_norm(up, z), x, r * 0.05 + 0.08, apart))


_ALL: tuple[Distance, ...] = (
    *(chair, table, stool, lamp, mug, bottle, vase, shelf, ball),
    *(crate, cone, pyramid, ring, arch, cross, stairs, mushroom, dumbbell),
)
SHAPES: Mapping[str, Distance] = MappingProxyType({shape.__name__: shape for shape in _ALL})
