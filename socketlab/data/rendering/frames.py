"""What each ray of a camera meets in the rooms of `scenes`: the backdrop, the thing, its shadow."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from socketlab.data.rendering.raymarch import (
    Bundle,
    Pose,
    Vectors,
    along,
    dot,
    enter_bounding_sphere,
    soft_visibility,
    surface_normals,
    trace,
)
from socketlab.data.rendering.rooms import Room
from socketlab.data.rendering.shapes import SHAPES


def columns(rows: Sequence[tuple[float, ...]], device: torch.device) -> tuple[Tensor, ...]:
    """One [n, 1] tensor per entry of the tuples."""
    return torch.tensor(rows, dtype=torch.float32).t().contiguous()[..., None].to(device).unbind(0)


def _pose(scenes: Sequence[Room], device: torch.device) -> Pose:
    x, z, scale = columns([s.place for s in scenes], device)
    a, b, c, d, e, f, g, h, i = columns([s.rotation for s in scenes], device)
    rows = Vectors(a, b, c), Vectors(d, e, f), Vectors(g, h, i)
    return Pose(Vectors(x, torch.zeros_like(x), z), scale, rows)


def _gather(
    origin: Vectors,
    direction: Vectors,
    proportions: tuple[Tensor, ...],
    ray: Tensor,
    per_image: int,
) -> Bundle:
    """The rays at flat indices, one after the other."""
    image = ray // per_image
    pick = [_pick(part, ray, image) for part in (*origin, *direction, *proportions)]
    return Bundle(Vectors(*pick[:3]), Vectors(*pick[3:6]), Vectors(*pick[6:]))


def _odd(a: Tensor, b: Tensor) -> Tensor:
    """Whether floor(a) + floor(b) is odd: the squares of a chessboard."""
    half = (a.floor() + b.floor()) * 0.5
    return half != half.floor()


@dataclass(frozen=True)
class Frame:
    """What each of [n, M] rays met: metres to it, its normal, colour, reflectance and gloss."""

    distance: Tensor
    normal: Vectors
    colour: Vectors
    nir: Tensor
    gloss: Tensor


def see_backdrop(scenes: Sequence[Room], origin: Vectors, direction: Vectors) -> Frame:
    device = direction.x.device
    wall_x, wall_z, wall_distance = columns([s.wall for s in scenes], device)
    to_wall = wall_distance / (direction.x * wall_x + direction.z * wall_z).clamp(min=1e-3)
    to_floor = origin.y / (-direction.y).clamp(min=1e-4)
    on_wall = to_wall < to_floor
    distance = torch.minimum(to_wall, to_floor)
    point = along(origin, direction, distance)
    both = columns([s.backdrop for s in scenes], device)
    floor, wall = both[:12], both[12:]
    f1, o1, f2, o2 = (torch.where(on_wall, b, a) for a, b in zip(floor[8:], wall[8:], strict=True))
    first = torch.where(on_wall, point.x * wall_z - point.z * wall_x, point.x)
    second = torch.where(on_wall, point.y, point.z)
    odd = _odd(first * f1 + o1, second * f2 + o2)
    red, green, blue, nir = (
        torch.where(
            on_wall, torch.where(odd, wall[j], wall[i]), torch.where(odd, floor[j], floor[i])
        )
        for i, j in ((0, 3), (1, 4), (2, 5), (6, 7))
    )
    # A skirting board: darker, at the foot of the wall.
    board = torch.where(on_wall & (point.y < 0.07), 0.6, 1.0)
    zero = torch.zeros_like(distance)
    normal = Vectors(
        torch.where(on_wall, -wall_x, zero),
        torch.where(on_wall, zero, 1.0),
        torch.where(on_wall, -wall_z, zero),
    )
    colour = Vectors(red * board, green * board, blue * board)
    return Frame(distance, normal, colour, nir, zero)


def _pick(values: Tensor, ray: Tensor, image: Tensor) -> Tensor:
    """Values [n, M] at flat ray indices, or values [n, 1] at the rays' images."""
    return values.reshape(-1)[image if values.shape[1] == 1 else ray]


def see_thing(
    scenes: Sequence[Room], shape: str, frame: Frame, origin: Vectors, direction: Vectors
) -> Frame:
    """The frame with the thing in front of the backdrop."""
    device, whole, distance = direction.x.device, frame.distance.shape, SHAPES[shape]
    pose, proportions = _pose(scenes, device), columns([s.proportions for s in scenes], device)
    here, there = pose.move(origin), pose.turn(direction)
    start, stop = enter_bounding_sphere(here, there)
    ray = (stop > start).reshape(-1).nonzero().squeeze(1)
    rays = _gather(here, there, proportions, ray, whole[1])
    start, stop = start.reshape(-1)[ray], stop.reshape(-1)[ray]
    t = trace(distance, rays, start, stop, steps=36, tolerance=0.004)
    metres = t * pose.scale.reshape(-1)[ray // whole[1]]
    seen = (metres < frame.distance.reshape(-1)[ray]).nonzero().squeeze(1)
    ray, t, metres = ray[seen], t[seen], metres[seen]
    image = ray // whole[1]
    rays = Bundle(*(Vectors(*(part[seen] for part in vectors)) for vectors in rays))
    point = along(rays.origin, rays.direction, t)

    def of_rays(rows: Sequence[tuple[float, ...]]) -> list[Tensor]:
        return [_pick(column, ray, image) for column in columns(rows, device)]

    def put(old: Tensor, new: Tensor) -> Tensor:
        return old.expand(whole).reshape(-1).index_copy(0, ray, new).reshape(whole)

    def put_all(old: Vectors, new: Vectors) -> Vectors:
        return Vectors(*(put(a, b) for a, b in zip(old, new, strict=True)))

    p = of_rays([s.thing for s in scenes])
    odd = _odd(
        point.x * p[8] + point.y * p[9] + point.z * p[10] + p[11],
        point.x * p[12] + point.y * p[13] + point.z * p[14] + p[15],
    )
    red, green, blue, nir = (
        torch.where(odd, p[j], p[i]) for i, j in ((0, 3), (1, 4), (2, 5), (6, 7))
    )
    local = surface_normals(distance, point, rays.proportions)
    x, y, z = (Vectors(*(_pick(part, ray, image) for part in row)) for row in pose.rows)
    normal = pose._replace(rows=(x, y, z)).turn_back(local)
    return Frame(
        distance=put(frame.distance, metres),
        normal=put_all(frame.normal, normal),
        colour=put_all(frame.colour, Vectors(red, green, blue)),
        nir=put(frame.nir, nir),
        gloss=put(frame.gloss, of_rays([s.light[5:] for s in scenes])[0]),
    )


def light_share(
    scenes: Sequence[Room], shape: str, frame: Frame, point: Vectors, light: Vectors
) -> Tensor:
    """Share of the light that the thing lets through to each point of the frame, [n, M]."""
    device, whole = point.x.device, frame.distance.shape
    pose, proportions = _pose(scenes, device), columns([s.proportions for s in scenes], device)
    # From a little above the surface, which would otherwise shade itself.
    here = pose.move(along(point, frame.normal, pose.scale * 0.02))
    there = pose.turn(light)
    start, stop = enter_bounding_sphere(here, there)
    lit = dot(frame.normal, light) > 0.0
    ray = ((stop > start) & lit).reshape(-1).nonzero().squeeze(1)
    start, stop = start.reshape(-1)[ray].clamp(min=0.02), stop.reshape(-1)[ray]
    rays = _gather(here, there, proportions, ray, whole[1])
    share = soft_visibility(SHAPES[shape], rays, start, stop, steps=18, hardness=10.0)
    return torch.ones_like(frame.distance).reshape(-1).index_copy(0, ray, share).reshape(whole)
