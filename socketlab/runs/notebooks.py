"""One notebook headlessly: papermill, its own kernel, and a line per epoch."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from socketlab.runs.places import home
from socketlab.runs.planning import Planned
from socketlab.runs.record import PART_VARIABLE
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
) -> None:
    """Execute one notebook in its own kernel; the executed copy lies in the run's folder.

    What its cells print goes to `out` as it comes. Several threads may execute one each.

    Args:
        planned: the notebook and its parameters.
        out: where to print.
        environment: variables of the kernel, beside this process's.
        warm: fork the kernel from a process that has imported what notebooks import, which this
            process starts once; an ordinary one where that cannot be, and `out` says why.

    Raises:
        NotebookFailed: if a cell raised; the last line of the error is in it.
        KernelDied: if the kernel's process ended, and how.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from socketlab.runs.kernel_engine import NAME, KernelEnded

    # It warns of every parameter that a notebook leaves at its default; ours are checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)

    folder = planned.parameters.folder / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{planned.part}.ipynb"
    temporary = folder / f".{planned.part}.partial.ipynb"
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
        )
    except PapermillExecutionError as error:
        raise NotebookFailed(f"{error.ename}: {error.evalue}") from error
    except KernelEnded as error:
        raise KernelDied(str(error)) from error
    except Exception as error:
        raise NotebookFailed(f"{type(error).__name__}: {error}") from error
    finally:
        if temporary.exists():
            os.replace(temporary, output)


def _server(environment: Mapping[str, str], out: TextIO) -> "KernelServer | None":
    from socketlab.runs.kernels import NoWarmKernels, warm_server

    try:
        return warm_server(environment)
    except NoWarmKernels as reason:
        print(f"No warm kernels, so each is started afresh: {reason}.", file=out, flush=True)
        return None
