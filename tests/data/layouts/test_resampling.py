from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from socketlab.data.layouts.resampling import resample_colour, resample_values

FRAMES = [(10, 12, 6), (480, 640, 224), (224, 294, 224), (30, 224, 224), (9, 9, 32), (7, 7, 7)]


def pillow(frame: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("height", "width", "size"), FRAMES)
def test_both_are_pillows_filter(height: int, width: int, size: int) -> None:
    draw = np.random.default_rng(0)
    metres = draw.uniform(500, 9000, (height, width)).astype(np.float32)
    found = resample_values(metres, size)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, pillow(metres, size), rtol=2e-6)
    colour = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    off = resample_colour(colour, size).astype(int) - pillow(colour, size)
    assert off.shape == (size, size, 3)
    assert abs(off).max() <= 1 and (off != 0).mean() < 0.02


def test_a_step_in_the_middle_by_hand() -> None:
    # 4 to 2 pixels: each sees half a pixel beyond its own two, weights 1, 3, 3, (1) of 7
    line = np.array([[0, 0, 70, 70]] * 4, np.float32)
    np.testing.assert_allclose(resample_values(line, 2), [[10, 60]] * 2, rtol=1e-6)
    colour = np.repeat(line.astype(np.uint8)[:, :, None], 3, axis=2)
    colour[..., 1] = 7
    np.testing.assert_array_equal(resample_colour(colour, 2)[0], [[10, 7, 10], [60, 7, 60]])


def test_read_only_frames_are_taken_without_a_warning() -> None:
    command = """
import warnings
warnings.simplefilter("error")
import numpy as np
from socketlab.data.layouts.resampling import resample_colour
frame = np.frombuffer(bytes(192), np.uint8).reshape(8, 8, 3)
assert not resample_colour(frame, 4).any()
"""
    # in a process of its own, for torch warns once only
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
