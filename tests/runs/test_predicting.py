"""From files to answers: the run's own, whatever the format; and what is unlike them, or unread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from socketlab.data.encoding_names import Encoding
from socketlab.models.deployed import Deployed, load_deployed
from socketlab.models.deployment import ModelFormat
from socketlab.runs import predicting
from socketlab.runs.experiment import Experiment
from socketlab.runs.exporting import export_run
from socketlab.runs.keeping import load_answers
from socketlab.runs.parameters import validate
from socketlab.runs.predicting import Prediction, Unreadable, image_files, predictions

CLASSES = ("bed", "sofa", "gate")
EACH = 8
WIDTH, HEIGHT = 46, 38


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 46 x 38 pixels; a class is a slope of its own, and every frame has a hole."""
    root = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    for number, name in enumerate(CLASSES):
        (root / name).mkdir()
        for index in range(EACH):
            slope = 600 + (columns, rows, columns + rows)[number] * 60 + draw.integers(0, 900)
            depth = (slope + draw.integers(0, 300, slope.shape)).astype(np.uint16)
            depth[5:12, 7:20] = 0
            rgb = np.repeat((255 - depth // 20).astype(np.uint8)[..., None], 3, axis=2)
            key = number * EACH + index
            Image.fromarray(rgb).save(root / name / f"{key:02}_rgb.png")
            Image.fromarray(depth).save(root / name / f"{key:02}_depth.png")
    return root


@pytest.fixture(scope="module")
def manifest(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    patterns = {f"cam/{kind}": f"{{class}}/{{id}}_{kind}.png" for kind in ("rgb", "depth")}
    parts = ("source", "adapt", "score", "pair")
    splits = {f"{part}_splits": ["all"] for part in parts}
    raw = {
        "name": "slopes",
        "layout": {"kind": "paired_folders", "size": 32, "parts": [{"patterns": patterns}]},
        "domains": {
            "cam/rgb": {"modality": "rgb", "unit": "intensity", "bits": 8, "range": [0, 255]},
            "cam/depth": {
                "modality": "depth",
                "unit": "metre",
                "bits": 16,
                "scale": 0.001,
                "invalid": 0,
                "range": [0.5, 5.0],
                "intrinsics": dict(fx=40, fy=40, cx=23, cy=19, width=WIDTH, height=HEIGHT),
            },
        },
        "classes": {"task_relevant": list(CLASSES[:2]), "task_irrelevant": [CLASSES[2]]},
        "protocols": {"all": {"description": "all", **splits}},
        "expected": {
            domain: {name: {"all": EACH} for name in CLASSES} for domain in ("cam/rgb", "cam/depth")
        },
    }
    file = tmp_path_factory.mktemp("manifest") / "slopes.yaml"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return file


def adapted_run(manifest: Path, images: Path, folder: Path, encoding: Encoding) -> Experiment:
    experiment = Experiment(
        validate(
            "05_transfer",
            {
                "run": encoding,
                "data": str(manifest),
                "root": str(images),
                "size": 32,
                "source": "cam/rgb",
                "target": "cam/depth",
                "protocol": "all",
                "encoding": encoding,
                "method": "distillation",
                "source_options": {"epochs": 2, "batch_size": 8},
                "options": {"distillation": {"epochs": 1, "batch_size": 8}},
                "device": "cpu",
                "dtype": "float32",
                "data_dir": str(folder / "data"),
                "runs_dir": str(folder),
            },
        )
    )
    for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
        for _ in steps:
            pass
    return experiment


@pytest.fixture(scope="module")
def slopes(manifest: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run on those pairs."""
    torch.set_num_threads(1)
    return adapted_run(manifest, images, tmp_path_factory.mktemp("slopes"), "replicate")


@pytest.fixture(scope="module")
def model(slopes: Experiment) -> Deployed:
    return load_deployed(export_run(slopes.run.folder, "safetensors").folder)


def check_against_the_run(experiment: Experiment, images: Path, form: ModelFormat) -> None:
    done = export_run(experiment.run.folder, form)
    kept = load_answers(experiment.run, experiment.trip().stage).set_index("id")
    files = [file for file in image_files([str(images)]) if "depth" in file.name]
    found = list(predictions(load_deployed(done.folder), files, batch_size=5))
    assert [item.file for item in found] == files
    scored = [item for item in found if item.file.parent.name != "gate"]
    assert len(scored) == len(kept) == 2 * EACH
    for item in scored:
        assert isinstance(item, Prediction)
        row = kept.loc[f"cam/depth/{item.file.name[:2]}"]
        assert item.answer == CLASSES[int(row["answer"])]
        assert item.confidence == pytest.approx(float(row["confidence"]), abs=1e-4)
        assert item.confidence == max(item.probabilities)
        assert sum(item.probabilities) == pytest.approx(1, abs=1e-5)
        assert item.warnings == ()


@pytest.mark.parametrize("form", ["safetensors", "onnx", "pt2"])
def test_the_answers_to_raw_files_are_the_runs_own(
    slopes: Experiment, images: Path, form: ModelFormat
) -> None:
    check_against_the_run(slopes, images, form)


@pytest.mark.parametrize("encoding", ["inverse", "colormap", "hha"])
def test_so_are_they_under_every_encoding(
    manifest: Path, images: Path, tmp_path: Path, encoding: Encoding
) -> None:
    check_against_the_run(adapted_run(manifest, images, tmp_path, encoding), images, "safetensors")


def write(path: Path, pixels: Any) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def plain(value: int, dtype: type = np.uint16) -> Any:
    return np.full((HEIGHT, WIDTH), value, dtype)


def test_what_cannot_be_read_stops_nothing_and_says_why(
    model: Deployed, images: Path, tmp_path: Path
) -> None:
    good = images / "bed" / "00_depth.png"
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    eight = write(tmp_path / "eight.png", plain(90, np.uint8))
    files = [cut, good, images / "bed" / "00_rgb.png", eight, tmp_path / "none.png", good]
    found = list(predictions(model, files, batch_size=4))
    kinds = [type(item) for item in found]
    assert kinds == [Unreadable, Prediction, Unreadable, Unreadable, Unreadable, Prediction]
    assert [item.file for item in found] == files
    reasons = [item.reason for item in found if isinstance(item, Unreadable)]
    assert reasons[0]
    assert reasons[1].startswith("expected 16-bit grey, found mode RGB")
    assert reasons[2].startswith("expected 16-bit grey, found mode L")
    assert "No such file" in reasons[3]


def test_files_unlike_the_training_data_are_warned_of_with_numbers(
    model: Deployed, tmp_path: Path
) -> None:
    frame = plain(2000)
    frame[: HEIGHT * 3 // 4] = 0
    files = [
        write(tmp_path / "far.png", plain(20_000)),
        write(tmp_path / "empty.png", frame),
        write(tmp_path / "bright.png", plain(4900)),
        write(tmp_path / "usual.png", plain(1800)),
    ]
    said = [item.warnings for item in predictions(model, files) if isinstance(item, Prediction)]
    assert said[0][0] == (
        "100% of its readings lie outside 0.5 to 5 metre (their median is 20): is it in another "
        "unit?"
    )
    assert said[1][0].endswith("% of its pixels hold no reading; up to 50% was usual")
    assert said[2][0].startswith("its mean as the model sees it is 0.98; ")
    assert said[3] == ()


def test_few_files_are_in_memory_at_once(
    model: Deployed, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield images / "bed" / "00_depth.png"

    answers = predictions(model, endless(), batch_size=3)
    for _ in range(30):
        next(answers)
    assert 30 <= asked <= 30 + 3 * (predicting.BATCHES_AHEAD + 1)
    answers.close()
    with pytest.raises(ValueError, match="batch size must be at least 1, found 0"):
        next(predictions(model, [], batch_size=0))
    assert list(predictions(model, [])) == []


def test_which_files_are_meant(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.TIFF", "a.png", "notes.txt", ".hidden.png", "b/.cache/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*given: str) -> list[str]:
        meant = image_files([str(tmp_path / name) for name in given])
        return [file.relative_to(tmp_path).as_posix() for file in meant]

    assert found(".") == ["a.png", "b/1.TIFF", "b/2.png"]
    assert found("b/*.png", "a.png") == ["b/2.png", "a.png"]
    assert found("**/*.png") == ["a.png", "b/2.png"]
    assert found("notes.txt") == ["notes.txt"]  # who names a file means it
    assert found("b*") == ["b/1.TIFF", "b/2.png"]
    (tmp_path / "[1].png").touch()
    assert found("[1].png") == ["[1].png"]
    with pytest.raises(FileNotFoundError, match="No file matches"):
        found("*.jpg")
    with pytest.raises(FileNotFoundError, match="is no file, folder or pattern"):
        found("c.png")
