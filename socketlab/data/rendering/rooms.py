"""What is drawn at random for one image of `scenes`: camera, thing, room, light and materials."""

import colorsys
import hashlib
import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
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


def draw_room(name: str, number: int, sensor: str, seed: int) -> Room:
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
    return Room(
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
