"""`socketlab repeat` on the terminal: the table, the words, and the exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from socketlab.cli.repeat import repeat
from socketlab.cli.terminal import console
from socketlab.runs import repeating
from socketlab.runs.repeat_differences import StageCheck
from socketlab.runs.repeating import Repeated

SAME = StageCheck("source-a.rgb-seed0", numbers=12, weights="equal", answers="equal")
OTHER = StageCheck(
    "socket-seed0", numbers=9, different=2, epoch=3, largest="0.5 of loss[/total]", weights="equal"
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks for; it is given `found`."""
    heard: dict[str, Any] = {"found": [Repeated("one", (SAME,), {})]}

    def repeated(folder: Path, given: dict[str, Any], **about: Any) -> list[Repeated]:
        heard.update(about, folder=folder, given=given)
        found: list[Repeated] = heard["found"]
        return found

    monkeypatch.setattr(repeating, "repeat", repeated)
    return heard


def invoke(*words: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(repeat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "width", 180)
        return CliRunner().invoke(app, list(words))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text("{}")
    return tmp_path / "one"


def test_equal_ends_well(asked: dict[str, Any], run: Path) -> None:
    found = invoke(str(run), "-p", "deterministic=true", "--keep")
    assert found.exit_code == 0, found.output
    assert asked["folder"] == run and asked["keep"]
    assert asked["given"] == {"deterministic": True}
    assert asked["command"].startswith("socketlab")
    assert "12 of 12" in found.output and "equal, bit for bit." in found.output


def test_a_difference_is_told_with_its_reason(asked: dict[str, Any], run: Path) -> None:
    environment = {"torch": ("2.14.0", "2.15.0")}
    asked["found"] = [Repeated("one", (SAME, OTHER), environment, reason="Other versions.")]
    found = invoke(str(run))
    assert found.exit_code == 1
    assert "7 of 9" in found.output and "0.5 of loss[/total]" in found.output
    assert "torch 2.14.0 -> 2.15.0" in found.output
    assert "differs first in socket-seed0, epoch 3. Most likely: Other versions." in found.output
    assert "bit for bit" not in found.output


def test_several_runs_are_one_table(asked: dict[str, Any], run: Path) -> None:
    asked["found"] = [
        Repeated("first", (SAME,), {}),
        Repeated("second", failed="no memory", reason="no memory."),
        Repeated("third", failed="the run itself was never begun", skipped=True),
    ]
    found = invoke(str(run))
    assert found.exit_code == 1
    assert "first: equal, bit for bit." in found.output
    assert "second: failed. Most likely: no memory." in found.output
    assert "third: not repeated, for the run itself was never begun" in found.output
    assert "1 of 2 runs are equal" in found.output


def test_an_unknown_run_names_those_that_are(asked: dict[str, Any], tmp_path: Path) -> None:
    found = invoke(str(tmp_path / "nowhere"))
    assert isinstance(found.exception, ValueError) and "folder" not in asked
