"""Run notebooks headlessly: papermill, a line per epoch, and a record that cannot be fooled."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from socketlab.runs.places import home
from socketlab.runs.planning import Planned
from socketlab.runs.record import PART_VARIABLE, Part, Record, Run
from socketlab.widgets.live import HEADLESS_VARIABLE

HEADLESS = {
    HEADLESS_VARIABLE: "1",
    # With other work on the machine, waiting OpenMP threads would burn the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # papermill's own front end has no debugger to be warned about.
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


class NotebookFailed(RuntimeError):  # noqa: N818 - reads as the thing found
    """A notebook that did not reach its end."""


def run_notebook(planned: Planned, out: TextIO = sys.stdout) -> None:
    """Execute one notebook in its own kernel; the executed copy lies in the run's folder.

    What its cells print goes to `out` as it comes.

    Raises:
        NotebookFailed: if a cell raised or the kernel died; the last line of the error is in it.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    # It warns of every parameter that a notebook leaves at its default; ours are checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)

    folder = planned.parameters.folder / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{planned.part}.ipynb"
    temporary = folder / f".{planned.part}.partial.ipynb"
    with _environment(HEADLESS | {PART_VARIABLE: planned.part}):
        try:
            papermill.execute_notebook(
                str(home() / "notebooks" / f"{planned.notebook}.ipynb"),
                str(temporary),
                parameters=planned.parameters.model_dump(mode="json"),
                cwd=str(home()),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=out,
                store_widget_state=False,
                extra_arguments=["--log-level=ERROR"],
            )
        except PapermillExecutionError as error:
            raise NotebookFailed(f"{error.ename}: {error.evalue}") from error
        except Exception as error:  # a kernel that died; nbclient names it
            raise NotebookFailed(f"{type(error).__name__}: {error}") from error
        finally:
            if temporary.exists():
                os.replace(temporary, output)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_all(planned: Sequence[Planned], *, again: bool = False, command: str = "") -> list[Path]:
    """Run notebooks one after another into one run folder; finished ones are passed over.

    `run.json` says `done` only when every notebook reached its end. Returns the run folders.

    Raises:
        NotebookFailed: at the first notebook that fails; `run.json` has the reason.
    """
    folders = list(dict.fromkeys(item.parameters.folder for item in planned))
    for folder in folders:
        mine = [item for item in planned if item.parameters.folder == folder]
        run = Run(folder)

        def announce(record: Record, mine: Sequence[Planned] = mine) -> None:
            record.command = command or record.command
            for item in mine:
                part = record.notebooks.get(item.part)
                same = part is not None and part.fingerprint == item.fingerprint
                if again or part is None or not same or part.status != "done":
                    earlier = part.seconds if part is not None and same and not again else 0.0
                    record.notebooks[item.part] = Part(
                        fingerprint=item.fingerprint, seconds=earlier
                    )
                    record.status, record.reason = "running", ""

        record = run.change(announce)
        for item in mine:
            if record.notebooks[item.part].status == "done":
                print(f"{item.part}: done", flush=True)
                continue
            print(f"{item.part}: running", flush=True)
            _run_part(run, item)
    return folders


def _run_part(run: Run, item: Planned) -> None:
    earlier = run.read().notebooks[item.part].seconds
    began = time.monotonic()
    reason = ""
    try:
        run_notebook(item)
        part = run.read().notebooks[item.part]
        if part.status != "done":
            reason = "the notebook ended without its last cell; its kernel may have been killed"
    except NotebookFailed as error:
        reason = str(error)
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:

        def close(record: Record) -> None:
            part = record.notebooks[item.part]
            part.seconds = earlier + time.monotonic() - began
            record.seconds = sum(part.seconds for part in record.notebooks.values())
            if reason:
                stopped = reason == "interrupted" or reason.startswith("NonFiniteLoss")
                part.status = record.status = "stopped" if stopped else "failed"
                part.reason = record.reason = reason

        run.change(close)
    if reason:
        raise NotebookFailed(f"{item.part}: {reason}")
