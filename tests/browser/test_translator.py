"""Notebook 04 in JupyterLab: the translator paints while it trains, and its epochs stay."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

STAGE = "translated-to-a.depth-held_out-seed0"
Workplace = Any  # that of conftest.py, which cannot be imported
Open = Callable[..., Any]


def is_training(folder: Path) -> bool:
    stages = json.loads((folder / "run.json").read_text())["stages"]
    return STAGE in stages and stages[STAGE]["status"] == "running"


def test_what_the_translator_paints_is_seen_and_can_be_gone_through(
    workplace: Workplace, open_notebook: Open
) -> None:
    folder = workplace.copy("source", "painted")
    notebook = open_notebook(workplace.parameters("04_train_translator", "painted"))
    notebook.run_all()
    shown = notebook.cell("PreviewSlider(").locator(".jp-Cell-outputWrapper")
    pictures = shown.locator("img.widget-image").filter(visible=True)

    # The board shows paintings beside the curves while it trains, and others at its end.
    notebook.until(lambda: pictures.count() == 2, "curves and paintings")
    assert is_training(folder)
    painted = notebook.content(pictures.last)
    notebook.finish()
    assert not is_training(folder)
    expect(pictures).to_have_count(3)
    assert notebook.content(pictures.nth(1)) != painted

    # Below it is a sheet of every epoch; the arrow keys walk through them.
    row = shown.locator(".widget-hslider").filter(has_text="Epoch")
    sheets = {notebook.content(pictures.last)}
    for epoch in ("1", "0"):
        row.get_by_role("slider").press("ArrowLeft")
        expect(row.locator(".widget-readout")).to_have_text(epoch)

        def turned() -> bool:
            return notebook.content(pictures.last) not in sheets

        notebook.until(turned, f"the sheet of epoch {epoch}")
        sheets.add(notebook.content(pictures.last))
    assert len(sheets) == 3
    notebook.screenshot("translator", shown)
    assert notebook.complaints == []
