"""Notebook 03 in JupyterLab: maps, film and audit draw, and answer to mouse and keyboard."""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

LITTLE = 0.001  # of a map's pixels: fewer are a frame or nothing
Workplace = Any  # that of conftest.py, which cannot be imported
Open = Callable[..., Any]


@pytest.fixture
def notebook(workplace: Workplace, adapted: str, open_notebook: Open) -> Any:
    """Notebook 03, run to its end."""
    # Principal components: a second UMAP would take longer than all that is tested here.
    small = {"points": 100, "layer_images": 20, "projection": "pca"}
    opened = open_notebook(workplace.parameters("03_modality_gap", adapted, **small))
    opened.run_all()
    opened.finish()
    return opened


def drawn(png: bytes) -> float:
    """The share of pixels that differ from the most common colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    _, counts = np.unique(pixels, axis=0, return_counts=True)
    return 1 - float(counts.max()) / len(pixels)


def test_explorer_film_and_audit_answer(notebook: Any) -> None:
    explore(notebook)
    watch_the_film(notebook)
    audit(notebook)
    assert notebook.complaints == []


def explore(notebook: Any) -> None:
    """Points are on the maps; a selection brings lines, pictures and a table."""
    explorer = notebook.cell("Explorer(points").locator(".jp-Cell-outputWrapper")
    maps = explorer.locator("canvas")
    assert maps.count() >= 2  # before and after
    for place in range(maps.count()):
        notebook.until(lambda place=place: drawn(maps.nth(place).screenshot()) > LITTLE, "points")
    expect(explorer).to_contain_text("66 images shown, 0 selected")
    assert explorer.locator("table").count() == 0
    before = maps.last.screenshot()

    explorer.get_by_role("button", name="Select them").click()
    expect(explorer).to_contain_text("selected. Lines join the partners of")
    found = re.search(
        r"(\d+) selected. Lines join the partners of (\d+) pairs", explorer.inner_text()
    )
    assert found is not None
    selected, pairs = map(int, found.groups())
    assert selected == 2 * pairs == 48
    expect(explorer.locator("table tbody tr")).to_have_count(pairs)
    notebook.until(lambda: maps.last.screenshot() != before, "lines on the map")
    notebook.screenshot("explorer", explorer)

    explorer.get_by_label("Set", exact=True).select_option("TR")
    expect(explorer).to_contain_text("22 images shown")
    explorer.get_by_role("button", name="Clear selection").press("Enter")
    expect(explorer).to_contain_text("22 images shown, 0 selected")
    assert explorer.locator("table").count() == 0


def watch_the_film(notebook: Any) -> None:
    """The arrow keys on the slider turn the picture."""
    film = notebook.cell("FilmPlayer(").locator(".jp-Cell-outputWrapper")
    slider = film.locator(".widget-hslider").filter(has_text="Frame").get_by_role("slider")
    picture = film.locator("img.widget-image")
    frames = {notebook.content(picture)}
    expect(film).to_contain_text("before training")
    for epoch in (1, 2, 3):
        slider.press("ArrowRight")
        expect(film).to_contain_text(f"epoch {epoch} of 3")
        notebook.until(lambda: notebook.content(picture) not in frames, f"frame {epoch}")
        frames.add(notebook.content(picture))
    notebook.screenshot("film", film)


def audit(notebook: Any) -> None:
    """A filter leaves the images that it says."""
    shown = notebook.cell("Audit(").locator(".jp-Cell-outputWrapper")
    status = shown.get_by_role("status").filter(has_text="images match")
    listed = shown.get_by_role("region", name="Images that match").locator("tbody tr")
    expect(status).to_contain_text("36 of 36 images match.")
    counts = {}
    for answer in ("right", "wrong"):
        other = {"right": "wrong", "wrong": "right"}[answer]
        shown.get_by_label("Label is").select_option(answer)
        expect(
            listed.filter(has=shown.page.get_by_role("cell", name=other, exact=True))
        ).to_have_count(0)
        expect(status).not_to_contain_text("36 of 36")
        counts[answer] = int(status.inner_text().split()[0])
        expect(listed).to_have_count(counts[answer])
    assert sum(counts.values()) == 36
    notebook.screenshot("audit", shown)
