"""The film's figures: one window for all epochs, the marked moment, gaps where a number is NaN."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.film import COLUMNS, film_frame, film_numbers, film_strip
from socketlab.figures.map_panel import MapPanel
from socketlab.figures.style import to_png

Check = Callable[[Figure], Figure]
MEASURES = ("centroid gap", "residual gap", "RMG", "PAD", "R@1", "accuracy")


def frames(epochs: int = 4, n: int = 30) -> dict[int, list[MapPanel]]:
    """Two clouds that come nearer to each other with every epoch."""
    random = np.random.default_rng(0)
    rgb, noise = random.normal(size=(n, 2)), random.normal(size=(n, 2)) * 0.1
    classes = np.array(["bed", "desk"])[np.arange(n) % 2]
    found = {}
    for epoch in range(epochs):
        points = {"RGB": rgb, "depth": rgb + noise + 10 * (epochs - 1 - epoch)}
        about: dict[str, Any] = {
            "coordinates": points,
            "modalities": {"RGB": "rgb", "depth": "depth"},
        }
        found[epoch] = [
            MapPanel(
                "Partners", colour_by="modality", pairs=("RGB", "depth"), note="UMAP", **about
            ),
            MapPanel(
                "By class", colour_by="class", labels={"RGB": classes, "depth": classes}, **about
            ),
        ]
    return found


def numbers(epochs: int = 4) -> pd.DataFrame:
    """Values that fall from 1 by a tenth an epoch."""
    rows = [
        (epoch, name, measure, 1 - epoch / 10, 0.95 - epoch / 10, 1.05 - epoch / 10)
        for epoch in range(epochs)
        for name in ("TI", "TR")
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def maps(figure: Figure) -> list[Any]:
    """The axes of the maps: those without ticks."""
    return [axes for axes in figure.axes if len(axes.get_xticks()) == 0]


def test_all_epochs_have_one_window(check_figure: Check) -> None:
    film = frames()
    first, last = (maps(check_figure(film_frame(film, numbers(), e))) for e in (0, 3))
    assert len(first) == len(last) == 2
    for before, after in zip(first, last, strict=True):
        assert before.get_xlim() == after.get_xlim() and before.get_ylim() == after.get_ylim()
    low, high = first[0].get_xlim()
    every = np.concatenate([p for f in film.values() for p in f[0].coordinates.values()])
    assert low < every.min() and every.max() < high


def test_the_moment_is_marked_on_every_curve(check_figure: Check) -> None:
    figure = check_figure(film_frame(frames(), numbers(), 2))
    curves = [axes for axes in figure.axes if axes not in maps(figure)]
    assert [axes.get_title(loc="left") for axes in curves] == list(MEASURES)
    for axes in curves:
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(2, 0.8)] * 2
        assert any(list(line.get_xdata()) == [2, 2] for line in axes.lines)


def test_another_epoch_is_another_picture() -> None:
    film, rows = frames(), numbers()
    assert to_png(film_frame(film, rows, 0)) != to_png(film_frame(film, rows, 3))


@pytest.mark.parametrize(
    ("epochs", "shown"), [(1, [0]), (4, [0, 1, 2, 3]), (16, [0, 3, 6, 9, 12, 15])]
)
def test_a_strip_shows_the_first_the_last_and_some_between(
    epochs: int, shown: list[int], check_figure: Check
) -> None:
    figure = check_figure(film_strip(frames(epochs)))
    assert len(maps(figure)) == 2 * len(shown)
    words = {text.get_text() for text in figure.texts}
    assert {f"After epoch {e}" for e in shown if e} <= words
    assert "Before training" in words


def test_a_number_that_is_missing_leaves_a_gap(check_figure: Check) -> None:
    rows = numbers()
    rows.loc[(rows["measure"] == "PAD") & (rows["epoch"] == 1), ["value", "low", "high"]] = np.nan
    rows.loc[rows["measure"] == "R@1", ["value", "low", "high"]] = np.nan
    figure = check_figure(film_numbers(rows))
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
    drawn = by_title["PAD"].lines[0].get_ydata()
    assert np.isnan(drawn).tolist() == [False, True, False, False]
    assert np.isfinite(by_title["R@1"].get_ylim()).all()


def test_without_numbers_the_maps_stand_alone(check_figure: Check) -> None:
    figure = check_figure(film_frame(frames(), numbers().iloc[:0], 1))
    assert len(figure.axes) == 2


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"no epoch 7\. It has"):
        film_frame(frames(), numbers(), 7)
    with pytest.raises(ValueError, match="no column 'low'"):
        film_numbers(numbers().drop(columns="low"))
    with pytest.raises(ValueError, match="at least one row"):
        film_numbers(numbers().iloc[:0])
    with pytest.raises(ValueError, match="no epoch"):
        film_strip({})
