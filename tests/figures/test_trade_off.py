"""Accuracy beside the quality of a picture, and beside its costs."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from scipy import stats

from socketlab.figures.style import METHOD_COLOURS
from socketlab.figures.trade_off import cost_against_accuracy, picture_against_accuracy

Check = Callable[[Figure], Any]


def _points(methods: Sequence[str], epochs: int = 6, slope: float = 0.02) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (method, epoch, psnr := 14 + epoch + rng.normal(), 0.4 + slope * (psnr - 14))
        for method in methods
        for epoch in range(epochs)
    ]
    return pd.DataFrame(rows, columns=["method", "epoch", "psnr", "accuracy"])


def _costs(methods: Sequence[str]) -> pd.DataFrame:
    count = len(methods)
    return pd.DataFrame(
        {
            "method": methods,
            "accuracy": 0.5 + 0.001 * np.arange(count),
            "seconds": 10.0 * 2.0 ** np.arange(count),
            "peak_memory": 1000.0 + np.arange(count),
            "parameters": 2_000_000,
        }
    )


def _words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def _names(axes: Any) -> dict[str, Any]:
    return {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}


def _overlaps(texts: Sequence[Any]) -> bool:
    # Of a label the letters count, not the line to its point.
    boxes = [Text.get_window_extent(text) for text in texts]
    return any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_checkpoints_are_joined_in_the_order_of_epochs(check_figure: Check) -> None:
    points = _points(["translated", "tgkt"])
    figure = check_figure(picture_against_accuracy(points.sample(frac=1.0, random_state=3)))
    (axes,) = figure.axes
    drawn = {line.get_color(): line.get_xydata() for line in axes.lines}
    for method in ("translated", "tgkt"):
        own = points[points["method"] == method]
        wanted = np.column_stack([own["psnr"], 100 * own["accuracy"]])
        np.testing.assert_allclose(drawn[METHOD_COLOURS[method]], wanted)
        label = _names(axes)[method]
        np.testing.assert_allclose(label.xy, wanted[-1])
    marked = [spot.get_offsets() for spot in axes.collections if spot.get_sizes()[0] > 50]
    found = sorted(tuple(spot[0]) for spot in marked)
    last = points[points["epoch"] == 5]
    ends = sorted(zip(last["psnr"], 100 * last["accuracy"], strict=True))
    np.testing.assert_allclose(found, ends)


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        (0.02, "A better picture goes with a better transfer: rank correlation 1.00"),
        (-0.02, "A better picture goes with a worse transfer: rank correlation \N{MINUS SIGN}1.00"),
    ],
)
def test_the_heading_says_it_in_words(check_figure: Check, slope: float, words: str) -> None:
    figure = check_figure(picture_against_accuracy(_points(["tgkt"], slope=slope)))
    assert f"{words} over 6 checkpoints" in _words(figure)


def test_the_rank_correlation_is_spearmans_over_all_and_within_the_methods() -> None:
    rng = np.random.default_rng(6)
    points = _points(["translated", "tgkt", "socket_translated"], 8)
    points["accuracy"] = rng.random(len(points)).round(1)
    rho = float(stats.spearmanr(points["psnr"], points["accuracy"]).statistic)
    assert abs(rho) < 0.3, "else the words below are others"
    own = [
        float(stats.spearmanr(part["psnr"], part["accuracy"]).statistic)
        for _, part in points.groupby("method")
    ]
    words = _words(picture_against_accuracy(points)).replace("\N{MINUS SIGN}", "-")
    assert "A better picture does not go with a better transfer" in words
    assert f"rank correlation {rho:.2f} over 24 checkpoints" in words
    assert f"Rank correlation within a method: {np.mean(own):.2f} on average" in words


def test_one_checkpoint_says_nothing(check_figure: Check) -> None:
    figure = check_figure(picture_against_accuracy(_points(["replicate"], epochs=1)))
    assert "1 checkpoint, of which nothing can be said" in _words(figure)
    assert "within" not in _words(figure)


def test_seeds_are_joined_by_themselves_and_a_method_is_named_once(check_figure: Check) -> None:
    points = pd.concat([_points(["tgkt"]).assign(seed=seed) for seed in (0, 1, 2)])
    (axes,) = check_figure(picture_against_accuracy(points)).axes
    assert len(axes.lines) == 3
    assert list(_names(axes)) == ["tgkt"]


def test_methods_of_one_family_are_told_apart() -> None:
    methods = ["translated_rec", "translated", "translated_rec_d", "unheard_of", "also_unheard_of"]
    (axes,) = picture_against_accuracy(_points(methods)).axes
    colours = [line.get_color() for line in axes.lines]
    assert len(set(colours)) == 5
    assert colours[1] == METHOD_COLOURS["translated"], "the method itself keeps its own"


def test_names_of_points_do_not_overlap(check_figure: Check) -> None:
    methods = [f"translated_rec_d_im_{k}" for k in range(9)]
    points = _points(methods, 4)
    points.loc[points["epoch"] == 3, ["psnr", "accuracy"]] = (18.0, 0.5)
    (axes,) = check_figure(picture_against_accuracy(points)).axes
    names = _names(axes)
    assert list(names) == methods
    assert not _overlaps(list(names.values()))


def test_costs_have_a_panel_each_at_the_height_of_the_accuracy(check_figure: Check) -> None:
    rows = _costs(["socket", "tgkt", "translated"])
    figure = check_figure(cost_against_accuracy(rows))
    for axes, cost in zip(figure.axes[:3], ("seconds", "peak_memory", "parameters"), strict=True):
        assert axes.get_xscale() == "log"
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        spots = {
            tuple(np.round(spot.get_facecolor()[0], 3)): spot.get_offsets()[0]
            for spot in axes.collections
        }
        found = sorted(tuple(spot) for spot in spots.values())
        np.testing.assert_allclose(
            found, sorted(zip(rows[cost], 100 * rows["accuracy"], strict=True))
        )
        assert len(spots) == 3
    assert figure.axes[0].get_xlabel() == "Training time (s)"
    assert "MiB" in figure.axes[1].get_xlabel()


def test_seeds_are_averaged_and_labels_say_the_mean(check_figure: Check) -> None:
    rows = pd.concat([_costs(["tgkt"]), _costs(["tgkt"]).assign(accuracy=0.7, seconds=30.0)])
    figure = check_figure(cost_against_accuracy(rows))
    (spot,) = figure.axes[0].collections
    np.testing.assert_allclose(spot.get_offsets(), [(20.0, 60.0)])
    assert [text.get_text() for text in figure.axes[3].texts] == ["tgkt  60.0 %"]


@pytest.mark.parametrize("count", [1, 13])
def test_names_of_near_accuracies_do_not_overlap(check_figure: Check, count: int) -> None:
    methods = [f"socket_variant_{k}" for k in range(count)]
    figure = check_figure(cost_against_accuracy(_costs(methods)))
    names = figure.axes[3].texts
    assert [text.get_text().split()[0] for text in names] == methods, "the lowest first"
    heights = [text.get_position()[1] for text in names]
    assert heights == sorted(heights)
    assert not _overlaps(names)


def test_ticks_do_not_overlap(check_figure: Check) -> None:
    rows = _costs([f"m{k}" for k in range(12)])
    rows["seconds"] = np.geomspace(0.02, 3e6, 12)
    rows["peak_memory"] = np.geomspace(1000, 9000, 12)
    rows.loc[0, "parameters"] = 0
    figure = check_figure(cost_against_accuracy(rows))
    for axes in figure.axes[:3]:
        texts = [text for text in axes.get_xticklabels() if text.get_text()]
        assert len(texts) >= 2
        assert not _overlaps(texts)


def test_a_cost_of_nothing_stands_left_of_all_and_an_unknown_one_is_left_out(
    check_figure: Check,
) -> None:
    rows = _costs(["source_only", "adabn", "tgkt"])
    rows["seconds"] = [0.0, 50.0, 100.0]
    rows["peak_memory"] = [np.nan, 1000.0, 2000.0]
    rows["parameters"] = 0
    figure = check_figure(cost_against_accuracy(rows))
    places = sorted(tuple(spot.get_offsets()[0]) for spot in figure.axes[0].collections)
    assert 0 < places[0][0] < 50.0
    ticks = dict(
        zip(
            [text.get_text() for text in figure.axes[0].get_xticklabels()],
            figure.axes[0].get_xticks(),
            strict=True,
        )
    )
    assert math.isclose(ticks["0"], places[0][0])
    assert ticks["100"] == 100.0
    assert len(figure.axes[1].collections) == 2
    assert "0" not in [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert len({spot.get_offsets()[0][0] for spot in figure.axes[2].collections}) == 1


def test_picture_against_accuracy_refuses() -> None:
    points = _points(["tgkt"])
    with pytest.raises(ValueError, match="'psnr'"):
        picture_against_accuracy(points.drop(columns="psnr"))
    with pytest.raises(ValueError, match="no rows"):
        picture_against_accuracy(points[:0])
    with pytest.raises(ValueError, match="Epoch 0 of 'tgkt' comes twice"):
        picture_against_accuracy(pd.concat([points, points]))
    with pytest.raises(ValueError, match="psnr of 'tgkt' is not finite"):
        picture_against_accuracy(points.assign(psnr=np.inf))
    with pytest.raises(ValueError, match=r"accuracy reaches .* to 40"):
        picture_against_accuracy(points.assign(accuracy=40.0))


def test_cost_against_accuracy_refuses() -> None:
    rows = _costs(["socket", "tgkt"])
    with pytest.raises(ValueError, match="'peak_memory'"):
        cost_against_accuracy(rows.drop(columns="peak_memory"))
    with pytest.raises(ValueError, match="no rows"):
        cost_against_accuracy(rows[:0])
    with pytest.raises(ValueError, match="seconds reaches -1"):
        cost_against_accuracy(rows.assign(seconds=-1.0))
    with pytest.raises(ValueError, match="accuracy of 'socket' is not finite"):
        cost_against_accuracy(rows.assign(accuracy=np.nan))
    with pytest.raises(ValueError, match="accuracy reaches 50 to 50"):
        cost_against_accuracy(rows.assign(accuracy=50.0))
