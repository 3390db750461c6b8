"""What the demo page shows: the gap of a finished run, and a short transfer to watch."""

import asyncio
import contextlib
import html
import io
import os
import shutil
from datetime import datetime
from typing import Any, Final

from IPython.utils.capture import capture_output

from socketlab.gap.points import PointTable
from socketlab.runs.board_views import transfer_subject
from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import gap_features, map_features
from socketlab.runs.keeping import model_file
from socketlab.runs.page import PAGE_VARIABLE, needed
from socketlab.runs.parameters import TransferParameters
from socketlab.runs.places import at_home
from socketlab.runs.point_views import point_table
from socketlab.runs.record import Record, Run
from socketlab.training.steps import Controls, Step
from socketlab.widgets.explorer import Explorer
from socketlab.widgets.live import live

DEFAULT: Final = "notebooks/params/demo.yaml"
LIVE_EPOCHS: Final = 4
POINTS: Final = 1500
LARGE: Final = """<style>
:root {--jp-widgets-font-size: 18px; --jp-widgets-inline-height: 36px; --jp-ui-font-size1: 18px;
  --jp-content-font-size1: 20px; --jp-widgets-inline-label-width: 110px}
body .jp-RenderedHTMLCommon {font-size: 20px}
body .jp-RenderedHTMLCommon h1 {font-size: 36px; margin: 0}
.jupyter-button {width: auto; padding: 0 18px}
.jupyter-widget-tab > .lm-TabBar .lm-TabBar-tab {flex: 0 0 auto !important; font-size: 20px;
  max-width: none !important; line-height: 40px; min-height: 42px}
.jupyter-widget-tab > .lm-TabBar {min-height: 43px}
</style>"""


class DemoPage:
    """Two tabs: the gap before and after a transfer that is done, and a transfer to start.

    Args:
        parameters: of the finished transfer; default: those that the server was told, or the
            first transfer of the demo.
    """

    def __init__(self, parameters: TransferParameters | None = None) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.experiment = Experiment(parameters or told_parameters())
            self.experiment.finish()

    def points(self) -> PointTable:
        """The TR pairs on one map, before and after; the map is kept in the run."""
        trip = self.experiment.trip()
        with contextlib.redirect_stdout(io.StringIO()):
            found = gap_features(self.experiment, trip, ("TR",))
            projection = map_features(self.experiment, found, method="umap", points=POINTS)
        return point_table(self.experiment, trip, found, projection)

    @property
    def widget(self) -> Any:
        """The page as an ipywidgets box."""
        import ipywidgets as w

        given = self.experiment.parameters
        camera = self.experiment.manifest.domain(given.target).modality
        gap = [w.HTML(self._scores()), Explorer(self.points(), height=330).widget]
        live_transfer = LiveTransfer(self.experiment)
        titles = ["1 · The gap, before and after", f"2 · Teach it {camera}, live"]
        tabs = w.Tab([w.VBox(gap), live_transfer.widget], titles=titles)
        return w.VBox([w.HTML(LARGE), tabs])

    def _scores(self) -> str:
        trip = self.experiment.trip()
        rows = {
            row.method: row.accuracy
            for row in self.experiment.run.read().results
            if row.chosen_by == "last" and row.target == trip.target and row.seed == trip.seed
        }
        before, after = rows.get("source_only"), rows.get(trip.name)
        if before is None or after is None:
            return ""
        return (
            f"Right answers on the new camera: <b>{before:.0%}</b> before, <b>{after:.0%}</b> "
            "after. One dot is one image."
        )


class LiveTransfer:
    """A button that starts a transfer in this kernel, and the board of it.

    Every start makes a run of its own, `<run>-live/<time>`, from the finished run's source model.
    """

    def __init__(self, finished: Experiment) -> None:
        import ipywidgets as w

        self._finished = finished
        self.task: asyncio.Task[None] | None = None
        self._start = w.Button(
            description="Start",
            icon="play",
            button_style="success",
            tooltip="Train from the source model, here and now",
        )
        self._said = w.HTML()
        self._say(f"{LIVE_EPOCHS} passes over the images, no labels: about a minute.")
        self._board = w.Output()
        self._start.on_click(lambda _: self.start())
        row = w.Layout(align_items="center", grid_gap="16px")
        self.widget = w.VBox([w.HBox([self._start, self._said], layout=row), self._board])

    def start(self) -> None:
        """Begin, as a task of the running loop: voila shows a page once its cells are done."""
        self._start.disabled = True
        self._say("Getting ready; the first number comes in some seconds.")
        self._board.outputs = ()
        self.task = asyncio.get_running_loop().create_task(self._train())

    async def _train(self) -> None:
        try:
            await self._watch()
        except Exception as error:  # nobody awaits the task: it must be said here
            self._say(f"It stopped: {error}")
            raise
        finally:
            self._start.description, self._start.disabled = "Start again", False

    async def _watch(self) -> None:
        await asyncio.sleep(0.1)  # the line above reaches the page before the work begins
        with contextlib.redirect_stdout(io.StringIO()):
            experiment = fresh(self._finished)
        trip, controls = experiment.trip(), Controls()
        steps = live(
            experiment.transfer(trip, controls),
            controls,
            title=f"{trip.method} on {trip.target}",
            history=lambda: experiment.run.metrics(trip.stage),
            references=lambda: experiment.references(trip),
            subject=transfer_subject(experiment, trip),
        )
        # A task has no cell that its displays belong to, so the board is caught and put here.
        with capture_output(stdout=False, stderr=False) as shown:
            self._tell(await anext(steps))
        self._board.outputs = tuple(
            {"output_type": "display_data", "data": found.data, "metadata": found.metadata or {}}
            for found in shown.outputs
        )
        async for step in steps:
            self._tell(step)

    def _tell(self, step: Step) -> None:
        if step.evaluation is not None and step.evaluation.accuracies:
            self._say(f"Right answers: <b>{step.evaluation.accuracy:.0%}</b>", plain=False)

    def _say(self, text: str, plain: bool = True) -> None:
        self._said.value = f'<span role="status">{html.escape(text) if plain else text}</span>'


def told_parameters() -> TransferParameters:
    """What the server was told to show; else the first transfer of the demo."""
    told = os.environ.get(PAGE_VARIABLE)
    if told:
        return TransferParameters.model_validate_json(told)
    found = needed(DEFAULT, {})[-1].parameters
    assert isinstance(found, TransferParameters)
    return found


def fresh(finished: Experiment) -> Experiment:
    """A new run that has the finished run's source model and nothing else, for a short transfer."""
    given = finished.parameters
    trip = finished.trip()
    options = {**finished.parameters.model_dump()["options"]}
    options[trip.name] = {**options.get(trip.name, {}), "epochs": LIVE_EPOCHS}
    parameters = given.model_copy(
        update={
            "run": f"{datetime.now():%Y-%m-%d-%H%M%S-%f}",
            "runs_dir": str(at_home(given.runs_dir) / f"{given.run}-live"),
            "options": options,
            "film": 0,
        }
    )
    stage = finished.source_stage()
    made, run = finished.run.read(), Run(parameters.folder)

    def change(record: Record) -> None:
        record.stages[stage] = made.stages[stage]
        record.results = [row for row in made.results if row.stage == stage]

    run.change(change)
    (run.folder / "models").mkdir(exist_ok=True)
    weights = model_file(finished.run, stage)
    for file in weights.parent.glob(f"{weights.stem}.*"):
        shutil.copy(file, run.folder / "models")
    return Experiment(parameters)


if __name__ == "__main__":
    DemoPage().points()
