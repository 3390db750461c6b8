"""The notebooks on a camera whose images nobody has labelled, from colour folders to a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml


def test_every_notebook_but_the_comparison_runs_without_labels(
    root: Path, own_camera: Path, tmp_path: Path
) -> None:
    values = {
        "run": "own",
        "data": str(own_camera),
        "root": str(own_camera.parent),
        "size": 32,
        "protocol": "transductive",
        "source": "cam/rgb",
        "target": "cam/depth",
        "data_dir": str(tmp_path / "data"),
        "runs_dir": str(tmp_path / "runs"),
        "device": "cpu",
        "dtype": "float32",
        "source_options": {"epochs": 1, "batch_size": 4},
        "options": {
            "socket": {"epochs": 2, "batch_size": 4},
            "translated": {"epochs": 2, "batch_size": 4},
        },
        "steps": [
            {"notebook": "01_prepare_data", "examples": 2},
            "02_train_source",
            "04_train_translator",
            "05_transfer",
            {"notebook": "03_modality_gap", "points": 100},
        ],
    }
    parameters = tmp_path / "own.yaml"
    parameters.write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, "-m", "socketlab.cli", "run", "--params", str(parameters)],
        cwd=root,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no labels" in done.stdout
    record = json.loads((tmp_path / "runs" / "own" / "run.json").read_text())
    assert record["status"] == "done"
    assert {part["status"] for part in record["notebooks"].values()} == {"done"}
    rows = [row for row in record["results"] if row["target"] == "cam/depth"]
    assert {row["method"] for row in rows} == {"source_only", "socket", "translated"}
    assert all(row["accuracy"] is None and row["scores"] for row in rows)
    page = (tmp_path / "runs" / "own" / "report.html").read_text()
    assert "No image of cam/depth has a label" in page
