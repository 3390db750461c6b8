"""`socketlab export` and `socketlab predict` on the terminal."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from socketlab import cli
from socketlab.cli import answers
from socketlab.data.domain_schema import Domain
from socketlab.models.checkpoint import describe_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.deployment import Check, Deployment, Usual
from socketlab.models.export import write_model
from socketlab.runs import exporting
from socketlab.runs.predicting import Prediction

CLASSES = ("bed", "living_room", "sofa")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of depth images from 0.5 to 8 m."""
    folder = tmp_path_factory.mktemp("model")
    network = Classifier("resnet_small", CLASSES, bottleneck=8).eval()
    about: dict[str, Any] = {"domain": "cam/depth", "crop": 14, "size": 16, "method": "socket"}
    card = describe_classifier(network, configuration={}, scores={}, **about)
    file = write_model(network, folder, "safetensors", 1, card)
    deployment = Deployment(
        format="safetensors",
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        classes=CLASSES,
        data_set="small",
        domain_name="cam/depth",
        domain=Domain(
            modality="depth", unit="metre", bits=16, scale=0.001, invalid=0, range=(0.5, 8.0)
        ),
        size=16,
        crop=14,
        encoding="replicate",
        channels=1,
        check=Check(images=1, of="x", largest_difference=0.0, tolerance=1e-3),
        usual=Usual(mean=(0.1, 0.5), empty=0.1),
        run="tiny",
        stage="socket",
        chosen_by="last",
        versions={},
    )
    (folder / "deploy.json").write_text(deployment.model_dump_json())
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """25 depth images with nothing odd about them."""
    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(25):
        frame = draw.integers(1500, 3500, (20, 24), dtype=np.uint16)
        Image.fromarray(frame).save(folder / f"{number:02}.png")
    return folder


def shown(monkeypatch: pytest.MonkeyPatch, *words: object, width: int = 200) -> Any:
    monkeypatch.setattr(cli.console, "width", width, raising=False)
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_every_answer_is_shown_and_the_speed(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shown(monkeypatch, "predict", model, images, "--batch-size", 4, "--device", "cpu")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split() == ["file", "class", "confidence"]
    assert [line.split()[0] for line in lines[1:26]] == [
        str(images / f"{number:02}.png") for number in range(25)
    ]
    assert all(line.split()[1] in CLASSES and line.endswith("%") for line in lines[1:26])
    assert lines[26].startswith("25 images in ")
    assert "images/s, cpu," in lines[26]
    assert len(lines) == 27


def test_the_table_fits_80_columns_whatever_the_paths(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ROWS_AT_ONCE", 10)
    done = shown(monkeypatch, "predict", model, images, width=80)
    table = done.output.split("25 images in")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert done.output.count("confidence") == 1
    assert done.output.count("%\n") == 25
    assert len({line.rstrip().rfind("%") for line in table if line.endswith("%")}) == 1


def test_the_csv_has_a_column_for_every_class(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "answers.csv"
    done = shown(monkeypatch, "predict", model, images / "*.png", "--csv", file)
    assert done.exit_code == 0, done.output
    assert f"... and 5 more, all in {file}" in done.output
    assert done.output.count("%\n") == 20
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    assert list(rows[0]) == ["file", "class", "confidence", "p_bed", "p_living_room", "p_sofa"]
    assert [row["file"] for row in rows] == [str(images / f"{n:02}.png") for n in range(25)]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in CLASSES}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert max(shares, key=lambda name: shares[name]) == row["class"]
        assert float(row["confidence"]) == pytest.approx(max(shares.values()))
    assert [path.name for path in file.parent.iterdir()] == ["answers.csv"]


def test_what_could_not_be_read_is_listed_at_the_end_with_status_1(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "03.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(images / "07.png")
    file = tmp_path / "answers.csv"
    done = shown(monkeypatch, "predict", model, images, "--csv", file)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[-3] == "Could not be read (2 files):"
    assert lines[-2].startswith(f"  {images / '03.png'}: cannot identify image file")
    assert lines[-1].startswith(f"  {images / '07.png'}: expected 16-bit grey, found mode RGB")
    assert len(file.read_text().splitlines()) == 1 + 23


def test_what_is_unlike_the_training_data_is_marked_and_told(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.full((20, 24), 60_000, np.uint16)).save(images / "05.png")
    done = shown(monkeypatch, "predict", model, images)
    assert done.exit_code == 0
    marked = [line for line in done.output.splitlines() if ".png !" in line]
    assert len(marked) == 1 and "05.png" in marked[0]
    assert "Unlike what the model was made for (1 of 25 files):" in done.output
    assert f"{images / '05.png'}: 100% of its readings lie outside 0.5 to 8 metre" in done.output
    assert "0.10 to 0.50 was usual" in done.output


def test_many_warnings_are_counted_and_only_the_first_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "NOTES_SHOWN", 2)
    with answers.Answers(CLASSES, None, None) as heard:
        for number in range(5):
            heard.add(Prediction(Path(f"{number}.png"), "bed", 0.5, (0.5, 0.3, 0.2), ("dark",)))
    assert heard.finish(1.0, "cpu")
    said = capsys.readouterr().out
    assert "(5 of 5 files)" in said
    assert "  1.png: dark" in said and "  2.png: dark" not in said
    assert "  ... and 3 more" in said


def test_a_csv_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("older")
    with pytest.raises(KeyboardInterrupt), answers.Answers(CLASSES, file, None) as heard:
        heard.add(Prediction(Path("a.png"), "bed", 0.5, (0.5, 0.3, 0.2)))
        raise KeyboardInterrupt
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL", "nothing.png"], "is no file, folder or pattern"),
        (["MODEL", "IMAGES", "--csv", "IMAGES"], "is a folder. Give the name of a file"),
        (["MODEL", "IMAGES", "--device", "tpu"], "Unknown device 'tpu'"),
        (["IMAGES", "IMAGES"], "has no deploy.json"),
        (["MODEL", "EMPTY"], "No image was found"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    model: Path, images: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"MODEL": model, "IMAGES": images, "EMPTY": tmp_path / "empty"}
    given = [str(places.get(word, word)) for word in words]
    done = CliRunner().invoke(cli.app, ["predict", *given])
    assert done.exit_code != 0
    assert isinstance(done.exception, ValueError | FileNotFoundError)
    assert said in str(done.exception)


def test_export_hands_on_what_was_asked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from socketlab.models.deployment import read_deployment

    heard: dict[str, Any] = {}

    def export_run(run: str, form: str, **about: Any) -> exporting.Exported:
        heard.update(about, run=run, form=form)
        return exporting.Exported(model, read_deployment(model))

    monkeypatch.setattr(exporting, "export_run", export_run)
    words = ("export", "film", "--format", "onnx", "--stage", "s", "--chosen", "--output", "out")
    done = shown(monkeypatch, *words)
    assert done.exit_code == 0, done.output
    del heard["say"]
    assert heard == {
        "run": "film",
        "form": "onnx",
        "stage": "s",
        "chosen": True,
        "output": Path("out"),
    }
    assert f"Model: {model / 'model.safetensors'}" in done.output
    assert f"socketlab predict {model} IMAGES" in done.output


def test_a_format_must_be_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done = shown(monkeypatch, "export", "film", "--format", "pickle")
    assert done.exit_code == 2
    assert "'safetensors', 'onnx', 'pt2'" in done.output
