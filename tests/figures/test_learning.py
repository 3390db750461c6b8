"""Learning curves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.learning import learning_curves

Check = Callable[[Figure], Any]


def _history(epochs: int, steps: int = 4) -> pd.DataFrame:
    rows: list[tuple[float, str, float]] = []
    for step in range(epochs * steps):
        at = (step + 1) / steps
        rows += [
            (at, "loss/total", 600.0 / at),
            (at, "loss/information_maximisation", -1.0 - 0.01 * at),
            (at, "learning_rate", 0.01),
        ]
    for epoch in range(1, epochs + 1):
        rows += [
            (epoch, "accuracy", 0.5 + 0.004 * epoch),
            (epoch, "train_accuracy", 0.6),
            (epoch, "score/entropy", 2.0 / epoch),
            (epoch, "score/snd", 3.0 + epoch),
        ]
    return pd.DataFrame(rows, columns=["epoch", "name", "value"])


@pytest.mark.parametrize("epochs", [1, 5, 50])
def test_three_panels_without_clipped_text(check_figure: Check, epochs: int) -> None:
    references = {"source_only": 0.412, "oracle_labels": 0.82}
    figure = check_figure(learning_curves(_history(epochs), references, "socket, seed 0"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Accuracy",
        "Loss terms",
        "Label-free scores",
    ]


def test_lines_hold_the_values_in_order_of_epochs() -> None:
    shuffled = _history(6).sample(frac=1.0, random_state=0)
    figure: Any = learning_curves(shuffled, {"source_only": 0.412})
    accuracy, train, reference = figure.axes[0].lines
    np.testing.assert_allclose(accuracy.get_xdata(), np.arange(1, 7))
    np.testing.assert_allclose(accuracy.get_ydata(), 0.5 + 0.004 * np.arange(1, 7))
    assert set(train.get_ydata()) == {0.6}
    assert set(reference.get_ydata()) == {0.412}
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["accuracy 52.4 %", "train accuracy 60.0 %", "source_only 41.2 %"]


def test_unlike_losses_get_a_symmetric_log_axis_and_like_ones_a_linear_one() -> None:
    assert learning_curves(_history(3)).axes[1].get_yscale() == "symlog"
    positive = _history(3).replace("loss/information_maximisation", "loss/pairing")
    positive["value"] = positive["value"].abs()
    assert learning_curves(positive).axes[1].get_yscale() == "log"
    alike = positive.assign(value=1.0)
    assert learning_curves(alike[alike["name"] == "loss/total"]).axes[0].get_yscale() == "linear"


def test_long_lines_are_thinned_to_means() -> None:
    values = np.random.default_rng(0).uniform(1.0, 2.0, 3000)
    history = pd.DataFrame({"epoch": np.arange(3000) / 100, "name": "loss/total", "value": values})
    line: Any = learning_curves(history).axes[0].lines[0]
    assert len(line.get_xdata()) <= 300
    np.testing.assert_allclose(line.get_ydata(), values.reshape(-1, 10).mean(axis=1))


def test_scores_are_scaled_to_their_own_range_and_one_score_is_not() -> None:
    two: Any = learning_curves(_history(4)).axes[2]
    assert two.lines[0].get_ydata().max() == 1.0
    assert two.lines[0].get_ydata().min() == 0.0
    assert two.get_legend().get_texts()[0].get_text() == "entropy 2 → 0.5"
    history = _history(4)
    one: Any = learning_curves(history[history["name"].isin(["score/snd"])]).axes[0]
    np.testing.assert_allclose(one.lines[0].get_ydata(), [4, 5, 6, 7])


def test_nan_is_left_out_and_nothing_is_said(check_figure: Check) -> None:
    figure = check_figure(learning_curves(_history(2).assign(value=np.nan), title="a run"))
    assert figure.texts[0].get_text() == "Nothing measured yet"
    check_figure(learning_curves(_history(1).iloc[:0]))


def test_learning_curves_refuses() -> None:
    with pytest.raises(ValueError, match="'value'"):
        learning_curves(_history(1).drop(columns="value"))
    with pytest.raises(ValueError, match="accuracy reaches 63"):
        learning_curves(pd.DataFrame({"epoch": [1], "name": ["accuracy"], "value": [63.0]}))
    with pytest.raises(ValueError, match="source_only reaches 41"):
        learning_curves(_history(1), {"source_only": 41.0})


def test_the_longest_score_fits_a_narrow_panel(check_figure: Check) -> None:
    """On the live board, which is narrower than a report."""
    names = ["accuracy", "loss/total", "score/information_maximisation"]
    history = pd.DataFrame(
        [(epoch, name, value) for epoch, value in ((0, -0.0471), (1, -0.0333)) for name in names],
        columns=["epoch", "name", "value"],
    )
    history.loc[history["name"] == "accuracy", "value"] = 0.5
    check_figure(learning_curves(history, panel_width=3.1))
