"""What a run costs beside its training: kernel, imports, papermill, record and report.

`python benchmarks/overhead.py` executes 05_transfer with the method `source_only`, which trains
nothing, on a few tiny scenes, run after run: with ordinary kernels and with warm ones on the local
engine, and with warm ones on Ray, where it is installed. `--write` leaves docs/results/overhead.md.
It takes about three minutes. Run it on a machine that has nothing else to do.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from quality import HERE, RESULTS, markdown

from socketlab.data.whole_files import replace_file
from socketlab.runs.kernels import close_servers
from socketlab.runs.notebooks import run_notebook
from socketlab.runs.planning import plan
from socketlab.runs.sweeps.grid import Resources
from socketlab.runs.sweeps.local import run_locally
from socketlab.runs.sweeps.on_ray import run_on_ray
from socketlab.runs.sweeps.record import Job, SweepRecord, write_sweep
from socketlab.runs.sweeps.work import Outcome

PAGE = RESULTS / "overhead.md"
NOTEBOOK = "05_transfer"
THREADS = {"OMP_NUM_THREADS": "1"}
HEAD = """\
# What a run costs beside its training

Seconds of a run of `{notebook}` with the method `source_only`, which trains nothing, on {images}
images of 32 pixels, scored and drawn as usual: all of it is overhead. {runs} runs, one after
another, one thread each, on {cores} cores. The **first** run of a sweep includes what is done once:
the engine's start, and with warm kernels the import of all libraries. **Later** ones are the time
from the end of one run to the end of the next: median, lowest and highest.

**Ordinary** kernels are started afresh for each notebook, as JupyterLab does. **Warm** ones are
forked from a process that has imported what notebooks import and has run nothing; no kernel is used
twice.

"""
PARTS = """

Where the time of a later run goes (medians): until the kernel answers; in the cells, of which most
is imports with ordinary kernels; between the cells, where papermill saves the notebook after each;
until the kernel has ended; and the rest, which is the engine, `run.json` and the report.

"""


def tiny_manifest(folder: Path) -> tuple[Path, int]:
    """A manifest like that of the built-in data with few images; and how many."""
    raw = yaml.safe_load((HERE / "data_manifests" / "scenes.yaml").read_text())
    roles = {"task_relevant": {"train": 6, "test": 4}, "task_irrelevant": {"train": 4}}
    raw["layout"]["counts"] = roles
    counts = {name: roles[role] for role in roles for name in raw["classes"][role]}
    raw["expected"] = dict.fromkeys(raw["domains"], counts)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return file, len(raw["domains"]) * sum(sum(each.values()) for each in counts.values())


def jobs_in(folder: Path, source: Path, values: dict[str, Any], runs: int) -> list[Job]:
    """Runs that find their source model there, and have nothing to train."""
    jobs = []
    for number in range(runs):
        name = f"run{number}"
        own = {"run": name, "runs_dir": str(folder), "method": "source_only"}
        shutil.copytree(source, folder / name)
        (planned,) = plan([NOTEBOOK], values, own)
        jobs.append(Job(name=name, steps=[(NOTEBOOK, planned.parameters.model_dump(mode="json"))]))
    write_sweep(folder, SweepRecord(name=folder.name, created="", jobs=jobs))
    return jobs


def parts_of(run: Path) -> dict[str, float]:
    """Where the time of papermill went, by what it wrote into the executed notebook."""
    notebook = json.loads((run / "notebooks" / f"{NOTEBOOK}.ipynb").read_text())
    whole = notebook["metadata"]["papermill"]
    cells = [cell["metadata"]["papermill"] for cell in notebook["cells"]]
    start, end = (datetime.fromisoformat(whole[name]) for name in ("start_time", "end_time"))
    first = datetime.fromisoformat(cells[0]["start_time"])
    last = datetime.fromisoformat(cells[-1]["end_time"])
    executing = sum(cell["duration"] for cell in cells)
    return {
        "kernel starts": (first - start).total_seconds(),
        "cells": executing,
        "between cells": (last - first).total_seconds() - executing,
        "kernel ends": (end - last).total_seconds(),
        "papermill": whole["duration"],
    }


Engine = Callable[[list[Job], Path, Callable[[Job, Outcome | None], None]], object]


def measure(engine: Engine, jobs: list[Job], folder: Path) -> tuple[float, list[dict[str, float]]]:
    """Seconds of the first run, and of each later one with its parts."""
    ends = [time.monotonic()]

    def told(job: Job, outcome: Outcome | None) -> None:
        if outcome is not None:
            ends.append(time.monotonic())
            if outcome.status != "done":
                raise RuntimeError(f"{job.name}: {outcome.reason}")

    engine(jobs, folder, told)
    first, *later = (after - before for before, after in pairwise(ends))
    found = []
    for job, seconds in zip(jobs[1:], later, strict=True):
        parts = parts_of(folder / job.name)
        rest = seconds - parts.pop("papermill")
        found.append({"a run": seconds, **parts, "the rest": rest})
    return first, found


def in_words(values: Sequence[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def locally(warm: bool) -> Engine:
    """The local engine with one place."""

    def engine(jobs: list[Job], folder: Path, told: Callable[[Job, Outcome | None], None]) -> None:
        run_locally(jobs, folder, places=[THREADS], retries=0, told=told, warm=warm)
        close_servers()

    return engine


def on_ray(jobs: list[Job], folder: Path, told: Callable[[Job, Outcome | None], None]) -> None:
    """A cluster of this machine with one core."""
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=1, **quiet)
    try:
        run_on_ray(jobs, folder, resources=Resources(cpus=1, gpus=0), retries=0, told=told)
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=6, help="runs of each engine")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    given = parser.parse_args()
    os.chdir(HERE)
    ways: dict[tuple[str, str], Engine] = {
        ("local", "ordinary"): locally(warm=False),
        ("local", "warm"): locally(warm=True),
    }
    if find_spec("ray") is not None:
        ways["Ray", "warm"] = on_ray
    rows, parts = [], []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        manifest, images = tiny_manifest(place)
        values = {
            "data": str(manifest),
            "size": 32,
            "data_dir": str(place / "data"),
            "device": "cpu",
            "source_options": {"epochs": 1, "batch_size": 8},
        }
        source = {"run": "source", "runs_dir": str(place)}
        for planned in plan(["01", "02"], values, source):
            run_notebook(planned, io.StringIO(), environment=THREADS)
        for number, ((engine, kernels), work) in enumerate(ways.items()):
            folder = place / f"sweep{number}"
            jobs = jobs_in(folder, place / "source", values, given.runs)
            first, later = measure(work, jobs, folder)
            about = {"engine": engine, "kernels": kernels}
            spent = in_words([each["a run"] for each in later])
            rows.append({**about, "first run": f"{first:.1f}", "later runs": spent})
            medians = pd.DataFrame(later).median()
            parts.append({**about, **{name: f"{medians[name]:.2f}" for name in medians.index}})
    head = HEAD.format(notebook=NOTEBOOK, images=images, runs=given.runs, cores=os.cpu_count())
    page = f"{head}{markdown(pd.DataFrame(rows))}{PARTS}{markdown(pd.DataFrame(parts))}\n"
    print(page)
    if given.write:
        replace_file(PAGE, page.encode())


if __name__ == "__main__":
    main()
