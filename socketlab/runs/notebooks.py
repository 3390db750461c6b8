"""One notebook headlessly: papermill, its own kernel, and a line per epoch."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from socketlab.runs.places import home
from socketlab.runs.planning import Planned
from socketlab.runs.record import PART_VARIABLE
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
