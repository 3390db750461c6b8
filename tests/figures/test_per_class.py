"""Recall of every class by method."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from socketlab.figures.per_class import per_class

Check = Callable[[Figure], Any]
RECALLS = {
    "source_only": [0.1, 0.2, 0.6],
    "socket": [0.9, 0.5, 0.4],
    "oracle_labels": [1.0, 0.9, 0.95],
}


def _recalls(names: tuple[str, ...] = ("chair", "desk_lamp", "sofa"), **place: str) -> pd.DataFrame:
    where = {"protocol": "held_out", "source": "a/rgb", "target": "a/depth"} | place
    return pd.DataFrame(
        {**where, "method": method, "class": name, "recall": recall}
        for method, recalls in RECALLS.items()
        for name, recall in zip(names, recalls, strict=True)
    )


def _numbers(axes: Any) -> list[list[float]]:
    return np.ma.filled(axes.images[0].get_array(), np.nan).tolist()


def _labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_methods_are_ranked_by_their_mean_and_classes_keep_their_order(
    check_figure: Check,
) -> None:
    figure = check_figure(per_class(_recalls()))
    classes, mean = figure.axes
    assert _labels(classes.yaxis) == ["oracle_labels", "socket", "source_only"]
    assert _labels(classes.xaxis) == ["chair", "desk lamp", "sofa"]
    assert _numbers(classes) == [[100, 90, 95], [90, 50, 40], [10, 20, 60]]
    assert [text.get_text() for text in classes.texts][3:6] == ["90", "50", "40"]
    assert _labels(mean.xaxis) == ["mean"]
    np.testing.assert_allclose(_numbers(mean), [[95], [60], [30]])
    colours = [label.get_color() for label in classes.get_yticklabels()]
    assert colours[0] != colours[1] == colours[2], "an upper reference is grey"


def test_a_panel_per_protocol_and_target_in_a_grid(check_figure: Check) -> None:
    targets = ("a/depth", "a/nir", "b/depth")
    recalls = pd.concat([_recalls(target=target) for target in targets])
    recalls = pd.concat([recalls, _recalls(protocol="transductive", source="a/rgb + b/rgb")])
    figure = check_figure(per_class(recalls))
    boxes = [axes.get_position() for axes in figure.axes[::2]]
    assert len(boxes) == 4
    assert boxes[0].y0 == pytest.approx(boxes[1].y0)
    assert boxes[1].x0 > boxes[0].x1
    assert boxes[2].y1 < boxes[0].y0
    words = [text.get_text() for text in figure.texts]
    assert "a/rgb → b/depth" in words
    assert "a/rgb + b/rgb → a/depth" in words
    assert "protocol transductive" in words


def test_many_classes_and_methods_fit(check_figure: Check) -> None:
    recalls = pd.DataFrame(
        {
            "protocol": "held_out",
            "source": "kv1/rgb",
            "target": target,
            "method": f"method_{method}",
            "class": f"furniture_store_{k}",
            "recall": 1.0,
        }
        for target in ("kv1/depth", "xtion/depth")
        for method in range(12)
        for k in range(17)
    )
    figure = check_figure(per_class(recalls))
    assert len(figure.axes) == 4
    assert figure.axes[2].get_position().y1 < figure.axes[0].get_position().y0


def test_a_class_without_images_is_left_out_of_the_mean(check_figure: Check) -> None:
    recalls = _recalls()
    recalls.loc[recalls["class"] == "sofa", "recall"] = np.nan
    figure = check_figure(per_class(recalls))
    classes, mean = figure.axes
    assert np.isnan(_numbers(classes)[1][2])
    np.testing.assert_allclose(_numbers(mean), [[95], [70], [15]])
    assert len(classes.texts) == 6


def test_per_class_refuses() -> None:
    with pytest.raises(ValueError, match="'recall'"):
        per_class(_recalls().drop(columns="recall"))
    with pytest.raises(ValueError, match="no recall to draw"):
        per_class(_recalls().iloc[:0])
    with pytest.raises(ValueError, match=r"0\.2 to 63"):
        per_class(_recalls().replace({"recall": {0.1: 63.0}}))
    with pytest.raises(ValueError, match="'chair' of 'source_only' comes twice"):
        per_class(pd.concat([_recalls(), _recalls()]))
