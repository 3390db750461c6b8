"""The built-in data set `scenes`: RGB, depth and near infrared of one thing in a simple room.

    modality  array               values
    rgb       uint8 [N, S, S, 3]  square-root-encoded colour under one lamp and ambient light
    depth     uint16 [N, S, S]    millimetres along the optical axis; 0 = no reading
    nir       uint8 [N, S, S]     light of a lamp at the camera, its own reflectance per material

Image i is a function of (seed, sensor, class, number, size) alone. Python draws each scene by
itself, and every operation on pixels is elementwise and correctly rounded, so neither batch size
nor order nor the number of threads changes a byte. Nothing is downloaded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from socketlab.data.rendering.frames import Frame, columns, light_share, see_backdrop, see_thing
from socketlab.data.rendering.raymarch import (
    Vectors,
    along,
    bell_noise,
    dot,
    hash_bits,
    normalise,
    pinhole,
)
from socketlab.data.rendering.rooms import Room, draw_room
from socketlab.data.rendering.shapes import SHAPES

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
    shape: str, scenes: Sequence[Room], sensor: Sensor, size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    height, *turns = columns([s.camera for s in scenes], device)
    half_height = math.tan(math.radians(sensor.field_of_view / 2.0))
    direction, axis = pinhole((turns[0], turns[1]), (turns[2], turns[3]), half_height, size)
    origin = Vectors(torch.zeros_like(height), height, torch.zeros_like(height))
    frame = see_backdrop(scenes, origin, direction)
    frame = see_thing(scenes, shape, frame, origin, direction)
    normal = frame.normal
    lx, ly, lz, strength, ambient, _ = columns([s.light for s in scenes], device)
    light = Vectors(lx, ly, lz)
    facing = -dot(normal, direction)
    glint = dot(normal, normalise(Vectors(lx - direction.x, ly - direction.y, lz - direction.z)))
    point = along(origin, direction, frame.distance)
    visibility = light_share(scenes, shape, frame, point, light)
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
    lamp, share = columns([s.lamp for s in scenes], device)
    returned = facing.clamp(min=0.0) * lamp / (frame.distance * frame.distance + 0.15)
    received = _mean(frame.nir * (returned * sensor.nir_lamp + brightness * share), size)
    nir = _expose(received, 1.0, noise(3), sensor.nir_noise)
    depth = _measure(frame, facing, axis, sensor, size, noise(4), noise(5))
    return torch.stack(channels, dim=-1), depth, nir


def _measure(
    frame: Frame,
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
            scenes = [draw_room(name, numbers[i], sensor, seed) for i in chosen]
            images = _render_batch(name, scenes, SENSORS[sensor], size, where)
            rgb[chosen], depth[chosen], nir[chosen] = (part.cpu().numpy() for part in images)
    return Rendered(rgb, depth, nir)
