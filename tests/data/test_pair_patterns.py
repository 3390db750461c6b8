"""Which files are pairs: patterns over folders, files that stand alone, and what is no pattern."""

from pathlib import Path

import pytest

from socketlab.data.pair_patterns import PairFolderError, check_pattern, find_pairs


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_an_id_may_go_over_folders_and_hold_any_letter(tmp_path: Path) -> None:
    _touch(tmp_path, "a/b/1_rgb.jpg", "a/b/1_d.png", "x (2)_rgb.jpg", "x (2)_d.png", "z_rgbXjpg")
    halves, notes = find_pairs(tmp_path, "{id}_rgb.jpg", "{id}_d.png")
    assert halves == [
        {"a/b/1": "a/b/1_rgb.jpg", "x (2)": "x (2)_rgb.jpg"},
        {"a/b/1": "a/b/1_d.png", "x (2)": "x (2)_d.png"},
    ]
    assert notes == []


def test_a_folder_for_each_half(tmp_path: Path) -> None:
    _touch(tmp_path, "rgb/u/1.png", "nir/u/1.png", "other/u/1.png")
    halves, _ = find_pairs(tmp_path, "rgb/{id}.png", "nir/{id}.png")
    assert halves == [{"u/1": "rgb/u/1.png"}, {"u/1": "nir/u/1.png"}]


def test_a_file_that_both_fit_belongs_to_the_pattern_that_says_more(tmp_path: Path) -> None:
    _touch(tmp_path, "1.png", "1_depth.png")
    for first, second in (("{id}.png", "{id}_depth.png"), ("{id}_depth.png", "{id}.png")):
        halves, notes = find_pairs(tmp_path, first, second)
        assert [half["1"] for half in halves] == [f.replace("{id}", "1") for f in (first, second)]
        assert notes == []


def test_files_without_a_partner_are_counted_and_hidden_ones_not_seen(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"{n}_a.png" for n in "1234"), "4_b.png", "5_b.png", ".git/9_a.png")
    _touch(tmp_path, "._8_a.png")
    _, notes = find_pairs(tmp_path, "{id}_a.png", "{id}_b.png")
    assert notes == [
        "Left out, for they have no partner: 3 files like {id}_a.png.",
        "Left out, for they have no partner: 1 files like {id}_b.png.",
    ]


@pytest.mark.parametrize("pattern", ["rgb.jpg", "{id}/{id}.jpg", "/x/{id}.jpg", "*_{id}.jpg", ""])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(PairFolderError, match=r"second is '.*holds \{id\} once"):
        check_pattern(pattern, "second")


def test_a_pattern_is_given_back() -> None:
    assert check_pattern("nir/{id}.png", "first") == "nir/{id}.png"


def test_a_folder_without_pairs_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(PairFolderError, match=r"0 files fit first.*its 0 files: none\."):
        find_pairs(tmp_path, "{id}_a.png", "{id}_b.png")
    _touch(tmp_path, "1_a.png", "2_b.png", "2_c.png", "3_c.png")
    with pytest.raises(PairFolderError) as caught:
        find_pairs(tmp_path, "{id}_a.png", "{id}_b.png")
    said = str(caught.value)
    assert "1 files fit first = '{id}_a.png', 1 fit second = '{id}_b.png'" in said
    assert "4 files: 1_a.png, 2_b.png, 2_c.png." in said
    with pytest.raises(PairFolderError, match="nowhere' does not exist"):
        find_pairs(tmp_path / "nowhere", "{id}_a.png", "{id}_b.png")
