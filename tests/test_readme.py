"""The README's recipe for one's own camera, done as it says; what pages show is there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from socketlab.data.manifest import load_manifest
from socketlab.data.opening import open_views
from socketlab.data.store import prepare
from socketlab.runs.sweeps.grid import read_sweep_file
from socketlab.runs.sweeps.jobs import jobs_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]


def test_the_manifest_of_ones_own_camera_works(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(name: my_camera.*?)```", README.read_text(), re.DOTALL)
    assert len(text.splitlines()) <= 10
    file = tmp_path / "my_camera.yaml"
    file.write_text(text)
    manifest = load_manifest(file)
    random = np.random.default_rng(0)
    for name, count in (("mug", 8), ("lamp", 8), ("chair", 6)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for number in range(count):
            rgb = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(rgb).save(tmp_path / "raw" / name / f"{number:04}_rgb.jpg")
            depth = random.integers(0, 7000, (48, 64), dtype=np.uint16)
            Image.fromarray(depth).save(tmp_path / "raw" / name / f"{number:04}_depth.png")
    data = tmp_path / "data"
    store = prepare(manifest, root=tmp_path / "raw", size=32, data_dir=data)
    views = open_views(store, protocol="transductive", source="cam/rgb", target="cam/depth")
    assert len(views.source.images) == len(views.target.images) == 16
    assert views.pairs is not None and len(views.pairs) == 6
    assert views.evaluation.classes == ("mug", "lamp")


def test_the_sweep_of_the_readme_can_be_planned(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(sweep: my_night.*?)```", README.read_text(), re.DOTALL)
    file = tmp_path / "my_night.yaml"
    file.write_text(text)
    jobs = jobs_of(read_sweep_file(file))
    names = [job.name for job in jobs if job.kind == "run"]
    assert len(names) == 3 * 2 * 3 - 3 + 1
    for named in re.findall(r"my_night/([\w.-]+)", README.read_text()):
        assert named in names


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_shows_or_links_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if "://" not in target]
    assert local or page != "README.md"
    missing = [target for target in local if not ((ROOT / page).parent / target).exists()]
    assert missing == []
