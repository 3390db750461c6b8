"""One notebook at work in a run: what it announces, the figures it leaves, how it ends."""

import os
import time

from matplotlib.figure import Figure

from socketlab.runs.mishaps import hold_reserve, remove_reserve
from socketlab.runs.parameters import Compare
from socketlab.runs.record import PART_VARIABLE, Part, Picture, Record, Run
from socketlab.runs.shared_parameters import RunParameters
from socketlab.runs.signals import end_kernel_when_asked
from socketlab.runs.tensorboard import check_tensorboard
from socketlab.runs.versions import machine
from socketlab.training.precision import choose_precision


class Session:
    """Opens or makes the run's folder, and says there that this notebook is running."""

    def __init__(self, parameters: RunParameters) -> None:
        self.parameters = parameters
        if parameters.tensorboard:
            check_tensorboard()
        self.precision = choose_precision(
            parameters.device,
            parameters.dtype,
            parameters.compile,
            parameters.devices,
            parameters.deterministic,
        )
        self.precision.enforce()
        self.run = Run(parameters.folder)
        hold_reserve(parameters.folder)
        end_kernel_when_asked(parameters.folder)
        self.part = os.environ.get(PART_VARIABLE, parameters.notebook)
        self._began = time.monotonic()
        self.run.change(self._announce)
        print(f"Run {parameters.folder} on {self.precision}")

    def _announce(self, record: Record) -> None:
        record.status, record.reason = "running", ""
        record.configuration[self.part] = self.parameters.model_dump(mode="json")
        given = self.parameters
        seeds = given.seeds if isinstance(given, Compare) else [given.seed]
        record.seeds = sorted({*record.seeds, *seeds})
        record.device = {
            "name": self.precision.name,
            "kind": self.precision.device.type,
            "dtype": str(self.precision.dtype).removeprefix("torch."),
            "reason": self.precision.reason,
            "deterministic": "yes" if self.precision.deterministic else "no",
            **machine(self.precision.device.type),
        }
        part = record.notebooks.get(self.part, Part())
        record.notebooks[self.part] = part.model_copy(update={"status": "running", "reason": ""})

    def finish(self) -> str:
        """Mark this notebook as done; the run is done when all its notebooks are."""

        def change(record: Record) -> None:
            part = record.notebooks[self.part]
            part.status, part.seconds = "done", time.monotonic() - self._began
            record.seconds = sum(part.seconds for part in record.notebooks.values())
            unfinished = [s for s, part in record.stages.items() if part.status != "done"]
            if unfinished:
                record.status = "stopped"
                record.reason = f"not trained to the end: {', '.join(unfinished)}"
            elif all(part.status == "done" for part in record.notebooks.values()):
                record.status, record.reason = "done", ""

        record = self.run.change(change)
        if record.status == "done" and PART_VARIABLE not in os.environ:  # nobody has more to say
            remove_reserve(self.run.folder)
        if record.status == "stopped":
            return f"The run is {record.reason}. Run the notebook again to go on."
        waiting = [name for name, part in record.notebooks.items() if part.status != "done"]
        return "The run is done." if not waiting else f"Done; still to do: {', '.join(waiting)}."

    def show(self, figure: Figure, name: str, *, title: str, caption: str) -> Picture:
        """Keep a figure of this notebook for the report, and show it as the cell's value."""
        return self.run.figure(
            figure, f"{self.part}-{name}", title=title, caption=caption, notebook=self.part
        )

    def show_png(self, png: bytes, name: str, *, title: str, caption: str) -> Picture:
        """The same of a picture that is a PNG already, which may be animated."""
        file = f"{self.part}-{name}"
        return self.run.picture(png, file, title=title, caption=caption, notebook=self.part)
