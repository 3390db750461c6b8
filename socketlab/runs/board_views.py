"""From an experiment to what the live board shows of it: classes, examples, newest translations."""

import io
from collections.abc import Callable
from functools import cached_property

import numpy as np
from PIL import Image

from socketlab.data.views import Labelled
from socketlab.gap.points import Picture
from socketlab.methods.source import kept_out
from socketlab.runs.experiment import Experiment
from socketlab.runs.pictures import painted_image
from socketlab.runs.previews import Previews
from socketlab.runs.stages import Trip

_SIDE = 80  # pixels, of a translation on the board
_GAP = 4


class StageSubject:
    """The `Subject` of a board for one training; no image is read before one is asked for.

    Args:
        scored: gives the labelled images that the training is scored on, in their order.
        previews: what its translator has painted so far, if it has one.
    """

    def __init__(self, scored: Callable[[], Labelled], previews: Previews | None = None) -> None:
        self._give, self._previews = scored, previews

    @cached_property
    def _scored(self) -> Labelled:
        return self._give()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self._scored.classes

    @cached_property
    def truth(self) -> list[int]:
        """The true class of every scored image."""
        found: list[int] = self._scored.labels.tolist()
        return found

    def picture(self, row: int) -> Picture:
        """A scored image, uint8 [H, W, 3]; depth in colours, near is yellow."""
        return painted_image(self._scored.images, row)

    def painted(self) -> bytes | None:
        """The newest translations as a PNG: a column per image, what was seen above its painting.

        The third row is the true RGB of those that have a partner. None where there is none yet.
        """
        if self._previews is None or not self._previews.epochs:
            return None
        columns = []
        for one in self._previews.at(self._previews.epochs[-1]):
            seen = np.repeat(one.input[..., None], 3, axis=2)
            truth = np.ones_like(one.picture) if one.truth is None else one.truth
            cells = [_cell(image) for image in (seen, one.picture, truth)]
            columns.append(np.concatenate(cells, axis=0))
        content = io.BytesIO()
        Image.fromarray(np.concatenate(columns, axis=1)).save(content, format="PNG")
        return content.getvalue()


def source_subject(experiment: Experiment, source: str | None = None) -> StageSubject:
    """Of the training of a source model: the images that it keeps out to draw its curve."""
    given = experiment.parameters
    source = source or given.source_domains[0]

    def scored() -> Labelled:
        found = experiment.views(source=source).source
        share = experiment.source_options[source].validation
        rows, _ = kept_out(len(found.images), share, given.seed)
        return found.rows(rows)

    return StageSubject(scored)


def transfer_subject(experiment: Experiment, trip: Trip) -> StageSubject:
    """Of a transfer: the scored images of the target, and what a translator paints."""
    return StageSubject(
        lambda: experiment.views(trip.target, trip.protocol).evaluation, experiment.previews(trip)
    )


def _cell(image: Picture) -> Picture:
    """[H, W, 3] in [0, 1] as a square of bytes with a white margin at its right and its foot."""
    picture = Image.fromarray((image * 255).round().astype(np.uint8)).resize((_SIDE, _SIDE))
    cell = np.full((_SIDE + _GAP, _SIDE + _GAP, 3), 255, np.uint8)
    cell[:_SIDE, :_SIDE] = np.asarray(picture)
    return cell
