from __future__ import annotations

import subprocess
import sys

import pytest

from socketlab.data.domain_schema import Domain, Intrinsics
from socketlab.data.encoding_names import ENCODINGS, ImpossibleEncoding, check_encoding

CAMERA = Intrinsics(fx=60, fy=60, cx=32, cy=24, width=64, height=48)
DEPTH = Domain(modality="depth", unit="metre", bits=16, range=(0.5, 8), intrinsics=CAMERA)
NIR = Domain(modality="nir", unit="intensity", bits=8, range=(0, 255))
RGB = Domain(modality="rgb", unit="intensity", bits=8, range=(0, 255))


def test_depth_with_a_camera_can_have_every_encoding() -> None:
    for encoding in ENCODINGS:
        check_encoding(encoding, "a/depth", DEPTH)
    check_encoding("colormap", "a/nir", NIR)
    check_encoding("replicate", "a/rgb", RGB)


@pytest.mark.parametrize(
    ("encoding", "name", "domain", "message"),
    [
        ("inverse", "a/nir", NIR, r"'inverse' of 'a/nir' needs depth .* found nir from 0"),
        ("hha", "a/nir", NIR, r"'hha' of 'a/nir' needs depth .* Use 'replicate'"),
        (
            "hha",
            "x/depth",
            DEPTH.model_copy(update={"intrinsics": None}),
            r"'hha' of 'x/depth' needs the camera's intrinsics.*'intrinsics: \{fx: \.\.\., fy",
        ),
        (
            "hha",
            "x/depth",
            DEPTH.model_copy(update={"range": (0.0, 8.0)}),
            r"starts above 0; found depth from 0",
        ),
        ("colormap", "a/rgb", RGB, r"'colormap' of 'a/rgb' needs depth or nir"),
        ("hah", "a/depth", DEPTH, r"'hah'\. Known: replicate, inverse, colormap, hha"),
    ],
)
def test_what_cannot_be(encoding: str, name: str, domain: Domain, message: str) -> None:
    with pytest.raises(ImpossibleEncoding, match=message):
        check_encoding(encoding, name, domain)


def test_no_torch_is_loaded() -> None:
    program = "import sys, socketlab.data.encoding_names; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
