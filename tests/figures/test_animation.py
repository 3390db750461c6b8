"""An animated PNG, read again with Pillow."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from socketlab.figures.animation import animated_png

Pixels = npt.NDArray[np.uint8]


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _drawing(position: int, ink: tuple[int, int, int] = (27, 31, 36)) -> Pixels:
    """A square on white, in few colours."""
    pixels = np.full((30, 40, 3), 255, dtype=np.uint8)
    pixels[5:15, position : position + 8] = ink
    pixels[20:25, 3:30] = (213, 94, 0)
    return pixels


def _frames(data: bytes) -> tuple[list[Pixels], list[float], Any]:
    image: Any = Image.open(io.BytesIO(data))
    pixels, times = [], []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        pixels.append(np.asarray(image.convert("RGB")))
        times.append(image.info.get("duration", 0.0))
    return pixels, times, image


def _chunks(data: bytes) -> list[bytes]:
    """The names of a PNG file's chunks."""
    names, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        names.append(data[place + 4 : place + 8])
        place += 12 + length
    return names


def test_few_colours_come_back_as_they_were() -> None:
    # The square moves to and fro, and stands still once: what is uncovered must come back.
    drawings = [_drawing(position) for position in (2, 10, 10, 30, 2)]
    data = animated_png([_png(drawing) for drawing in drawings], milliseconds=300, last=2000)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    pixels, times, image = _frames(data)
    assert len(pixels) == 5
    for found, wanted in zip(pixels, drawings, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert times == [300, 300, 300, 300, 2000]
    assert image.info["loop"] == 0
    assert image.size == (40, 30)


def test_a_viewer_without_animation_shows_the_first_frame() -> None:
    data = animated_png([_png(_drawing(2)), _png(_drawing(20))])
    names = _chunks(data)
    # IDAT holds the first frame: it comes after the first frame control, and before any fdAT.
    assert names.index(b"acTL") < names.index(b"fcTL") < names.index(b"IDAT")
    assert names.index(b"IDAT") < names.index(b"fdAT")
    np.testing.assert_array_equal(_frames(data)[0][0], _drawing(2))


def test_one_frame_does_not_move() -> None:
    data = animated_png([_png(_drawing(2))])
    assert b"acTL" not in _chunks(data)
    pixels, _, _ = _frames(data)
    assert len(pixels) == 1
    np.testing.assert_array_equal(pixels[0], _drawing(2))


def test_many_colours_are_near_and_the_frequent_ones_exact() -> None:
    rows, columns = np.mgrid[0:160, 0:200]
    frames = []
    for number in range(3):
        picture = np.stack([rows + 9 * number, columns, (rows + columns) // 2], -1) % 256
        pixels = np.full((200, 240, 3), 255, dtype=np.uint8)
        pixels[20:180, 20:220] = picture
        pixels[185:190, 20:120] = (0, 114, 178)
        pixels[192:196, 20:220] = (252, 253, 254)  # so near to white that it could take its place
        frames.append(pixels)
    assert len(np.unique(np.concatenate(frames).reshape(-1, 3), axis=0)) > 10_000
    found, _, _ = _frames(animated_png([_png(frame) for frame in frames]))
    for number, (now, wanted) in enumerate(zip(found, frames, strict=True)):
        flat = (wanted == 255).all(axis=-1)
        flat[185:196, 20:120] = True
        np.testing.assert_array_equal(now[flat], wanted[flat])
        assert np.abs(now.astype(int) - wanted).mean() < 8, number
    assert len(np.unique(np.concatenate(found).reshape(-1, 3), axis=0)) <= 255


def test_ten_sheets_are_small_and_the_same_each_time() -> None:
    # Eight pictures of 64 x 64 with grain change on each sheet, nearest neighbours as figures do.
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(60, 200, (8, 8, 8, 3)), np.ones((1, 8, 8, 1)))
    still = np.full((700, 1300, 3), 255, dtype=np.uint8)
    still[500:520, 100:1200] = (0, 114, 178)
    frames = []
    for _ in range(10):
        pixels = still.copy()
        for number in range(8):
            grain = smooth[number] + rng.normal(0, 8, (64, 64, 3))
            large = np.clip(np.kron(grain, np.ones((2, 2, 1))), 0, 255).astype(np.uint8)
            pixels[200:328, 60 + 150 * number : 188 + 150 * number] = large
        frames.append(_png(pixels))
    data = animated_png(frames)
    assert len(data) < 1_500_000
    assert animated_png(frames) == data


@pytest.mark.parametrize(
    ("frames", "times", "message"),
    [
        ([], {}, "no frame"),
        (
            [_png(_drawing(2)), _png(_drawing(2)[:20])],
            {},
            "Frame 1 is 40 x 20 pixels, frame 0 40 x",
        ),
        ([_png(_drawing(2)), b"\xff\xd8\xff"], {}, "Frame 1 is no PNG"),
        ([_png(_drawing(2))], {"milliseconds": 0}, "milliseconds is 0"),
        ([_png(_drawing(2))], {"last": 70_000}, "last is 70000"),
    ],
)
def test_animated_png_refuses(frames: list[bytes], times: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        animated_png(frames, **times)
