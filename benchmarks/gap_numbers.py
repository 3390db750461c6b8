"""How long the numbers of the gap take, and how much memory, for many pairs.

`python benchmarks/gap_numbers.py` measures 50,000 pairs of 256 columns, each measure by itself in
a process of its own and then all in one; `--write` leaves the page docs/results/gap_numbers.md.
It takes about four minutes. Run it on a machine that has nothing else to do.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from socketlab.data.whole_files import replace_file
from socketlab.gap import MEASURES, calibration_case, gap_table
from socketlab.training.memory import peak_memory

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "results" / "gap_numbers.md"
ALL = "all"
HEAD = """\
# The numbers of the gap: time and memory

`gap_table(x, y, sample=None, measures=...)` of {rows:,} pairs of {columns} columns, made up: three
seeds, 200 resamples each for the interval. Each measure ran in a process of its own, the last row
is all of them in one. Cores: {cores}.

- **seconds**: from features to rows of the table, on the clock. **processor seconds**: summed over
  cores; more than twice the seconds cannot be had from two cores, and far less than that says
  that the machine was busy with something else. Both without the start of the process.
- **used**: whether all pairs went into the number, or a sample of each seed. Measures that look
  at all couples of rows are sampled, for a matrix of all couples would have {couples:.1f} billion
  entries.
- **peak memory**: the most that the process held at any time, Python, its libraries and the
  features ({features} MiB as float32) included. A process that has done nothing but load them
  holds {baseline:,.0f} MiB.

"""


def features(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with a little noise and a little offset: no measure is at the end of its range."""
    x, y = calibration_case("pairs + small noise", rows, columns)
    return x.astype(np.float32), (y + 0.02).astype(np.float32)


def measure_one(name: str, rows: int, columns: int) -> dict[str, str | float]:
    """Time and peak memory of one measure (or all, or none) in this process."""
    import torch

    x, y = features(rows, columns)
    note, seconds, processor = "", 0.0, 0.0
    with peak_memory(torch.device("cpu")) as peak:
        if name:
            start, busy = time.perf_counter(), time.process_time()
            found = gap_table(x, y, sample=None, measures=ALL if name == ALL else [name])
            seconds, processor = time.perf_counter() - start, time.process_time() - busy
            note = found[0].note if name != ALL else "as above"
            stopped = [row for row in found if row.note.startswith("stopped")]
            if stopped:
                raise SystemExit(f"{stopped[0].metric}: {stopped[0].note}")
    return {
        "measure": name,
        "seconds": seconds,
        "processor seconds": processor,
        "used": note,
        "peak memory (MiB)": peak.mebibytes,
    }


def in_a_process(name: str, rows: int, columns: int) -> dict[str, str | float]:
    """`measure_one` in a fresh process, so that its peak is its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--columns", str(columns)]
    done = subprocess.run([*command, "--one", name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
    found: dict[str, str | float] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_markdown(frame: pd.DataFrame) -> str:
    """The table, numbers as text."""
    lines = [list(frame.columns), ["---"] * len(frame.columns)]
    for row in frame.itertuples(index=False):
        lines.append([f"{cell:,.1f}" if isinstance(cell, float) else str(cell) for cell in row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="pairs")
    parser.add_argument("--columns", type=int, default=256, help="columns of the features")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure_one(given.one, given.rows, given.columns)))
        return
    baseline = float(in_a_process("", given.rows, given.columns)["peak memory (MiB)"])
    table = []
    for name in [*MEASURES, ALL]:
        table.append(in_a_process(name, given.rows, given.columns))
        print(as_markdown(pd.DataFrame(table[-1:])).splitlines()[-1], flush=True)
    head = HEAD.format(
        rows=given.rows,
        columns=given.columns,
        cores=os.cpu_count(),
        couples=given.rows**2 / 1e9,
        features=2 * 4 * given.rows * given.columns // 2**20,
        baseline=baseline,
    )
    page = head + as_markdown(pd.DataFrame(table))
    print(page)
    if given.write:
        replace_file(PAGE, page.encode())


if __name__ == "__main__":
    main()
