"""Notebook 05 in JupyterLab: the board moves, and a person steers the training."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketlab.models.checkpoint import load_classifier

pytestmark = pytest.mark.browser

STAGE = "socket-to-a.depth-held_out-seed0"
EPOCHS, STEPS = 100_000, 9  # more than any machine takes before the test stops it; steps of each
Workplace = Any  # that of conftest.py, which cannot be imported
Open = Callable[..., Any]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_a_training_is_watched_steered_stopped_and_kept(
    workplace: Workplace, open_notebook: Open
) -> None:
    folder = workplace.copy("source", "steered")
    options = {"socket": {**workplace.values["options"]["socket"], "epochs": EPOCHS}}
    notebook = open_notebook(workplace.parameters("05_transfer", "steered", options=options))
    page = notebook.page
    notebook.run_all()
    board = notebook.cell("async for").locator(".jp-OutputArea-output .widget-vbox").first

    # Where epochs are shorter than the time between two updates, the board names epochs only.
    def step() -> tuple[str, int]:
        found = re.search(r"(step|paused|saved|epoch) (\d+)/(\d+)", board.inner_text())
        if found is None:
            return "", 0
        assert int(found[3]) == EPOCHS * (1 if found[1] == "epoch" else STEPS)
        return found[1], int(found[2]) * (STEPS if found[1] == "epoch" else 1)

    def after(number: int) -> bool:
        kind, taken = step()
        return kind in ("step", "epoch") and taken > number

    # It moves while it trains.
    accuracies: set[str] = set()

    def moved() -> bool:
        accuracies.update(re.findall(r"([\d.]+%) accuracy", board.inner_text()))
        epoch = re.search(r"epoch (\d+)/", board.inner_text())
        return len(accuracies) > 2 and epoch is not None and int(epoch[1]) > 6

    notebook.until(lambda: after(3), "the first steps")
    notebook.until(moved, "an accuracy that moves")
    assert record(folder)["stages"][STAGE]["status"] == "running"
    notebook.screenshot("board_running", board)

    # Paused, it holds still, though the kernel goes on telling the board that time goes by.
    page.get_by_role("button", name="Pause").click()
    notebook.until(lambda: step()[0] == "paused", "the pause")
    held = step()
    notebook.hear(2)
    assert step() == held

    # A weight that is changed now counts from the next step on.
    slider = page.get_by_label("Weight of pairs")
    value = float(slider.input_value())
    slider.press("ArrowLeft")
    assert float(slider.input_value()) < value
    value = float(slider.input_value())
    notebook.hear(2)
    assert step() == held
    notebook.screenshot("board_paused", board)
    page.get_by_role("button", name="Go on").click()
    notebook.until(lambda: after(held[1]), "more steps")
    changes = notebook.until(lambda: record(folder)["changes"].get(STAGE), "the change")
    assert changes == [{"step": held[1], "name": "weight/pairs", "value": pytest.approx(value)}]
    said = board.get_by_role("status").filter(has_text="Changed by hand")
    notebook.until(lambda: "pairs" in said.inner_text(), "the change on the board")

    # Kept without stopping, then stopped and kept.
    def checkpoints() -> dict[int, Path]:
        names = (folder / "models").glob(f"{STAGE}.step*.safetensors")
        return {int(file.name.split(".step")[1].split(".")[0]): file for file in names}

    assert checkpoints() == {}
    page.get_by_role("button", name="Save now").click()
    ((number, saved),) = notebook.until(checkpoints, "a checkpoint").items()
    assert number > held[1]
    notebook.until(lambda: after(number), "steps after the checkpoint")
    assert record(folder)["stages"][STAGE]["status"] == "running"
    page.get_by_role("button", name="Stop and keep").click()
    notebook.finish()
    found = record(folder)
    assert found["status"] == found["stages"][STAGE]["status"] == "stopped"
    assert "stopped by hand" in found["stages"][STAGE]["reason"]
    for file in (saved, folder / "models" / f"{STAGE}.safetensors"):
        model, card = load_classifier(file)
        assert len(model.classes) == 6, card
    (row, *_) = [r for r in found["results"] if r["stage"] == STAGE]
    assert row["steered"] == 1
    for button in ("Pause", "Save now", "Stop and keep"):
        assert page.get_by_role("button", name=button).is_disabled()
    notebook.screenshot("board_stopped", board)
    assert notebook.complaints == []
