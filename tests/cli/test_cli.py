"""The command line, but for the running of notebooks: words, tables and one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from socketlab import cli
from socketlab.runs.record import Result, Run


def call(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "socketlab.cli", *words], cwd=root, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("written", "joined"),
    [
        (["run", "05", "-p", "seed", "3"], ["run", "05", "-p", "seed=3"]),
        (["run", "-p", "seed=3", "05"], ["run", "-p", "seed=3", "05"]),
        (["run", "-p", "a", "1", "-p", "b.c", "[x, y]"], ["run", "-p", "a=1", "-p", "b.c=[x, y]"]),
        (["run", "-p", "run", "-p"], ["run", "-p", "run=-p"]),
        (["run", "-p", "seed", "-1"], ["run", "-p", "seed=-1"]),
        (["run", "-p", "expression", "a=b"], ["run", "-p", "expression=a=b"]),
        (["run", "-p", "seed"], ["run", "-p", "seed="]),
        (["data", "list"], ["data", "list"]),
    ],
)
def test_a_parameters_name_and_value_become_one_word(written: list[str], joined: list[str]) -> None:
    assert cli.join_parameters(written) == joined


def test_all_data_sets_are_listed_with_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "width", 200, raising=False)
    shown = CliRunner().invoke(cli.app, ["data", "list"])
    assert shown.exit_code == 0
    # 6 domains x (6 TR classes x 350 + 12 TI classes x 200)
    assert all(word in shown.output for word in ("scenes", "6 + 12", "27000", "nyuv2_scenes_224"))


def test_a_data_set_is_described_per_class_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "width", 200, raising=False)
    shown = CliRunner().invoke(cli.app, ["data", "info", "scenes"])
    assert shown.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.output.split("\n")]
    assert ["a/depth", "mug", "TR", "100", "250"] in rows
    assert ["b/nir", "stool", "TI", "", "200"] in rows
    assert "protocol transductive" in shown.output


def test_data_is_prepared_where_one_says(tiny_scenes: Path, tmp_path: Path) -> None:
    words = ["data", "prepare", str(tiny_scenes), "--size", "16", "--data-dir", str(tmp_path)]
    shown = CliRunner().invoke(cli.app, words)
    assert shown.exit_code == 0, shown.output
    assert len(list(tmp_path.rglob("samples.parquet"))) == 1


def test_the_report_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"name": "mine", "status": "stopped"}))
    shown = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert shown.exit_code == 0
    assert "mine" in (tmp_path / "report.html").read_text()


def test_results_are_of_the_last_epoch_with_a_note_only_where_one_collapsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.console, "width", 200, raising=False)
    values = {"protocol": "held_out", "source": "a/rgb", "target": "a/depth", "n": 600}

    def result(chosen_by: str, share: float, note: str = "") -> Result:
        about = {"method": "socket", "seed": 0, "stage": "s", "chosen_by": chosen_by, "note": note}
        return Result(accuracy=share, balanced_accuracy=share / 2, **about, **values)

    run = Run(tmp_path)
    others = [result("entropy", 0.7, note="answers fall on 2 of 6 classes"), result("oracle", 0.8)]
    run.put_results("s", [result("last", 0.6), *others])
    cli.summary(tmp_path)
    shown = capsys.readouterr().out
    assert "60.0%" in shown
    assert "30.0%" in shown
    assert not any(word in shown for word in ("70.0%", "80.0%", "note", "answers fall"))
    run.put_results("s", [result("last", 0.6, note="answers fall on 1 of 6 classes"), *others])
    cli.summary(tmp_path)
    shown = capsys.readouterr().out
    assert "note" in shown
    assert "answers fall on 1 of 6 classes" in shown
    assert "2 of 6" not in shown


def test_an_error_is_one_line_and_exit_status_1(root: Path) -> None:
    done = call(root, "data", "info", "scene")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: Unknown data set 'scene'")
    assert "scenes" in done.stderr


def test_brackets_in_an_error_are_shown_as_they_are(root: Path) -> None:
    for name in ("[bold]x", "[/bold]"):
        done = call(root, "run", "05", "-p", "method", f"'{name}'")
        assert done.returncode == 1
        assert f"Unknown method '{name}'" in done.stderr
        assert "Traceback" not in done.stderr
