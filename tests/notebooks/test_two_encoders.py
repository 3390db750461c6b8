"""Notebook 07: on built-in pairs, and on a folder with too few of them for a map."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.runs.planning import plan
from socketlab.runs.running import run_all

Workplace = Any  # that of conftest.py, which cannot be imported
Run = Callable[..., Path]


@pytest.fixture
def run(
    workplace: Workplace, tiny_scenes: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs the notebook with these parameters and gives the run's folder."""
    monkeypatch.chdir(workplace.root)
    shared = {"data": str(tiny_scenes), "data_dir": str(tiny_data), "runs_dir": str(workplace.runs)}
    about = {"size": 32, "device": "cpu", "dtype": "float32"}

    def to_its_end(**values: Any) -> Path:
        (folder,) = run_all(plan(["07"], {**shared, **about, **values}, {}), warm=True)
        return folder

    return to_its_end


def _record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def _words(folder: Path) -> str:
    """All that the executed notebook's cells have printed or shown."""
    executed = json.loads((folder / "notebooks" / "07_two_encoders.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    texts = [output.get("text", "") for output in outputs]
    for output in outputs:
        texts += [text for kind, text in output.get("data", {}).items() if "text/" in kind]
    return "\n".join("".join(text) for text in texts)


def test_built_in_pairs_give_numbers_a_map_and_pictures(run: Run) -> None:
    folder = run(run="encoders", most_pairs=40)
    record = _record(folder)
    assert record["status"] == record["notebooks"]["07_two_encoders"]["status"] == "done"
    names = [Path(row["file"]).stem for row in record["figures"]]
    assert names == ["07_two_encoders-map", "07_two_encoders-farthest"]
    for row in record["figures"]:
        assert (folder / row["file"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    words = _words(folder)
    assert "40 of 108 pairs" in words
    for measure in ("centroid gap", "RMG", "R@1", "linear CKA", "mutual neighbours"):
        assert measure in words
    assert "stopped" not in words
    assert "The run is done." in words


def test_a_folder_with_too_few_pairs_says_what_stops_and_goes_on(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for row in range(8):
        colour = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(colour).save(tmp_path / f"{row}_rgb.png")
        Image.fromarray(colour[..., 1].astype(np.uint16) * 20 + 1).save(tmp_path / f"{row}_z.png")
    (tmp_path / "8_rgb.png").write_text("text")
    folder = run(
        run="few_pairs",
        pairs=str(tmp_path),
        first="{id}_rgb.png",
        second="{id}_z.png",
        second_encoder="test_resnet",
        align="procrustes",
    )
    record = _record(folder)
    assert record["status"] == "done"
    assert record["figures"] == []
    words = _words(folder)
    assert "8 pairs at 32 pixels." in words
    assert "no partner: 1 files like {id}_rgb.png" in words
    assert "second: more than 8 bits" in words
    assert "Rotation fitted on 4 pairs" in words
    assert "No map: 8 points are too few" in words
    assert "There is no map; the cell above says why." in words
    assert "too few: this needs 21" in words
    assert "RMG" in words
