from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from socketlab.data.drafting.names import are_recordings, image_files, named_parts, read_name


@pytest.mark.parametrize(
    ("path", "pattern", "modality"),
    [
        ("0055_rgb.jpg", ("", "0055", "_rgb.jpg"), "rgb"),
        ("0055_depth.png", ("", "0055", "_depth.png"), "depth"),
        ("frame-000001.color.png", ("", "frame-000001", ".color.png"), "rgb"),
        ("7_depth_raw.tiff", ("", "7", "_depth_raw.tiff"), "depth"),
        ("depth_raw_7.png", ("depth_raw_", "7", ".png"), "depth"),
        ("rgb_kitchen_7.png", ("rgb_", "kitchen_7", ".png"), "rgb"),
        ("ir12.png", ("ir", "12", ".png"), "nir"),
        ("12NIR.png", ("", "12", "NIR.png"), "nir"),
        ("IMG_0001.jpg", ("IMG_", "0001", ".jpg"), None),
        ("first.png", ("", "first", ".png"), None),  # "ir" is no word of it
        ("depth/rgb_1.png", ("rgb_", "1", ".png"), "rgb"),  # the file's own name counts first
        ("rgb/images/1.png", ("", "1", ".png"), "rgb"),
    ],
)
def test_a_name_says_modality_and_id(
    path: str, pattern: tuple[str, str, str], modality: str | None
) -> None:
    named = read_name(PurePosixPath(path))
    assert (named.before, named.id, named.after) == pattern
    assert named.modality == modality


def test_folders_of_a_modality_are_told_from_others() -> None:
    named = read_name(PurePosixPath("kitchen/Depth_raw/3.png"))
    assert named.folders == ("", "Depth_raw") and named.levels == ("kitchen",)
    assert named.shape == (("", "Depth_raw"), "", ".png")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["seq01", "seq02"], True),
        (["2024-05-17", "2024-05-18"], True),
        (["1", "2"], True),
        (["bed", "sofa"], False),
        (["bed1", "sofa2"], False),
        (["class1", "class2"], False),
        (["run1", "run"], False),
    ],
)
def test_numbered_folders_are_recordings(names: list[str], found: bool) -> None:
    assert are_recordings(names) is found


def parts_of(*paths: str) -> list[tuple[str, str | None, int]]:
    return [
        (part.folder.as_posix(), part.split, len(part.files))
        for part in named_parts(map(PurePosixPath, paths))
    ]


def test_folders_that_are_parts() -> None:
    assert parts_of("pairs/1_rgb.png", "pairs/1_depth.png", "target/1.png", "source/bed/1.jpg") == [
        ("pairs", None, 2),
        ("target", None, 1),
        ("source/bed", None, 1),
    ]
    # laid out unlike each other, whatever they are called
    assert parts_of("kinect/1_rgb.png", "kinect/1_depth.png", "robot/a.png") == [
        ("kinect", None, 2),
        ("robot", None, 1),
    ]
    splits = [f"{split}/{name}/1.png" for split in ("training", "val") for name in ("bed", "cot")]
    assert parts_of(*splits) == [("training", "train", 2), ("val", "val", 2)]


def test_folders_that_are_no_parts() -> None:
    assert parts_of("bed/1.png", "cot/2.png", "sofa/3.png") == [(".", None, 3)]
    # a class without one of the cameras is still a class
    classes = [f"{name}/{i}_rgb.png" for i, name in enumerate(("bed", "cot", "sofa"))]
    assert parts_of(*classes, "bed/0_depth.png", "cot/1_depth.png") == [(".", None, 5)]
    # the same images in each: two cameras
    assert parts_of("left/1.jpg", "left/2.jpg", "kinect/1.png", "kinect/2.png") == [(".", None, 4)]
    assert parts_of("rgb/1.png", "depth/1.png") == [(".", None, 2)]


def test_files_of_other_depth_are_a_part_of_their_own() -> None:
    assert parts_of("1_depth.png", "bed/2_rgb.png", "cot/3_rgb.png") == [
        (".", None, 1),
        (".", None, 2),
    ]
    assert parts_of("all/of/it/bed/1.png", "all/of/it/cot/1.png") == [("all/of/it", None, 2)]


def test_only_images_that_are_not_hidden_are_found(tmp_path: Path) -> None:
    for name in ("b/1.PNG", "a.jpg", ".x/1.png", "b/.1.png", "notes.txt", "more.txt", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found, others = image_files(tmp_path)
    assert found == [PurePosixPath("a.jpg"), PurePosixPath("b/1.PNG")]
    assert others == {".txt": 2, "without ending": 1}
