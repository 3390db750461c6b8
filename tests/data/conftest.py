"""A data set of a few small images on disk, and its manifest, for the tests of ``data``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from socketlab.data.manifest import Manifest, load_manifest

CLASSES = {"bed": 3, "sofa": 2, "gate": 2}
"""Images per class; the last one of each class is in the split ``test``."""


@dataclass
class SmallData:
    """`root` holds the images, `raw` is what the manifest's YAML says; both may be edited."""

    root: Path
    data_dir: Path
    raw: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        path = self.data_dir.parent / "small.yaml"
        path.write_text(yaml.safe_dump(self.raw))
        return load_manifest(path)

    def file(self, name: str) -> Path:
        return self.root / name

    def table(self) -> list[str]:
        return (self.root / "table.csv").read_text().splitlines()

    def write_table(self, lines: list[str]) -> None:
        (self.root / "table.csv").write_text("\n".join(lines) + "\n")


def raw_manifest() -> dict[str, Any]:
    counts = {name: {"train": count - 1, "test": 1} for name, count in CLASSES.items()}
    splits = {"source_splits": ["train"], "score_splits": ["test"]}
    return {
        "name": "small",
        "title": "Small",
        "citation": "none",
        "licence": "none",
        "terms": "cite the paper",
        "homepage": "https://example.org/small",
        "archives": [],
        "layout": {
            "kind": "paired_folders",
            "size": 8,
            "parts": [
                {
                    "table": "table.csv",
                    "patterns": {
                        "cam/rgb": "{class}/{id}_rgb.png",
                        "cam/depth": "{class}/{id}_depth.png",
                    },
                }
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
                "range": [0.5, 8.0],
            },
        },
        "classes": {"task_relevant": ["sofa", "bed"], "task_irrelevant": ["gate"]},
        "protocols": {
            "held_out": {
                **splits,
                "description": "held out",
                "adapt_splits": ["train"],
                "pair_splits": ["train", "test"],
            },
            "without_pairs": {
                **splits,
                "description": "no pairs",
                "adapt_splits": ["test"],
                "task_irrelevant": [],
            },
        },
        "expected": {"cam/rgb": counts, "cam/depth": counts},
    }


@pytest.fixture
def small(tmp_path: Path) -> SmallData:
    """Seven pairs of 12 x 10 pixels, ids 00 to 06; the last of each class is in ``test``."""
    root = tmp_path / "images"
    draw = np.random.default_rng(0)
    lines, number = ["id,class,split"], 0
    for name, count in CLASSES.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            rgb = draw.integers(0, 256, (10, 12, 3), dtype=np.uint8)
            depth = draw.integers(600, 7000, (10, 12), dtype=np.uint16)
            Image.fromarray(rgb).save(root / name / f"{number:02}_rgb.png")
            Image.fromarray(depth).save(root / name / f"{number:02}_depth.png")
            lines.append(f"{number:02},{name},{'test' if index == count - 1 else 'train'}")
            number += 1
    data = SmallData(root, tmp_path / "data", raw_manifest())
    data.write_table(lines)
    return data


@pytest.fixture
def scenes_manifest(tmp_path: Path) -> Callable[..., Manifest]:
    """The built-in data set with two classes and a handful of images; `changes` go on top."""

    def build(**changes: Any) -> Manifest:
        path = Path(__file__).resolve().parents[2] / "data_manifests" / "scenes.yaml"
        raw = yaml.safe_load(path.read_text())
        raw["layout"]["counts"] = {
            "task_relevant": {"train": 2, "test": 1},
            "task_irrelevant": {"train": 2},
        }
        raw["classes"] = {"task_relevant": ["mug", "chair"], "task_irrelevant": ["ball"]}
        counts = {
            "mug": {"train": 2, "test": 1},
            "chair": {"train": 2, "test": 1},
            "ball": {"train": 2},
        }
        raw["expected"] = dict.fromkeys(raw["domains"], counts)
        raw.update(changes)
        small_path = tmp_path / "scenes.yaml"
        small_path.write_text(yaml.safe_dump(raw))
        return load_manifest(small_path)

    return build
