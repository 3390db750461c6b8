"""How fast training is, against the bare forward and backward of the same batches.

`make bench` (`python benchmarks/speed.py`) takes about 25 minutes on two quiet cores: steps of
every method on several networks, whole epochs, what is done besides, and how cost grows; on a GPU
too where there is one. Each row is measured in a process of its own and kept in
docs/results/speed.json; rows that are there are passed over, so it resumes where it was
interrupted (`--again` measures them anew, `--only TEXT` those whose name holds the text). It leaves
docs/results/speed.md and figures in docs/images/. `--quick` looks at a small network only, takes
about 3 minutes and leaves all of it in runs/speed_quick/.
"""

import argparse
import datetime
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from speed_plan import QUICK, Measurement, Plan, machine, measurements

from socketlab.data.whole_files import replace_file
from socketlab.training.precision import DeviceChoice

HERE = Path(__file__).resolve().parent.parent
LOADED = ("speed_plan",)


def in_a_process(measurement: Measurement) -> dict[str, Any]:
    """A row's numbers, measured in a fresh process, so that its peak memory is its own.

    One that fails says why in `failed`, and the others go on.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LOADED])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measurement.found).result()
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}


def run(
    plan: Plan,
    folder: Path,
    *,
    devices: Sequence[DeviceChoice],
    date: str,
    again: bool = False,
    only: str = "",
) -> dict[str, Any]:
    """Measure the rows that `folder` does not hold yet; all that it holds then.

    `folder`/speed.json is written after every row: the machines by name and the rows by key.
    """
    file = folder / "speed.json"
    kept: dict[str, Any] = {"machines": {}, "rows": {}}
    if file.exists():
        kept = json.loads(file.read_text())
    kept["machines"] |= {machine(device)["name"]: machine(device) for device in devices}
    wanted = [m for m in measurements(plan, devices) if only in m.key]
    for number, measurement in enumerate(wanted, 1):
        key, there = measurement.key, kept["rows"].get(measurement.key, {})
        if there and "failed" not in there and not again:
            continue
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        print(f"{number} of {len(wanted)}: {key}", flush=True)
        row = {
            "kind": measurement.kind,
            "about": measurement.about,
            "machine": machine(measurement.case.device)["name"],
            "case": asdict(measurement.case),
            "measured": date,
            "load": load,
        } | in_a_process(measurement)
        if "failed" in row:
            print(row["failed"], flush=True)
        kept["rows"][key] = row
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, (json.dumps(kept, indent=1) + "\n").encode())
    return kept


def main() -> None:
    """Measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parser.add_argument("--quick", action="store_true", help="a small network, about 3 minutes")
    parser.add_argument("--again", action="store_true", help="measure also what is there already")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds this")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    parser.add_argument("--devices", nargs="+", choices=there, default=there)
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the rows")
    given = parser.parse_args()
    from speed_report import write

    quick = HERE / "runs" / "speed_quick"
    folder = quick if given.quick else HERE / "docs" / "results"
    kept = run(
        QUICK if given.quick else Plan(),
        folder,
        devices=() if given.page_only else given.devices,
        date=given.date,
        again=given.again,
        only=given.only,
    )
    write(kept, folder, quick if given.quick else HERE / "docs" / "images")


if __name__ == "__main__":
    main()
