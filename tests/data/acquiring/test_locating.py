from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from socketlab.data.acquiring.acquire import AcquireError, candidate_roots, find_root, resolve_root
from socketlab.data.acquiring.downloads import part_of
from socketlab.data.acquiring.locating import how_by_hand, needed_space, pieces_of


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOCKETLAB_ROOT", str(tmp_path / "everything"))
    return folder


def made_of(small: Any, *names: str, **changes: Any) -> Any:
    """A manifest with archives of these names, at an address where nobody answers."""
    about = {"bytes": 1000, "checksum": "none published", **changes}
    small.raw["archives"] = [
        {"url": f"http://127.0.0.1:1/{name}", "filename": name, **about} for name in names
    ]
    return small.manifest


def put(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_places_are_looked_at_in_order(small: Any, elsewhere: Path, tmp_path: Path) -> None:
    data_dir = Path("data")
    expected = [
        tmp_path / "everything" / "small",
        data_dir / "raw" / "small",
        elsewhere.parent / "shared" / "data" / "small",
    ]
    assert candidate_roots(small.manifest, data_dir)[:3] == expected
    for folder in reversed(expected):
        put(folder / "sofa" / "00_rgb.png")
        assert resolve_root(small.manifest, None, data_dir) == folder
    given = tmp_path / "given"
    given.mkdir()
    assert resolve_root(small.manifest, given, data_dir) == given


def test_an_error_says_where_it_looked_and_what_to_do(small: Any) -> None:
    with pytest.raises(AcquireError) as caught:
        resolve_root(small.manifest, None, Path("data"))
    message = str(caught.value)
    for part in ("data/raw/small", "everything/small", "shared/data/small", "--root"):
        assert part in message
    assert "https://example.org/small (cite the paper)" in message
    assert "data get" not in message
    with pytest.raises(AcquireError, match=r"given root nowhere is no folder.*--root"):
        resolve_root(small.manifest, Path("nowhere"), Path("data"))
    with pytest.raises(AcquireError, match=r"Run: socketlab data get small\. Or get it from"):
        resolve_root(made_of(small, "small.zip"), None, Path("data"))


def test_a_folder_of_archives_alone_is_not_the_data_set(small: Any, tmp_path: Path) -> None:
    manifest = made_of(small, "a.zip", "b.tar.gz")
    folder = tmp_path / "everything" / "small"
    put(folder / "a.zip")
    assert find_root(manifest, Path("data")) is None
    put(Path("data") / "raw" / "small" / "sofa" / "00_rgb.png")
    assert find_root(manifest, Path("data")) == Path("data/raw/small")
    put(folder / "sofa" / "00_rgb.png")
    assert find_root(manifest, Path("data")) == folder


def test_a_folder_must_have_every_file_that_is_used_as_it_is(small: Any, tmp_path: Path) -> None:
    manifest = made_of(small, "labelled.mat", "splits.mat")
    folder = tmp_path / "everything" / "small"
    put(folder / "labelled.mat")
    assert find_root(manifest, Path("data")) is None
    put(folder / "splits.mat")
    assert find_root(manifest, Path("data")) == folder


def test_an_archive_is_found_in_the_usual_places(small: Any, tmp_path: Path) -> None:
    manifest = made_of(small, "a.zip", "b.zip", "c.zip", bytes=None)
    first = put(Path("data/raw/.archives/a.zip"), "1234")
    put(tmp_path / "everything" / "small" / "a.zip")
    second = put(tmp_path / "everything" / "small" / "b.zip", "12")
    third = Path("data/raw/.archives/c.zip")
    put(part_of(third), "123")
    pieces = pieces_of(manifest, Path("data"))
    assert [piece.path for piece in pieces] == [first, second, third]
    assert [piece.present for piece in pieces] == [True, True, False]
    assert [piece.size for piece in pieces] == [4, 2, None]
    assert [piece.arrived for piece in pieces] == [0, 0, 3]


def test_a_server_is_asked_for_a_size_that_nobody_states(small: Any, loopback: Any) -> None:
    manifest = made_of(small, "a.zip", bytes=None)
    archive = small.raw["archives"][0]
    archive["url"] = loopback.publish("a.zip", bytes(777))
    manifest = small.manifest
    assert pieces_of(manifest, Path("data"))[0].size == 777
    heard = len(loopback.heard)
    assert pieces_of(manifest, Path("data"), ask=False)[0].size is None
    archive["manual"] = "Click on the thing."  # its address is a page
    assert pieces_of(small.manifest, Path("data"))[0].size is None
    assert len(loopback.heard) == heard


def test_a_given_archive_is_used_where_it_is(small: Any, tmp_path: Path, elsewhere: Path) -> None:
    put(Path("data/raw/.archives/a.zip"))
    manifest = made_of(small, "a.zip", "b.zip")
    put(elsewhere / "mine" / "a.zip", "123")
    first, second = pieces_of(manifest, Path("data"), [Path("mine/a.zip")])
    assert (first.path, first.present, first.size) == (elsewhere / "mine/a.zip", True, 3)
    assert not second.present
    only = made_of(small, "a.zip")  # of one archive, the name does not matter
    other = put(tmp_path / "download (1).zip")
    assert pieces_of(only, Path("data"), [other])[0].path == other


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere.zip"], r"--archive nowhere\.zip: there is no such file"),
        (["other.zip"], r"--archive other\.zip: 'small' is made of a\.zip, b\.zip, each once"),
        (["a.zip", "deep/a.zip"], r"--archive deep/a\.zip: .*published name"),
    ],
)
def test_a_given_file_that_does_not_belong_is_an_error(
    small: Any, given: list[str], message: str
) -> None:
    for name in ("other.zip", "a.zip", "deep/a.zip"):
        put(Path(name))
    with pytest.raises(AcquireError, match=message):
        pieces_of(made_of(small, "a.zip", "b.zip"), Path("data"), [Path(name) for name in given])


def test_a_given_file_of_a_data_set_without_archives_is_an_error(small: Any) -> None:
    with pytest.raises(AcquireError, match=r"'small' is made of no archive"):
        pieces_of(small.manifest, Path("data"), [put(Path("a.zip"))])


def test_space_is_needed_for_what_comes_and_what_is_unpacked(small: Any) -> None:
    manifest = made_of(small, "a.zip", "b.tar", "c.mat", "d.zip")
    put(Path("data/raw/.archives/a.zip"), "x" * 300)
    put(Path("data/raw/.archives/b.tar.part"), "x" * 400)
    # to come: 600 of b, 1000 of c and of d; to unpack: 300 of a, 1000 of b and of d
    assert needed_space(pieces_of(manifest, Path("data"))) == 2600 + 2300


def test_a_person_is_told_what_to_click_and_where_to_put_it(small: Any) -> None:
    manifest = made_of(small, "a.zip", manual="Click 'Download', accept the terms.")
    text = how_by_hand(manifest, pieces_of(manifest, Path("data"))[0])
    for part in (
        "Open http://127.0.0.1:1/a.zip. Click 'Download', accept the terms. ",
        "Put the file at data/raw/.archives/a.zip, or pass it with --archive.",
    ):
        assert part in text
