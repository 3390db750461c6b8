"""Two data sets in one session: images of one's own camera, and the pairs of another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from socketlab.runs.data_session import DataSession
from socketlab.runs.parameters import PrepareData

Own = Callable[..., PrepareData]


def manifest(name: str, folder: Path, sensor: str, pattern: str, **changes: Any) -> dict[str, Any]:
    """Depth in a folder of its own; `changes` go on top."""
    return {
        "name": name,
        "layout": {
            "kind": "paired_folders",
            "size": 8,
            "parts": [
                {
                    "folder": str(folder),
                    "patterns": {f"{sensor}/depth": pattern},
                    "class": "unlabelled",
                }
            ],
        },
        "domains": {
            f"{sensor}/depth": {
                "modality": "depth",
                "unit": "metre",
                "bits": 16,
                "scale": 0.001,
                "range": [0.5, 4],
            }
        },
        "classes": {"task_relevant": ["bed"]},
        "protocols": {
            "field": {
                "description": "adapt only",
                "source_splits": ["all"],
                "adapt_splits": ["all"],
                "score_splits": ["all"],
                "pair_splits": ["all"],
            }
        },
        **changes,
    }


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Parameters of a data set without any pair or colour image, whose pairs are elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name, shape in (("mine/1", (9, 9)), ("pairs/1_d", (9, 9)), ("pairs/1_c", (9, 9, 3))):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full(shape, 9, np.uint8 if len(shape) > 2 else np.uint16)).save(path)
    others = manifest("others", tmp_path / "pairs", "far", "{id}_d.png")
    others["domains"]["far/rgb"] = {
        "modality": "rgb",
        "unit": "intensity",
        "bits": 8,
        "range": [0, 255],
    }
    part = others["layout"]["parts"][0]
    part["patterns"]["far/rgb"], part["class"] = "{id}_c.png", "pairs"
    others["classes"]["task_irrelevant"] = ["pairs"]
    mine = manifest("mine", tmp_path / "mine", "cam", "{id}.png")
    mine["protocols"]["field"]["pairs_from"] = "others"
    (tmp_path / "model.yaml").write_text("network: resnet18\nclasses: [bed]\n")

    def build(**changes: Any) -> PrepareData:
        (tmp_path / "data_manifests").mkdir(exist_ok=True)
        for each in (mine, others | changes.pop("others", {})):
            path = tmp_path / "data_manifests" / f"{each['name']}.yaml"
            path.write_text(yaml.safe_dump(each))
        given = {"data": "mine", "size": 8, "protocol": "field", "target": "cam/depth"}
        given |= {"source": "far/rgb", "source_model": "model.yaml", "device": "cpu"}
        return PrepareData.model_validate({**given, "crop": 8, **changes})

    return build


def test_pairs_of_another_data_set_are_prepared_along(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrepareData, "own_model", None)
    session = DataSession(own())
    views = session.views()
    assert views.target.images.ids == ("cam/depth/1",) and len(views.evaluation.images) == 0
    assert views.pairs is not None and views.pairs.pair_ids == ("far/1",)
    assert views.pairs.source.raw.shape == (1, 8, 8, 3)
    prepared = {path.parents[1].name for path in (tmp_path / "data").rglob("store.json")}
    assert prepared == {"mine", "others"}
    kept = session.pair_store("field")
    assert kept is not None and session.pair_store("field") is kept  # compared with its sums once


def test_what_cannot_be_is_refused_before_anything_is_read(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrepareData, "own_model", None)
    with pytest.raises(ValidationError, match=r"nothing can be trained on it\. Give source_model"):
        own(source_model=None)
    with pytest.raises(ValidationError, match=r"Unknown domain of data set 'others' 'near/rgb'"):
        own(source="near/rgb")
    with pytest.raises(ValidationError, match=r"source 'far/depth' is not rgb"):
        own(source="far/depth")
    with pytest.raises(ValidationError, match=r"'mine' and 'others' share images"):
        own(others={"overlaps": {"mine": "one image"}})
    assert own().pair_manifest("field") is not None
