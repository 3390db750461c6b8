"""`socketlab data get`, `list` and `info`: terms and sizes first, and what is on this machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from socketlab import cli
from socketlab.cli import data as commands
from socketlab.cli.data_tables import list_table

PNG = b"not looked at"


@pytest.fixture
def get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls `data get own --data-dir data` in an empty folder, with a person or without."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOCKETLAB_ROOT", raising=False)
    monkeypatch.setattr(cli.console, "width", 300, raising=False)

    def call(*words: str, answers: str | None = None) -> Result:
        monkeypatch.setattr(commands, "can_ask", lambda: answers is not None)
        return CliRunner().invoke(cli.app, ["data", "get", "own", *words], input=answers)

    return call


@pytest.fixture
def archive(loopback: Any) -> dict[str, Any]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("mug/1_rgb.png", PNG)
    url = loopback.publish("own.zip", content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return {"url": url, "filename": "own.zip", "bytes": None, "checksum": f"sha256:{digest}"}


def write(own_camera: Path, *archives: dict[str, Any], **changes: Any) -> None:
    """A manifest called `own` in the working folder, of these archives."""
    raw = yaml.safe_load(own_camera.read_text())
    raw |= {"name": "own", "archives": list(archives), "terms": "cite [the paper]", **changes}
    Path("data_manifests").mkdir(exist_ok=True)
    Path("data_manifests/own.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


def gets(loopback: Any) -> list[str]:
    return [name for method, name, _ in loopback.heard if method == "GET"]


def test_terms_and_sizes_are_shown_before_a_person_is_asked(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    write(own_camera, archive)
    size = len(loopback.files["own.zip"])
    shown = get(answers="n\n")
    assert shown.exit_code == 1
    for words in (
        "licence: not stated",
        "terms: cite [the paper]",
        archive["url"],
        f"To download: {size} bytes. With everything unpacked this takes about {2 * size} bytes",
        "Free in data: ",
        "Download under these terms?",
    ):
        assert words in shown.output
    assert gets(loopback) == []
    assert not Path("data/raw/own").exists()

    shown = get(answers="y\n")
    assert shown.exit_code == 0, shown.output
    assert Path("data/raw/own/mug/1_rgb.png").read_bytes() == PNG
    assert "The files of own are in data/raw/own" in shown.output
    assert shown.output.endswith("Next: socketlab data prepare own\n")

    again = get()
    assert again.exit_code == 0
    assert "own is already in data/raw/own" in again.output
    assert "terms" not in again.output
    assert gets(loopback) == ["own.zip"]


def test_a_size_that_nobody_states_is_named(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    write(own_camera, archive, {**archive, "filename": "more.mat", "bytes": 2_000_000})
    loopback.lengths = False
    shown = get(answers="n\n")
    assert "To download: 2.0 MB, and own.zip, whose size nobody states" in shown.output
    assert "takes more than 2.0 MB" in shown.output


def test_without_a_terminal_the_terms_must_be_accepted_in_words(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    write(own_camera, archive)
    shown = get()
    assert isinstance(shown.exception, ValueError)
    assert "nobody can be asked here" in str(shown.exception)
    assert "--accept-terms" in str(shown.exception)
    assert gets(loopback) == []
    shown = get("--accept-terms", "--data-dir", "elsewhere")
    assert shown.exit_code == 0, shown.output
    assert "terms: cite [the paper]" in shown.output
    assert "Download under these terms?" not in shown.output
    assert Path("elsewhere/raw/own/mug/1_rgb.png").is_file()
    assert shown.output.endswith("Next: socketlab data prepare own --data-dir elsewhere\n")


def test_an_archive_that_is_here_is_nothing_to_be_asked_about(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    write(own_camera, archive)
    Path("mine.zip").write_bytes(loopback.files["own.zip"])
    shown = get("--archive", "mine.zip")
    assert shown.exit_code == 0, shown.output
    assert "To download" not in shown.output
    assert Path("data/raw/own/mug/1_rgb.png").is_file()
    assert loopback.heard == []


def test_a_person_downloads_what_no_program_may(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    write(own_camera, {**archive, "manual": "Click 'Indoor'.", "checksum": "none published"})
    shown = get("--accept-terms")
    assert "Click 'Indoor'." in str(shown.exception)
    assert "run again: socketlab data get own" in str(shown.exception)
    shown = get(answers="n\n")
    assert shown.exit_code == 1
    assert "Put the file at data/raw/.archives/own.zip" in shown.output
    assert "Is it there?" in shown.output

    asked: list[str] = []

    def confirm(question: str, **options: Any) -> None:
        asked.append(question)
        if len(asked) == 2:  # the first answer was not true
            Path("data/raw/.archives/own.zip").write_bytes(loopback.files["own.zip"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.typer, "confirm", confirm)
        shown = get(answers="")
    assert shown.exit_code == 0, shown.output
    assert asked == ["Is it there?"] * 2
    assert Path("data/raw/own/mug/1_rgb.png").is_file()
    assert loopback.heard == []
    assert "own/own.zip" in Path("data/raw/archives.lock.json").read_text()


def test_what_is_drawn_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli.app, ["data", "get", "scenes"])
    assert shown.exit_code == 0
    assert shown.output == "scenes is drawn, not downloaded.\nNext: socketlab data prepare scenes\n"


def rows(width: int, *names: str, data_dir: Path = Path("data")) -> dict[str, list[list[str]]]:
    """Lines of `data list` as cells, by data set."""
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    with console.capture() as capture:
        console.print(list_table(names, data_dir, width))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    found: dict[str, list[list[str]]] = {}
    name = ""
    for line in filter(str.strip, lines[3:]):
        name = line.split()[0] if line[1] != " " else name
        found.setdefault(name, []).append([cell for cell in line.strip().split("  ") if cell])
    return found


def test_the_list_fits_a_narrow_terminal() -> None:
    """Domains, classes and images of every data set stand on a line of 80 columns."""
    found = rows(80, "scenes", "nyuv2_scenes_224", data_dir=Path("nowhere"))
    cells = [cell.strip() for cell in found["scenes"][0]]
    assert cells == ["scenes", "a b: rgb, depth, nir", "6 + 12", "27000", "built in"]
    assert [len(lines) for lines in found.values()] == [1, 1]


def test_a_wide_list_counts_images_per_camera() -> None:
    found = rows(140, "scenes", data_dir=Path("nowhere"))
    words = " ".join(found["scenes"][0])
    assert "a b: rgb 4500, depth 4500, nir 4500" in words
    assert "Rendered rooms with one thing each" in words


def test_cameras_that_differ_have_a_line_each(own_camera: Path, get: Any) -> None:
    write(own_camera)
    assert "cam: rgb 28, depth 22" in str(rows(140, "own"))  # unlabelled ones are images, too
    assert "50" in str(rows(80, "own"))


def test_the_list_says_what_is_on_this_machine(own_camera: Path, get: Any) -> None:
    write(own_camera)
    assert rows(80, "own")["own"][0][-1].strip() == "files"  # its parts say where they are
    layout = yaml.safe_load(own_camera.read_text())["layout"]
    below = [part | {"folder": Path(part["folder"]).name} for part in layout["parts"]]
    write(own_camera, layout=layout | {"parts": below})
    assert rows(80, "own")["own"][0][-1].strip() == "no"
    Path("data/raw/own/mug").mkdir(parents=True)
    assert rows(80, "own")["own"][0][-1].strip() == "files"
    for folder in ("224-abc", "64-abc", "64-def", "32-half"):
        Path("data/own", folder).mkdir(parents=True)
        if folder != "32-half":
            Path("data/own", folder, "store.json").write_text("{}")
    assert "prepared: 64, 224 px" in str(rows(140, "own"))


def test_a_data_set_without_counts_is_listed(own_camera: Path, get: Any) -> None:
    write(own_camera, expected={"cam/rgb": {}, "cam/depth": {}})
    assert "unknown" in str(rows(140, "own"))


def test_a_manifest_that_cannot_be_read_does_not_hide_the_others(
    own_camera: Path, get: Any
) -> None:
    write(own_camera, layout={"kind": "[none]"})
    found = rows(140, "own", "scenes")
    assert "not readable" in str(found["own"])
    assert "[none]" in str(found["own"])
    assert "27000" in str(found["scenes"])


def test_archives_are_described_without_asking_a_server(
    own_camera: Path, get: Any, archive: dict[str, Any], loopback: Any
) -> None:
    by_hand = {**archive, "filename": "more.zip", "bytes": 2_500_000, "manual": "Click."}
    write(own_camera, archive, by_hand)
    Path("data/raw/.archives").mkdir(parents=True)
    Path("data/raw/.archives/own.zip.part").write_bytes(b"123")
    shown = CliRunner().invoke(cli.app, ["data", "info", "own"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    part = ["(3", "bytes", "have", "arrived)"]
    assert ["own.zip", "not", "stated", "sha256", archive["url"], *part] in lines
    assert ["more.zip", "2.5", "MB", "sha256", archive["url"], "(by", "hand)"] in lines
    assert "On this machine: no" in shown.output
    assert loopback.heard == []
    Path("data/raw/.archives/own.zip").write_bytes(b"1234")
    shown = CliRunner().invoke(cli.app, ["data", "info", "own"])
    here = ["own.zip", "4", "bytes", "sha256", "data/raw/.archives/own.zip"]
    assert here in [line.split() for line in shown.output.splitlines()]
