"""A film in a notebook: a play button and a slider over pictures that are drawn when asked for."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from socketlab.figures.style import to_png
from socketlab.widgets.displayed import Displayed


class FilmPlayer(Displayed):
    """Plays through the epochs of a film; arrow keys on the slider walk through them.

    Headless it shows nothing: the notebook keeps the same pictures.

    Args:
        epochs: the moments, in order.
        frame: draws one of them.
        interval: milliseconds between two of them while it plays.
    """

    def __init__(
        self, epochs: Sequence[int], frame: Callable[[int], Figure], interval: int = 800
    ) -> None:
        if not epochs:
            raise ValueError("The film has no epoch. Give at least one.")
        self._epochs = list(epochs)
        self._frame = frame
        self._interval = interval
        self._pictures: dict[int, bytes] = {}

    def picture(self, epoch: int) -> bytes:
        """The PNG of an epoch, drawn once."""
        if epoch not in self._pictures:
            self._pictures[epoch] = to_png(self._frame(epoch))
        return self._pictures[epoch]

    @property
    def widget(self) -> Any:
        """The controls above the picture of the first epoch."""
        import ipywidgets

        last = len(self._epochs) - 1
        image = ipywidgets.Image(
            value=self.picture(self._epochs[0]), format="png", layout={"max_width": "100%"}
        )
        play = ipywidgets.Play(
            value=0, min=0, max=last, interval=self._interval, tooltip="Play the film"
        )
        slider = ipywidgets.IntSlider(
            value=0, min=0, max=last, description="Frame", readout=False, layout={"width": "50%"}
        )
        moment = ipywidgets.Label(value=self._words(0))

        def turn(change: dict[str, Any]) -> None:
            image.value = self.picture(self._epochs[change["new"]])
            moment.value = self._words(change["new"])

        slider.observe(turn, names="value")
        ipywidgets.jslink((play, "value"), (slider, "value"))
        controls = ipywidgets.HBox([play, slider, moment])
        return ipywidgets.VBox([controls, image])

    def _words(self, place: int) -> str:
        epoch = self._epochs[place]
        return "before training" if epoch == 0 else f"epoch {epoch} of {self._epochs[-1]}"
