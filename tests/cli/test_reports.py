"""`socketlab report`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from socketlab import cli
from socketlab.runs.entries import Record, Result


def _run(folder: Path, accuracy: float) -> Path:
    folder.mkdir()
    row = Result(
        method="tent",
        protocol="held_out",
        source="a/rgb",
        target="a/depth",
        seed=0,
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        chosen_by="last",
        n=10,
        stage="tent",
    )
    record = Record(name=folder.name, created="", status="done", results=[row])
    (folder / "run.json").write_text(record.model_dump_json())
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs."""
    return [str(_run(tmp_path / "one", 0.5)), str(_run(tmp_path / "two", 0.3))]


def _call(*words: str) -> tuple[int, str]:
    shown = CliRunner().invoke(cli.app, ["report", *words])
    return shown.exit_code, shown.output.strip() or repr(shown.exception)


def test_one_run_and_several(runs: list[str], tmp_path: Path) -> None:
    assert _call(runs[0]) == (0, str(tmp_path / "one" / "report.html"))
    assert _call(*runs) == (0, str(tmp_path / "report.html"))
    assert "A report of 2 runs" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.parquet").is_file()
    assert _call(*runs, "-o", str(tmp_path / "x" / "p.html")) == (0, str(tmp_path / "x" / "p.html"))
    assert (tmp_path / "x" / "p.epochs.parquet").is_file()


def test_one_against_the_other(runs: list[str], tmp_path: Path) -> None:
    code, said = _call(runs[0], "--against", runs[1])
    assert (code, said) == (0, str(tmp_path / "one" / "against-two.html"))
    text = Path(said).read_text()
    assert "one against two" in text
    assert "+20.0" in text and "no interval: answers are not kept" in text


def test_refuses_in_words(runs: list[str], tmp_path: Path) -> None:
    code, said = _call(str(tmp_path / "three"))
    assert code == 1 and "three" in said
    code, said = _call(runs[0], "-o", str(tmp_path / "p.pdf"))
    assert code == 1 and "ends in .html" in said
