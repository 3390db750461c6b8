"""One notebook headlessly: papermill, its own kernel, and a line per epoch."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from socketlab.runs.places import home
from socketlab.runs.planning import Planned
from socketlab.runs.record import PART_VARIABLE
from socketlab.runs.report_values import duration
from socketlab.runs.time_limit import TimeLimit
from socketlab.widgets.live import HEADLESS_VARIABLE

if TYPE_CHECKING:
    from socketlab.runs.kernels import KernelServer

HEADLESS = {
    HEADLESS_VARIABLE: "1",
    # With other work on the machine, waiting OpenMP threads would burn the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # papermill's own front end has no debugger to be warned about.
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


class NotebookFailed(RuntimeError):  # noqa: N818 - reads as the thing found
    """A notebook that did not reach its end."""


class KernelDied(NotebookFailed):
    """The process of a notebook's kernel ended; begun again, the notebook may well succeed."""


def run_notebook(
    planned: Planned,
    out: TextIO = sys.stdout,
    *,
    environment: Mapping[str, str] | None = None,
    warm: bool = False,
    seconds: float | None = None,
) -> None:
    """Execute one notebook in its own kernel; the executed copy lies in the run's folder.

    What its cells print goes to `out` as it comes. Several threads may execute one each.

    Args:
        planned: the notebook and its parameters.
        out: where to print.
        environment: variables of the kernel, beside this process's.
        warm: fork the kernel from a process that has imported what notebooks import, which this
            process starts once; an ordinary one where that cannot be, and `out` says why.
        seconds: that it may take; then it is told to save and end, and killed if it does not.

    Raises:
        NotebookFailed: if a cell raised; the last line of the error is in it.
        KernelDied: if the kernel's process ended, and how, or took too long.
    """
    import papermill

    from socketlab.runs.kernel_engine import NAME

    # It warns of every parameter that a notebook leaves at its default; ours are checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)

    folder = planned.parameters.folder / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{planned.part}.ipynb"
    temporary = folder / f".{planned.part}.partial.ipynb"
    time_limit = TimeLimit(seconds)
    variables = {**os.environ, **HEADLESS, PART_VARIABLE: planned.part, **(environment or {})}
    try:
        papermill.execute_notebook(
            str(home() / "notebooks" / f"{planned.notebook}.ipynb"),
            str(temporary),
            parameters=planned.parameters.model_dump(mode="json"),
            engine_name=NAME,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=out,
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],
            environment=variables,
            # Not papermill's `cwd`, which is that of this process meanwhile.
            kernel_cwd=str(home()),
            warm=_server(variables, out) if warm else None,
            time_limit=time_limit,
        )
    except Exception as error:
        raise _failure(error, time_limit) from error
    finally:
        if temporary.exists():
            os.replace(temporary, output)


def _failure(error: Exception, time_limit: TimeLimit) -> NotebookFailed:
    from papermill.exceptions import PapermillExecutionError

    from socketlab.runs.kernel_engine import KernelEnded

    if time_limit.passed:
        allowed = duration(time_limit.seconds)
        return KernelDied(f"it took longer than the {allowed} that it was given, and was ended")
    if isinstance(error, PapermillExecutionError):
        return NotebookFailed(f"{error.ename}: {error.evalue}")
    if isinstance(error, KernelEnded):
        return KernelDied(str(error))
    return NotebookFailed(f"{type(error).__name__}: {error}")


def _server(environment: Mapping[str, str], out: TextIO) -> "KernelServer | None":
    from socketlab.runs.kernels import NoWarmKernels, warm_server

    try:
        return warm_server(environment)
    except NoWarmKernels as reason:
        print(f"No warm kernels, so each is started afresh: {reason}.", file=out, flush=True)
        return None
