from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from socketlab.data.manifest import Manifest, ManifestError, load_manifest
from socketlab.data.overlaps import check_overlap

SHARED = ("sunrgbd", "nyu_depth_v2", "nyuv2_scenes_224")


@pytest.mark.parametrize(("first", "second"), list(permutations(SHARED, 2)))
def test_the_copies_of_nyu_are_known_to_each_other(first: str, second: str) -> None:
    for one, other in ((first, second), (load_manifest(first), load_manifest(second))):
        with pytest.raises(ValueError, match=r"share images.*Take another data set") as caught:
            check_overlap(one, other)
        assert repr(first) in str(caught.value) and repr(second) in str(caught.value)
        assert "1,449 pairs" in str(caught.value)


def test_others_and_oneself_may_meet() -> None:
    for name in SHARED:
        check_overlap(name, name)
        check_overlap(name, load_manifest(name))
        check_overlap(name, "scenes")
        check_overlap("scenes", name)


@pytest.fixture
def own(small: Any) -> Manifest:
    """A data set that says of itself that it holds images of another one, which is not here."""
    small.raw["overlaps"] = {"elsewhere": "the room of the first hundred"}
    manifest: Manifest = small.manifest
    return manifest


def test_it_is_enough_that_one_says_so(own: Manifest) -> None:
    for pair in ((own, "elsewhere"), ("elsewhere", own)):
        with pytest.raises(ValueError, match=r"'small' says of 'elsewhere': the room of the first"):
            check_overlap(*pair)
    check_overlap(own, "somewhere_else")
    check_overlap("nowhere", "elsewhere")


def test_a_data_set_that_names_itself_meets_itself(own: Manifest, small: Any) -> None:
    small.raw["overlaps"] = {"small": "itself"}
    check_overlap(small.manifest, own)


def test_paths_stand_for_their_data_sets(own: Manifest, small: Any) -> None:
    path = str(small.data_dir.parent / "small.yaml")
    with pytest.raises(ValueError, match=r"'small' and 'elsewhere'"):
        check_overlap(path, "elsewhere")
    with pytest.raises(ValueError, match=r"'elsewhere' and 'small'"):
        check_overlap("gone/elsewhere.yaml", path)
    check_overlap(path, own)


def test_a_broken_manifest_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump({"name": "broken"}))
    with pytest.raises(ManifestError, match=r"broken\.yaml"):
        check_overlap(str(path), "scenes")
