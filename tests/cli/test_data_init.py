"""`socketlab data init`: from a folder to a manifest that can be prepared."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from socketlab import cli
from socketlab.cli import data_init
from socketlab.data.manifest import load_manifest


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pairs in the working folder, three classes, two pairs each."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name in ("bed", "sofa", "gate"):
        (tmp_path / "My camera" / name).mkdir(parents=True)
        for number in range(4):
            start = tmp_path / "My camera" / name / f"{name[0]}{number}"
            Image.fromarray(draw.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(
                f"{start}_rgb.png"
            )
            Image.fromarray(draw.integers(20, 250, (10, 12), dtype=np.uint8)).save(
                f"{start}_depth.png"
            )
    return tmp_path / "My camera"


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def test_the_written_manifest_is_found_by_name_and_prepared(camera: Path) -> None:
    shown = call("data", "init", str(camera), "--scale", "0.02", "--task-relevant", "bed, sofa")
    assert shown.exit_code == 0, shown.output
    manifest = load_manifest("my_camera")
    assert manifest.classes.task_irrelevant == ("gate",)
    assert manifest.domain("cam/depth").scale == 0.02
    assert "{class}/{id}_rgb.png: 12 images, rgb, 8 bits, 12 x 10" in shown.output
    assert "socketlab data prepare my_camera" in shown.output
    assert "-p data my_camera" in shown.output and "-p source cam/rgb" in shown.output
    assert "scale: assumed" not in shown.output and "task_relevant: assumed" not in shown.output
    prepared = call("data", "prepare", "my_camera", "--size", "8")
    assert prepared.exit_code == 0, prepared.output
    assert "Prepared 24 images" in prepared.output


def test_without_a_terminal_guesses_are_said_and_written(camera: Path) -> None:
    shown = call("data", "init", str(camera), "--output", "own.yaml", "--name", "own")
    assert shown.exit_code == 0, shown.output
    assert "domains.cam/depth.scale: assumed" in shown.output
    assert "classes.task_relevant: assumed" in shown.output
    assert "socketlab data prepare own.yaml" in shown.output
    assert "as if 255 were 10 m. --scale says otherwise." in Path("own.yaml").read_text()


def test_on_a_terminal_it_asks(camera: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_init, "can_ask", lambda: True)
    words = ["data", "init", str(camera)]
    shown = CliRunner().invoke(cli.app, words, input="0.03\ngate, bed\n")
    assert shown.exit_code == 0, shown.output
    manifest = load_manifest("my_camera")
    assert manifest.domain("cam/depth").scale == 0.03
    assert manifest.classes.task_relevant == ("gate", "bed")
    assert "scale: assumed" not in shown.output


def test_nothing_is_written_over_unless_asked(camera: Path) -> None:
    assert call("data", "init", str(camera)).exit_code == 0
    path = Path("data_manifests/my_camera.yaml")
    path.write_text("mine")
    again = call("data", "init", str(camera))
    assert isinstance(again.exception, ValueError)
    assert "is there already. Give --force" in str(again.exception)
    assert path.read_text() == "mine"
    assert call("data", "init", str(camera), "--force").exit_code == 0
    assert path.read_text() != "mine"


def test_names_that_cannot_be(camera: Path) -> None:
    taken = call("data", "init", str(camera), "--name", "scenes")
    assert "'scenes' is the name of another data set" in str(taken.exception)
    bad = call("data", "init", str(camera), "--name", "My camera")
    assert "Name 'My camera' must be of small letters" in str(bad.exception)
    unknown = call("data", "init", str(camera), "--pairs-from", "scense")
    assert "Did you mean 'scenes'?" in str(unknown.exception)
    assert not Path("data_manifests").exists()


def test_without_colour_the_next_step_is_a_source_model(camera: Path) -> None:
    for path in camera.rglob("*_rgb.png"):
        path.unlink()
    words = ("data", "init", str(camera), "--folders", "recordings", "--task-relevant", "bed")
    shown = call(*words, "--pairs-from", "nyuv2_scenes_224")
    assert shown.exit_code == 0, shown.output
    assert "-p source kv1/rgb -p source_model FILE" in shown.output
    assert load_manifest("my_camera").protocol("unlabelled").pairs_from == "nyuv2_scenes_224"
    alone = call(*words, "--force")
    assert "There is no colour image at all" in alone.output


def test_the_manifests_of_the_page_can_be_loaded(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "own_data.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        path = tmp_path / "page.yaml"
        path.write_text(block)
        assert load_manifest(path).layout.kind == "paired_folders"


def test_the_page_quotes_messages_that_are_said(root: Path) -> None:
    page = (root / "docs" / "own_data.md").read_text()
    sources = "".join(path.read_text() for path in (root / "socketlab" / "data").rglob("*.py"))
    for message in ("stands for no file", "is no class of the manifest", "but holds colour"):
        assert message in page and message in sources
