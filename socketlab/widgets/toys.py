"""Made-up pairs with sliders: move a cloud, and see which measures notice."""

from typing import Any, Final

from socketlab.figures.style import to_png
from socketlab.figures.toys import toy_maps
from socketlab.gap.toys import made_up_pairs, toy_frame
from socketlab.widgets.displayed import Displayed
from socketlab.widgets.tables import table_html

CASES: Final[dict[str, dict[str, float]]] = {
    "pairs + small noise": {"noise": 0.3, "offset": 0.0, "turn": 0.0, "strangers": 0.0},
    "strangers, same clouds": {"noise": 0.3, "offset": 0.0, "turn": 0.0, "strangers": 1.0},
    "pairs + constant offset": {"noise": 0.1, "offset": 0.75, "turn": 0.0, "strangers": 0.0},
    "pairs + rotation": {"noise": 0.1, "offset": 0.0, "turn": 90.0, "strangers": 0.0},
}
"""Settings worth looking at first."""

_SLIDERS: Final = {
    "noise": ("Noise", 0.0, 2.0, "What the other camera adds to every image"),
    "offset": ("Offset", 0.0, 1.5, "How far the whole second cloud is shifted"),
    "turn": ("Rotation", 0.0, 180.0, "Degrees by which the second cloud is turned"),
    "strangers": ("Strangers", 0.0, 1.0, "Share of images whose partner is somebody else"),
}


class ToyGap(Displayed):
    """Four sliders, a map and every measure of the pairs that they make.

    Headless it shows nothing: the notebook shows `CASES` as a still picture and a table.

    Args:
        n: pairs.
        d: features of each.
    """

    def __init__(self, n: int = 200, d: int = 16) -> None:
        self._n, self._d = n, d

    @property
    def widget(self) -> Any:
        """The toy as a box of controls, a picture and a table."""
        import ipywidgets as w

        self._case = w.Dropdown(options=list(CASES), description="Begin with")
        first = CASES[self._case.value]
        self._sliders = {
            name: w.FloatSlider(
                value=first[name], min=low, max=high, step=(high - low) / 40, description=label,
                tooltip=tip, continuous_update=False,
            )
            for name, (label, low, high, tip) in _SLIDERS.items()
        }  # fmt: skip
        self._map = w.Image(format="png", layout={"max_width": "420px"})
        self._numbers = w.HTML()
        self._case.observe(self._begin, names="value")
        for slider in self._sliders.values():
            slider.observe(lambda _: self._draw(), names="value")
        self._waiting = False
        self._draw()
        controls = w.VBox([self._case, *self._sliders.values()])
        return w.HBox([w.VBox([controls, self._map]), self._numbers])

    def _begin(self, change: dict[str, Any]) -> None:
        # One drawing for four changes.
        self._waiting = True
        for name, value in CASES[change["new"]].items():
            self._sliders[name].value = value
        self._waiting = False
        self._draw()

    def _draw(self) -> None:
        if self._waiting:
            return
        noise, offset, turn, strangers = (float(s.value) for s in self._sliders.values())
        pairs = made_up_pairs(
            noise=noise, offset=offset, turn=turn, strangers=strangers, n=self._n, d=self._d
        )
        clouds = {"These pairs": pairs}
        self._map.value = to_png(toy_maps(clouds, side=3.6))
        table = toy_frame(clouds).rename(columns={"These pairs": "value"})
        self._numbers.value = table_html(table, "The measures", number="{:.2f}", height="none")
