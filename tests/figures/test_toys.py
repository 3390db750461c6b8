"""Maps of made-up pairs: one each, with partners joined, on axes of their own."""

from collections.abc import Callable

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from socketlab.figures.toys import toy_maps
from socketlab.gap.toys import made_up_pairs


def test_every_pair_of_clouds_has_its_map(check_figure: Callable[[Figure], Figure]) -> None:
    clouds = {
        "near": made_up_pairs(n=40, d=5),
        "far": made_up_pairs(offset=3.0, n=40, d=5),
    }
    figure = check_figure(toy_maps(clouds))
    assert len(figure.axes) == 2
    assert {"near", "far"} <= {text.get_text() for text in figure.texts}
    spread = []
    for axes in figure.axes:
        points = [c for c in axes.collections if isinstance(c, PathCollection)]
        assert sum(len(np.asarray(c.get_offsets())) for c in points) == 80
        (lines,) = [c for c in axes.collections if type(c).__name__ == "LineCollection"]
        ends = np.stack([path.vertices for path in lines.get_paths()])
        assert len(ends) == 40
        spread.append(float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean()))
    assert spread[1] > 3 * spread[0]
