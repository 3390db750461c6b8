"""One version of the package as a process: it reads commands as JSON lines, and answers so.

`before_after_versions.Worker` starts it, with the version's tree first in Python's path.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from before_after_cases import Case, case_of, knows
from before_after_transfers import train_source, transfer

import socketlab
from socketlab.training.precision import choose_precision

Answer = dict[str, Any]
_open: dict[str, Case] = {}


def hello() -> Answer:
    """Where the package was loaded from."""
    return {"package": str(Path(socketlab.__file__).resolve())}


def describe(device: str = "auto") -> Answer:
    """What it runs on, and in which number format."""
    chosen = choose_precision(device)  # type: ignore[arg-type]
    dtype = str(chosen.dtype).removeprefix("torch.")
    threads = torch.get_num_threads()
    return {"device": chosen.name, "dtype": dtype, "threads": threads, "torch": torch.__version__}


def asked(settings: Answer, new: Answer) -> Answer:
    """Whether the version knows what is new in a case."""
    return {"known": knows(settings, new)}


def prepare(kind: str, settings: Answer, new: Answer) -> Answer:
    """Make a case ready; the one before is forgotten."""
    forget()
    _open["case"] = case = case_of(kind, settings, new)
    return {"terms": case.terms}


def repeat(seconds: float) -> Answer:
    """Run the case for so long, once at least; the seconds of one run, on the clock and of cores.

    What the case says is not to be counted, is not.
    """
    case, spent, counted = _open["case"], [0.0, 0.0], 0
    while not counted or spent[0] < seconds:
        _finish()
        before = time.perf_counter(), time.process_time()
        counts = case.run()
        _finish()
        if counts:
            spent[0] += time.perf_counter() - before[0]
            spent[1] += time.process_time() - before[1]
            counted += 1
    return {"seconds": spent[0] / counted, "processor": spent[1] / counted, "runs": counted}


def forget() -> Answer:
    """Let go of the case that was prepared."""
    if "case" in _open:
        _open.pop("case").close()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {}


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


COMMANDS: dict[str, Callable[..., Answer]] = {
    each.__name__: each
    for each in (hello, describe, asked, prepare, repeat, forget, train_source, transfer)
}


def main() -> None:
    """Answer until nobody asks any more."""
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        about = json.loads(line)
        try:
            answer = COMMANDS[about.pop("command")](**about)
        except Exception as error:  # the version cannot do it; another command it may
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
