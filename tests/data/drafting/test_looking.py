from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from socketlab.data.drafting.looking import Found, LookError, look


def save(path: Path, kind: str = "rgb") -> None:
    """A picture of 6 x 4 pixels: colour, 8-bit grey, or 16-bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
        "rgb": np.full((4, 6, 3), 9, np.uint8),
        "grey": np.full((4, 6), 9, np.uint8),
        "wide": np.full((4, 6), 900, np.uint16),
    }
    Image.fromarray(arrays[kind]).save(path)


def patterns(found: Found) -> dict[str, tuple[str | None, int]]:
    return {
        (part.folder.relative_to(found.folder) / each.pattern).as_posix(): (
            each.modality,
            len(each.keys),
        )
        for part in found.parts
        for each in part.patterns
    }


def test_pairs_in_class_folders_with_a_table(tmp_path: Path) -> None:
    for number, name in enumerate(("bed", "sofa", "sofa")):
        save(tmp_path / name / f"{number}_rgb.jpg")
        save(tmp_path / name / f"{number}_depth.png", "wide")
    (tmp_path / "pairs.csv").write_text("split,id,class\ntrain,0,bed\n")
    (tmp_path / "poses.csv").write_text("id,x\n0,1\n")
    (tmp_path / "notes.txt").write_text("x")
    found = look(tmp_path)
    assert patterns(found) == {
        "{class}/{id}_rgb.jpg": ("rgb", 3),
        "{class}/{id}_depth.png": ("depth", 3),
    }
    (part,) = found.parts
    assert part.classes == ("bed", "sofa") and part.table == "pairs.csv"
    said = " ".join(found.notes)
    assert "2 folders of" in said and "are taken as classes (bed, sofa)" in said
    assert "poses.csv is not used: columns id, x" in said and "1 .txt" in said


def test_siblings_classes_and_recordings_in_one_pattern(tmp_path: Path) -> None:
    for name, kind in (("rgb", "rgb"), ("depth", "wide")):
        for run_name in ("run1", "run2"):
            for class_name in ("bed", "sofa"):
                save(tmp_path / name / run_name / class_name / "0.png", kind)
    found = look(tmp_path)
    assert patterns(found) == {
        "rgb/{set}/{class}/{id}.png": ("rgb", 4),
        "depth/{set}/{class}/{id}.png": ("depth", 4),
    }
    swapped = patterns(look(tmp_path, "classes"))
    assert "rgb/{set}/{class}/{id}.png" in swapped  # bed and sofa are in both runs


def test_a_person_says_what_folders_are(tmp_path: Path) -> None:
    for name in ("day1", "day2"):
        save(tmp_path / name / "0_nir.png", "grey")
    assert list(patterns(look(tmp_path))) == ["{set}/{id}_nir.png"]
    found = look(tmp_path, "classes")
    assert list(patterns(found)) == ["{class}/{id}_nir.png"]
    assert found.parts[0].classes == ("day1", "day2")
    for name in ("bed", "sofa"):
        save(tmp_path / "named" / name / "0_nir.png", "grey")
    assert list(patterns(look(tmp_path / "named", "recordings"))) == ["{set}/{id}_nir.png"]


def test_cameras_without_a_word_are_told_by_what_they_hold(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "left" / f"{number}.jpg")
        save(tmp_path / "kinect" / f"{number}.png", "wide")
    found = look(tmp_path)
    assert patterns(found) == {"left/{id}.jpg": ("rgb", 2), "kinect/{id}.png": (None, 2)}
    assert len(found.parts) == 1  # so that they are partners


def test_what_no_pattern_describes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookError, match=r"holds no image .*found nothing"):
        look(tmp_path)
    with pytest.raises(LookError, match=r"gone is no folder"):
        look(tmp_path / "gone")
    for name in ("a", "b"):
        for inner in ("c", "d"):
            for inmost in ("e", "f"):
                save(tmp_path / "deep" / name / inner / inmost / "1.png")
    with pytest.raises(LookError, match=r"in 3 levels of folders, e\.g\. a/c/e/1\.png"):
        look(tmp_path / "deep")
    save(tmp_path / "mixed" / "1.png")
    save(tmp_path / "mixed" / "2.png", "wide")
    with pytest.raises(LookError, match=r"stands for colour .*1\.png.* and for grey .*2\.png"):
        look(tmp_path / "mixed")
    save(tmp_path / "map" / "1_depth.png")
    with pytest.raises(LookError, match=r"named depth, but holds colour.*cannot be undone"):
        look(tmp_path / "map")
    save(tmp_path / "grey" / "1_rgb.png", "grey")
    with pytest.raises(LookError, match=r"named rgb, but holds one channel"):
        look(tmp_path / "grey")
    (tmp_path / "grey" / "1_rgb.png").write_bytes(b"cut")
    with pytest.raises(LookError, match=r"1_rgb\.png"):
        look(tmp_path / "grey")
