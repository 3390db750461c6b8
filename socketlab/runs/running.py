"""Notebooks one after another into one run folder, and a record that cannot be fooled."""

import time
from collections.abc import Sequence
from pathlib import Path

from socketlab.runs.notebooks import NotebookFailed, run_notebook
from socketlab.runs.planning import Planned
from socketlab.runs.record import Part, Record, Run


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
