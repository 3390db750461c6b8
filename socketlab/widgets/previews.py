"""A slider through the epochs of a translator that were kept, which grows while it trains."""

from typing import Any, Protocol

from matplotlib.figure import Figure

from socketlab.figures.style import to_png
from socketlab.widgets.live import headless


class Kept(Protocol):
    """Contact sheets of epochs."""

    @property
    def epochs(self) -> list[int]:
        """The epochs kept so far, in order."""

    def sheet(self, epoch: int) -> Figure:
        """The contact sheet of one of them."""


class PreviewSlider:
    """Shows the newest contact sheet while a translator trains, and any of them afterwards.

    Headless it shows nothing: the notebook keeps the same sheets as pictures.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._seen: list[int] = []
        self._sheets: dict[int, bytes] = {}
        self._slider: Any = None

    def refresh(self) -> None:
        """Show the newest sheet, if there is a new one."""
        if headless() or self._kept.epochs == self._seen:
            return
        self._seen = self._kept.epochs
        self._sheets = {}  # a training that began anew paints other pictures
        if self._slider is None:
            self._build()
        self._slider.options = self._seen
        self._slider.value = self._seen[-1]
        self._draw(self._seen[-1])

    def _build(self) -> None:
        import ipywidgets
        from IPython.display import display

        wide = ipywidgets.Layout(max_width="100%")
        self._image = ipywidgets.Image(format="png", layout=wide)
        self._slider = ipywidgets.SelectionSlider(
            options=self._seen,
            description="Epoch",
            tooltip="The epochs that were kept; arrow keys walk through them",
            layout=ipywidgets.Layout(width="60%"),
        )
        self._slider.observe(lambda change: self._draw(change["new"]), names="value")
        display(ipywidgets.VBox([self._slider, self._image]))  # type: ignore[no-untyped-call]

    def _draw(self, epoch: int) -> None:
        if epoch not in self._sheets:
            self._sheets[epoch] = to_png(self._kept.sheet(epoch))
        self._image.value = self._sheets[epoch]
