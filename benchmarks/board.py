"""What the live board costs: of the time of a training, and of the kernel's memory in a long one.

`python benchmarks/board.py --write` trains the same small network by turns with the board and
without, in one Jupyter kernel, and writes docs/results/board.md. `--minutes 20` also watches the
kernel's memory for so long. The front end is a sink: it takes every message and shows none.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import queue
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = tuple(f"class {number}" for number in range(10))
IMAGES, SIDE, BATCH = 640, 64, 32
SCORES = ("entropy", "nuclear_norm", "neighbourhood_density", "pair_distance", "pair_retrieval")
PATIENCE = 120.0  # seconds without a message from the kernel


def main() -> None:
    """Measure both, print the page, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/results/board.md")
    parser.add_argument("--rounds", type=int, default=3, help="trainings with and without")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--minutes", type=int, default=20, help="of the soak; 0: none")
    given = parser.parse_args()
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        run(client, f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nimport board")
        load = os.getloadavg()[0]
        rows = []
        run(client, "await board.train(True, 3)")  # loads what is loaded once
        for number in range(given.rounds):
            for watched in (True, False) if number % 2 else (False, True):
                rows += run(client, f"await board.train({watched}, {given.epochs})")
        soak = run(client, f"await board.soak({given.minutes})") if given.minutes else []
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    page = text(rows, soak, load)
    print(page)
    if given.write:
        from quality import RESULTS

        (RESULTS / "board.md").write_text(page)


def run(client: Any, code: str) -> list[dict[str, Any]]:
    """Run a cell, take all its messages as a front end does, and return what it printed.

    Raises:
        RuntimeError: with what the cell raised.
    """
    asked, found = client.execute(code), []
    while True:
        try:
            message = client.get_iopub_msg(timeout=PATIENCE)
        except queue.Empty as empty:
            raise RuntimeError(f"The kernel said nothing for {PATIENCE:.0f} s.") from empty
        content, kind = message["content"], message["msg_type"]
        mine = message["parent_header"].get("msg_id") == asked
        if kind == "stream" and content["name"] == "stdout":
            lines = content["text"].splitlines()
            found += [json.loads(line) for line in lines if line.startswith("{")]
            print(content["text"], end="", flush=True)
        elif kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        elif mine and kind == "status" and content["execution_state"] == "idle":
            return found


class Images:
    """What the examples on the board are of: noise, which compresses worst."""

    classes = CLASSES

    def __init__(self) -> None:
        count = max(1, round(IMAGES * 0.1))
        self.truth = np.random.default_rng(0).integers(0, len(CLASSES), count).tolist()

    def picture(self, row: int) -> npt.NDArray[np.uint8]:
        """Noise of the row's own, uint8 [64, 64, 3]."""
        return np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def painted(self) -> None:
        """Nothing is translated."""


class History:
    """The numbers of all epochs, as a run keeps them, with as many curves as SOCKET has."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, float]] = []

    def add(self, step: Any) -> None:
        """Those of an epoch."""
        values = {"accuracy": step.evaluation.accuracy}
        values["balanced_accuracy"] = step.evaluation.balanced_accuracy
        values |= {f"loss/{name}": float(value) for name, value in step.terms.items()}
        draw = np.random.default_rng(step.epoch)
        values |= {f"score/{name}": float(draw.uniform()) for name in SCORES}
        self.rows += [(step.epoch, name, value) for name, value in values.items()]

    def frame(self) -> Any:
        """epoch, name and value."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["epoch", "name", "value"])


def training(epochs: int, controls: Any) -> Iterator[Any]:
    """A small residual network on noise: epochs of a second or so."""
    import torch

    from socketlab.data.modality import PixelFormat
    from socketlab.data.views import Images as Stored
    from socketlab.data.views import SourceImages
    from socketlab.methods.source import Source, check_source_options
    from socketlab.training.precision import choose_precision

    draw = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (IMAGES, SIDE, SIDE, 3), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, len(CLASSES), (IMAGES,), generator=draw)
    stored = Stored(raw, PixelFormat("rgb", 0, 255, None), tuple(map(str, range(IMAGES))))
    options = check_source_options({"epochs": epochs, "batch_size": BATCH})
    source = Source(options, crop=56, seed=0, precision=choose_precision("cpu", "float32"))
    yield from source.fit(SourceImages(stored, labels, CLASSES, "a/rgb"), controls=controls)


async def watch(epochs: int, watched: bool, seconds: float | None = None) -> AsyncIterator[float]:
    """Train with or without a board; says when every epoch ended, and stops after `seconds`."""
    from socketlab.training.steps import Controls
    from socketlab.widgets import live

    os.environ["SOCKETLAB_HEADLESS"] = "0" if watched else "1"
    controls, history = Controls(), History()

    def kept() -> Iterator[Any]:
        for step in training(epochs, controls):
            if step.kind in ("start", "epoch"):
                history.add(step)
            yield step

    began = time.monotonic()
    steps = live(
        kept(),
        controls,
        title="benchmark",
        history=history.frame,
        references=lambda: {"source_only": 0.2, "oracle_labels": 0.9},
        subject=Images(),
    )
    async for step in steps:
        if step.kind in ("start", "epoch"):
            yield time.monotonic()
        if seconds is not None and time.monotonic() - began > seconds:
            controls.stop()


async def train(watched: bool, epochs: int) -> None:
    """One training; prints its wall and CPU seconds, and those of its epochs."""
    wall, cpu = time.perf_counter(), time.process_time()
    ends = [moment async for moment in watch(epochs, watched)]
    row = {
        "board": watched,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "epoch": statistics.median(after - before for before, after in pairwise(ends)),
    }
    print(json.dumps(row), flush=True)


async def soak(minutes: int) -> None:
    """A long training under a board; prints the kernel's memory at first and every minute."""
    import psutil

    process, epochs, said, began = psutil.Process(), 0, 0, 0.0
    async for moment in watch(10**6, True, 60.0 * minutes + 15):
        epochs += 1
        if epochs == 4:  # everything has been drawn once
            began = moment
        if epochs >= 4 and moment - began >= 60 * said:
            megabytes = process.memory_info().rss / 1e6
            print(json.dumps({"minute": said, "rss": megabytes, "epoch": epochs}), flush=True)
            said += 1


def text(rows: list[dict[str, Any]], soak: list[dict[str, Any]], load: float) -> str:
    """The page."""
    lines = ["| | wall, s | CPU, s | epoch, s |", "| --- | --- | --- | --- |"]
    middle: dict[tuple[bool, str], float] = {}
    for watched, name in ((False, "without"), (True, "with the board")):
        for key in ("wall", "cpu", "epoch"):
            values = [row[key] for row in rows if row["board"] is watched]
            middle[watched, key] = statistics.median(values)
        shown = (f"{middle[watched, 'wall']:.1f}", f"{middle[watched, 'cpu']:.2f}")
        lines.append(f"| {name} | {shown[0]} | {shown[1]} | {middle[watched, 'epoch']:.2f} |")
    cost = {key: middle[True, key] / middle[False, key] - 1 for key in ("wall", "cpu")}
    table = "\n".join(lines)
    spent = {
        watched: [r["cpu"] for r in rows if r["board"] is watched] for watched in (True, False)
    }
    pairs = ", ".join(f"{a / b - 1:+.1%}" for a, b in zip(spent[True], spent[False], strict=True))
    memory = "No soak was run."
    if soak:
        last, added = soak[-1], soak[-1]["rss"] - soak[0]["rss"]
        kept = "\n".join(f"| {r['minute']} | {r['epoch']} | {r['rss']:.0f} |" for r in soak)
        memory = (
            f"In {last['minute']} minutes and {last['epoch']} epochs the kernel grew by "
            f"**{added:+.0f} MB**.\n\n"
            f"| minute | epochs | resident, MB |\n| --- | --- | --- |\n{kept}"
        )
    versions = {name: importlib.metadata.version(name) for name in ("ipykernel", "ipywidgets")}
    return f"""# The live board

{table}

With the board the training took **{cost["cpu"]:+.1%}** of CPU time and {cost["wall"]:+.1%} of wall
time (by pairs of trainings, CPU: {pairs}; how far they lie apart is the noise). Medians of
{len(rows) // 2} trainings of each kind, by turns in one kernel, after one that loaded what is
loaded once. What is drawn before and after the training is counted, too.

## Memory

{memory}

Python {platform.python_version()}, {", ".join(f"{n} {v}" for n, v in versions.items())},
{os.cpu_count()} cores, load {load:.1f} at the start. Made by `benchmarks/board.py`.
"""


if __name__ == "__main__":
    main()
