"""The built-in data set `scenes`: RGB, depth and near infrared of one thing in a simple room.

    modality  array               values
    rgb       uint8 [N, S, S, 3]  square-root-encoded colour under one lamp and ambient light
    depth     uint16 [N, S, S]    millimetres along the optical axis; 0 = no reading
    nir       uint8 [N, S, S]     light of a lamp at the camera, its own reflectance per material

Image i is a function of (seed, sensor, class, number, size) alone. Python draws each scene by
itself, and every operation on pixels is elementwise and correctly rounded, so neither batch size
nor order nor the number of threads changes a byte. Nothing is downloaded.
"""

import colorsys
import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.data.raymarch import (
    Bundle,
    Pose,
    Vectors,
    along,
    bell_noise,
    dot,
    enter_bounding_sphere,
    hash_bits,
    normalise,
    pinhole,
    soft_visibility,
    surface_normals,
    trace,
)
from socketlab.data.shapes import SHAPES

TASK_RELEVANT: tuple[str, ...] = ("bottle", "chair", "lamp", "mug", "table", "vase")
TASK_IRRELEVANT: tuple[str, ...] = tuple(sorted(set(SHAPES) - set(TASK_RELEVANT)))

NEAREST_METRES, FARTHEST_METRES = 0.3, 6.0
_RAYS_PER_BATCH = 16 * 2 * 64 * 64


@dataclass(frozen=True)
class Sensor:
    """A camera that sees colour, depth and near infrared through one lens.

    Depth noise has the deviation depth_noise + depth_noise_growth * metres^2, in millimetres.
    """

    field_of_view: float  # degrees, from the upper to the lower edge
    depth_noise: float  # mm
    depth_noise_growth: float  # mm per square metre
    grazing_limit: float  # degrees between ray and surface, below which there is no reading
    edge_loss: float  # share of pixels on a depth edge without a reading
    exposure: float  # linear factor of the light that reaches the colour sensor
    tint: tuple[float, float, float]  # factors of red, green and blue
    rgb_noise: float  # deviation, of 255
    nir_lamp: float  # linear factor of the lamp at the camera
    nir_noise: float  # deviation, of 255


SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {
        "a": Sensor(50.0, 2.0, 3.0, 9.0, 0.3, 1.0, (1.0, 1.0, 1.0), 5.0, 1.0, 5.0),
        "b": Sensor(58.0, 3.0, 6.0, 12.0, 0.5, 0.75, (1.08, 1.0, 0.86), 8.0, 0.8, 8.0),
    }
)


@dataclass(frozen=True)
class Rendered:
    """N images of each modality, pixel by pixel of the same scene (see the module's table)."""

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.uint16]
    nir: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Scene:
    """What is drawn at random for one image. Metres, world y up, the camera above the origin."""

    camera: tuple[float, ...]  # height, sine and cosine of the tilt, of the roll
    place: tuple[float, ...]  # x and z of the thing, metres per unit of its shape
    rotation: tuple[float, ...]  # world to shape, row by row
    proportions: tuple[float, ...]
    wall: tuple[float, ...]  # normal x and z away from the camera, distance
    light: tuple[float, ...]  # direction to the light, strength, ambient light, gloss
    lamp: tuple[float, ...]  # near infrared: lamp at the camera, share of the room's light
    thing: tuple[float, ...]  # two colours, two nir reflectances, two pattern planes (4 each)
    backdrop: tuple[float, ...]  # floor then wall: two colours, two reflectances, f, o, f, o
    key: tuple[int, ...]  # of the pixel noise


Colour = tuple[float, float, float]


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    # Squared: drawn as the eye sees it, kept as light.
    return red * red, green * green, blue * blue


def _plane(draw: random.Random, frequency: float) -> tuple[float, float, float, float]:
    """A direction in space times a frequency, and an offset: the stripes of a pattern."""
    turn, rise = draw.uniform(0.0, math.pi), draw.choice((0.0, 0.0, 0.8, 1.5707))
    flat = frequency * math.cos(rise)
    return flat * math.cos(turn), frequency * math.sin(rise), flat * math.sin(turn), draw.random()


def _draw_thing(draw: random.Random) -> tuple[float, ...]:
    hue, value = draw.random(), draw.uniform(0.4, 1.0)
    first = _colour(hue, draw.uniform(0.1, 0.8), value)
    second = _colour(hue + draw.uniform(-0.2, 0.2), draw.uniform(0.1, 0.8), draw.uniform(0.4, 1.0))
    pattern = draw.choice(("plain", "plain", "stripes", "checks"))
    none = (0.0, 0.0, 0.0, 0.5)
    one = none if pattern == "plain" else _plane(draw, draw.uniform(2.0, 5.0))
    two = _plane(draw, draw.uniform(2.0, 5.0)) if pattern == "checks" else none
    return (*first, *second, draw.uniform(0.15, 0.95), draw.uniform(0.15, 0.95), *one, *two)


def _draw_backdrop(draw: random.Random, colour: Colour) -> tuple[float, ...]:
    """Floor or wall: the two colours of its pattern are close to each other."""
    contrast = draw.uniform(0.72, 0.95)
    second = (colour[0] * contrast, colour[1] * contrast, colour[2] * contrast)
    nir = draw.uniform(0.25, 0.8)
    frequencies = [draw.choice((0.0, draw.uniform(1.0, 4.0))) for _ in range(2)]
    return (
        *(*colour, *second, nir, nir * draw.uniform(0.75, 1.0)),
        *(frequencies[0], draw.random(), frequencies[1], draw.random()),
    )


def _draw_scene(name: str, number: int, sensor: str, seed: int) -> _Scene:
    digest = hashlib.blake2b(f"{seed}/{sensor}/{name}/{number}".encode(), digest_size=12).digest()
    draw = random.Random(int.from_bytes(digest[:8], "little"))
    scale = draw.uniform(0.4, 0.75)
    away = scale * draw.uniform(1.8, 2.85)
    side = away * draw.uniform(-0.12, 0.12)
    height = scale * 0.6 + away * draw.uniform(0.15, 0.65)
    tilt = math.atan2(height - scale * draw.uniform(0.4, 0.7), away)
    roll = math.radians(draw.uniform(-4.0, 4.0))
    yaw, lean = math.radians(draw.uniform(-75.0, 75.0)), math.radians(draw.uniform(-9.0, 9.0))
    cy, sy, cl, sl = math.cos(yaw), math.sin(yaw), math.cos(lean), math.sin(lean)
    turn = math.radians(draw.uniform(-25.0, 25.0))
    behind = math.cos(turn) * (away + scale * 0.9) + math.sin(turn) * side
    # One room in twelve is so deep that the depth sensor may not reach its wall.
    gap = draw.uniform(1.0, 6.0) if draw.random() < 1.0 / 12.0 else draw.uniform(0.05, 0.8)
    azimuth = math.radians(draw.uniform(-80.0, 80.0))
    elevation = math.radians(draw.uniform(30.0, 75.0))
    level = math.cos(elevation)
    ambient = draw.uniform(0.3, 0.55)
    floor = _colour(draw.gauss(0.08, 0.03), draw.uniform(0.1, 0.5), draw.uniform(0.4, 0.85))
    paint = _colour(draw.random(), draw.uniform(0.02, 0.25), draw.uniform(0.6, 0.95))
    return _Scene(
        camera=(height, math.sin(tilt), math.cos(tilt), math.sin(roll), math.cos(roll)),
        place=(side, away, scale),
        rotation=(cy * cl, sl, -sy * cl, -cy * sl, cl, sy * sl, sy, 0.0, cy),
        proportions=(draw.random(), draw.random(), draw.random()),
        wall=(math.sin(turn), math.cos(turn), behind + gap),
        light=(
            *(level * math.sin(azimuth), math.sin(elevation), -level * math.cos(azimuth)),
            *(draw.uniform(0.6, 1.1), ambient, draw.choice((0.0, 0.15, 0.4))),
        ),
        lamp=((0.4 + away * away) * draw.uniform(0.3, 0.7), draw.uniform(0.0, 0.4)),
        thing=_draw_thing(draw),
        backdrop=_draw_backdrop(draw, floor) + _draw_backdrop(draw, paint),
        key=(int.from_bytes(digest[8:], "little"),),
    )


def _columns(rows: Sequence[tuple[float, ...]], device: torch.device) -> tuple[Tensor, ...]:
    """One [n, 1] tensor per entry of the tuples."""
    return torch.tensor(rows, dtype=torch.float32).t().contiguous()[..., None].to(device).unbind(0)


def _pose(scenes: Sequence[_Scene], device: torch.device) -> Pose:
    x, z, scale = _columns([s.place for s in scenes], device)
    a, b, c, d, e, f, g, h, i = _columns([s.rotation for s in scenes], device)
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
class _Frame:
    """What each of [n, M] rays met: metres to it, its normal, colour, reflectance and gloss."""

    distance: Tensor
    normal: Vectors
    colour: Vectors
    nir: Tensor
    gloss: Tensor


def _backdrop(scenes: Sequence[_Scene], origin: Vectors, direction: Vectors) -> _Frame:
    device = direction.x.device
    wall_x, wall_z, wall_distance = _columns([s.wall for s in scenes], device)
    to_wall = wall_distance / (direction.x * wall_x + direction.z * wall_z).clamp(min=1e-3)
    to_floor = origin.y / (-direction.y).clamp(min=1e-4)
    on_wall = to_wall < to_floor
    distance = torch.minimum(to_wall, to_floor)
    point = along(origin, direction, distance)
    both = _columns([s.backdrop for s in scenes], device)
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
    return _Frame(distance, normal, colour, nir, zero)


def _pick(values: Tensor, ray: Tensor, image: Tensor) -> Tensor:
    """Values [n, M] at flat ray indices, or values [n, 1] at the rays' images."""
    return values.reshape(-1)[image if values.shape[1] == 1 else ray]


def _add_thing(
    scenes: Sequence[_Scene], shape: str, frame: _Frame, origin: Vectors, direction: Vectors
) -> _Frame:
    """The frame with the thing in front of the backdrop."""
    device, whole, distance = direction.x.device, frame.distance.shape, SHAPES[shape]
    pose, proportions = _pose(scenes, device), _columns([s.proportions for s in scenes], device)
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
        return [_pick(column, ray, image) for column in _columns(rows, device)]

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
    return _Frame(
        distance=put(frame.distance, metres),
        normal=put_all(frame.normal, normal),
        colour=put_all(frame.colour, Vectors(red, green, blue)),
        nir=put(frame.nir, nir),
        gloss=put(frame.gloss, of_rays([s.light[5:] for s in scenes])[0]),
    )


def _visibility(
    scenes: Sequence[_Scene], shape: str, frame: _Frame, point: Vectors, light: Vectors
) -> Tensor:
    """Share of the light that the thing lets through to each point of the frame, [n, M]."""
    device, whole = point.x.device, frame.distance.shape
    pose, proportions = _pose(scenes, device), _columns([s.proportions for s in scenes], device)
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


def _samples(values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two samples of each pixel, [n, size, size] each."""
    first, second = values.reshape(-1, 2, size, size).unbind(1)
    return first, second


def _mean(values: Tensor, size: int) -> Tensor:
    first, second = _samples(values, size)
    return (first + second) * 0.5


def _expose(light: Tensor, gain: float, bits: Tensor, deviation: float) -> Tensor:
    """Bytes of a sensor: gain, saturation, square-root encoding, noise."""
    encoded = (light * gain).clamp(max=1.0).sqrt() * 255.0 + bell_noise(bits) * deviation
    return (encoded + 0.5).floor().clamp(0.0, 255.0).to(torch.uint8)


def _render_batch(
    shape: str, scenes: Sequence[_Scene], sensor: Sensor, size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    height, *turns = _columns([s.camera for s in scenes], device)
    half_height = math.tan(math.radians(sensor.field_of_view / 2.0))
    direction, axis = pinhole((turns[0], turns[1]), (turns[2], turns[3]), half_height, size)
    origin = Vectors(torch.zeros_like(height), height, torch.zeros_like(height))
    frame = _backdrop(scenes, origin, direction)
    frame = _add_thing(scenes, shape, frame, origin, direction)
    normal = frame.normal
    lx, ly, lz, strength, ambient, _ = _columns([s.light for s in scenes], device)
    light = Vectors(lx, ly, lz)
    facing = -dot(normal, direction)
    glint = dot(normal, normalise(Vectors(lx - direction.x, ly - direction.y, lz - direction.z)))
    point = along(origin, direction, frame.distance)
    visibility = _visibility(scenes, shape, frame, point, light)
    diffuse = dot(normal, light).clamp(min=0.0) * visibility
    glint = glint.clamp(min=0.0)
    for _ in range(4):
        glint = glint * glint
    # A glint fades with the light that reaches the surface: none on the side that is turned away.
    glint = glint * frame.gloss * (diffuse * 4.0).clamp(max=1.0)
    brightness = diffuse * strength
    brightness = brightness + (normal.y * 0.3 + 0.7) * ambient
    pixel = torch.arange(size * size, device=device).reshape(1, size, size)
    key = torch.tensor([s.key for s in scenes], device=device)[..., None]

    def noise(channel: int) -> Tensor:
        return hash_bits(pixel + channel * size * size, key)

    channels = []
    for channel, tint in enumerate(sensor.tint):
        received = _mean(frame.colour[channel] * brightness + glint, size)
        channels.append(_expose(received, sensor.exposure * tint, noise(channel), sensor.rgb_noise))
    lamp, share = _columns([s.lamp for s in scenes], device)
    returned = facing.clamp(min=0.0) * lamp / (frame.distance * frame.distance + 0.15)
    received = _mean(frame.nir * (returned * sensor.nir_lamp + brightness * share), size)
    nir = _expose(received, 1.0, noise(3), sensor.nir_noise)
    depth = _measure(frame, facing, axis, sensor, size, noise(4), noise(5))
    return torch.stack(channels, dim=-1), depth, nir


def _measure(
    frame: _Frame,
    facing: Tensor,
    axis: Tensor,
    sensor: Sensor,
    size: int,
    coin: Tensor,
    bits: Tensor,
) -> Tensor:
    """Millimetres that a depth sensor reads: one of the pixel's samples, noise, holes."""
    depths, slants = _samples(frame.distance * axis, size), _samples(facing, size)
    heads = (coin & 1) == 1
    metres, slant = torch.where(heads, *depths), torch.where(heads, *slants)
    nearest, farthest = torch.minimum(*depths), torch.maximum(*depths)
    edge = (farthest - nearest > nearest * 0.05) & ((coin >> 8) < int(sensor.edge_loss * 2**24))
    spread = metres * metres * sensor.depth_noise_growth + sensor.depth_noise
    read = (metres * 1000.0 + bell_noise(bits) * spread + 0.5).floor()
    blind = edge | (slant < math.sin(math.radians(sensor.grazing_limit)))
    blind = blind | (read < NEAREST_METRES * 1000.0) | (read > FARTHEST_METRES * 1000.0)
    return torch.where(blind, 0.0, read).to(torch.int32)


def render(
    classes: Sequence[str],
    numbers: Sequence[int],
    *,
    sensor: str,
    seed: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Rendered:
    """Images of the given classes, one scene per class and number.

    Args:
        classes: N names of `TASK_RELEVANT` or `TASK_IRRELEVANT`.
        numbers: N numbers of scenes; another number is another scene of the class.
        sensor: name in `SENSORS`. Each sensor sees scenes of its own.
        seed: of the whole data set.
        size: pixels along a side of the square images. The scene does not depend on it.
        device: where to render. The arrays come back to the CPU.

    Returns:
        N images per modality, in the order of `classes`.

    Raises:
        ValueError: unknown class or sensor, lengths that differ, or fewer than 8 pixels.
    """
    if sensor not in SENSORS:
        raise ValueError(f"Unknown sensor {sensor!r}. Known: {', '.join(SENSORS)}.")
    unknown = sorted(set(classes) - set(SHAPES))
    if unknown:
        raise ValueError(f"Unknown class {unknown[0]!r}. Known: {', '.join(sorted(SHAPES))}.")
    if len(classes) != len(numbers):
        raise ValueError(
            f"{len(classes)} classes but {len(numbers)} numbers. Give one number per class."
        )
    if size < 8:
        raise ValueError(f"Size {size} is too small. Give at least 8 pixels.")
    count, where = len(classes), torch.device(device)
    rgb = np.empty((count, size, size, 3), np.uint8)
    depth = np.empty((count, size, size), np.uint16)
    nir = np.empty((count, size, size), np.uint8)
    batch = max(1, _RAYS_PER_BATCH // (2 * size * size))
    for name in sorted(set(classes)):
        members = [i for i, other in enumerate(classes) if other == name]
        for begin in range(0, len(members), batch):
            chosen = members[begin : begin + batch]
            scenes = [_draw_scene(name, numbers[i], sensor, seed) for i in chosen]
            images = _render_batch(name, scenes, SENSORS[sensor], size, where)
            rgb[chosen], depth[chosen], nir[chosen] = (part.cpu().numpy() for part in images)
    return Rendered(rgb, depth, nir)
