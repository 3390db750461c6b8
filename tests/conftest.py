"""One thread, and the built-in data with few images per class, prepared once for all tests."""

import os

# Before any numerical library is loaded, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums in the same order on every machine, and a seed to begin with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest like that of `scenes`, but with 6 + 4 TR images and 4 TI images per class."""
    raw = yaml.safe_load((ROOT / "data_manifests" / "scenes.yaml").read_text())
    roles = {"task_relevant": {"train": 6, "test": 4}, "task_irrelevant": {"train": 4}}
    raw["layout"]["counts"] = roles
    counts = {name: roles[role] for role in roles for name in raw["classes"][role]}
    raw["expected"] = dict.fromkeys(raw["domains"], counts)
    path = tmp_path_factory.mktemp("manifest") / "tiny_scenes.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny data set is prepared, by whoever needs it first."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def own_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one's own camera: labelled RGB, depth that nobody has labelled, and pairs.

    Two classes with 8 colour images each, 10 depth images without partners, 12 pairs of anything.
    """
    root = tmp_path_factory.mktemp("own_camera")
    draw = np.random.default_rng(0)

    def picture(kind: str, level: int, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == "rgb":
            noise = draw.integers(0, 60, (40, 48, 3))
            tint = np.array([level, 90, 150 - level])
            Image.fromarray((noise + tint).astype(np.uint8)).save(file)
        else:
            Image.fromarray(draw.integers(900, 1100 + 20 * level, (40, 48)).astype(np.uint16)).save(
                file
            )

    for name, level in (("mug", 20), ("lamp", 120)):
        for number in range(8):
            picture("rgb", level, root / "source" / name / f"{number:02}.jpg")
    for number in range(10):
        picture("depth", 20 + 100 * (number % 2), root / "target" / f"{number:02}.png")
    for number in range(12):
        for kind, ending in (("rgb", "jpg"), ("depth", "png")):
            picture(kind, 10 * number, root / "pairs" / f"{number:02}_{kind}.{ending}")
    splits = {f"{name}_splits": ["all"] for name in ("source", "adapt", "score", "pair")}
    raw = {
        "name": "own_camera",
        "layout": {
            "kind": "paired_folders",
            "size": 32,
            "parts": [
                {
                    "folder": str(root / "source"),
                    "patterns": {"cam/rgb": "{class}/{id}.jpg"},
                },
                {
                    "folder": str(root / "target"),
                    "patterns": {"cam/depth": "{id}.png"},
                    "class": "unlabelled",
                },
                {
                    "folder": str(root / "pairs"),
                    "patterns": {"cam/rgb": "{id}_rgb.jpg", "cam/depth": "{id}_depth.png"},
                    "class": "pairs",
                },
            ],
        },
        "domains": {
            "cam/rgb": {"modality": "rgb", "unit": "intensity", "bits": 8, "range": [0, 255]},
            "cam/depth": {
                "modality": "depth",
                "unit": "metre",
                "bits": 16,
                "scale": 0.001,
                "invalid": 0,
                "range": [0.5, 4.0],
            },
        },
        "classes": {"task_relevant": ["lamp", "mug"], "task_irrelevant": ["pairs"]},
        "protocols": {"transductive": {"description": "all of it", **splits}},
        "expected": {
            "cam/rgb": {"lamp": {"all": 8}, "mug": {"all": 8}, "pairs": {"all": 12}},
            "cam/depth": {"unlabelled": {"all": 10}, "pairs": {"all": 12}},
        },
    }
    (root / "own_camera.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return root / "own_camera.yaml"


class Loopback(ThreadingHTTPServer):
    """Serves `files` on this machine only.

    Attributes:
        ranges: whether a part of a file may be asked for.
        lengths: whether the length of an answer is said.
        encoding: what the answers claim to be encoded with.
        shift: bytes by which a part begins later than asked for.
        breaks: for each of the next answers, the bytes after which the connection is lost.
        heard: method, name and range of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.ranges = self.lengths = True
        self.encoding: str | None = None
        self.shift = 0
        self.breaks: list[int] = []
        self.heard: list[tuple[str, str, str | None]] = []

    def publish(self, name: str, content: bytes) -> str:
        """Serve `content` from now on; returns its address."""
        self.files[name] = content
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Answer(BaseHTTPRequestHandler):
    server: Loopback

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, asked = self.path[1:], self.headers.get("Range")
        self.server.heard.append((self.command, name, asked))
        content = self.server.files.get(name)
        if content is None:
            return self.send_error(404)
        start = int(asked[6:-1]) + self.server.shift if asked and self.server.ranges else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.send_header("ETag", f'"{sha256(content).hexdigest()[:8]}"')
        self.end_headers()
        if self.command == "GET":
            end = start + self.server.breaks.pop(0) if self.server.breaks else None
            self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server of files on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Loopback() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
