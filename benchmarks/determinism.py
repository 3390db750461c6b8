"""What a training step costs when only deterministic algorithms may be used, against any.

`python benchmarks/determinism.py` trains SOCKET with a ResNet-18 at 112 px on made-up images and
allows other algorithms at every second step; `--write` leaves docs/results/determinism.md.
"""

import argparse
import statistics
import time
from dataclasses import replace

import pandas as pd
import torch
from quality import HERE, RESULTS, markdown
from speed_cases import Case, Training
from speed_steps import wait

from socketlab.data.whole_files import replace_file
from socketlab.runs.versions import machine

PAGE = RESULTS / "determinism.md"
HEAD = """\
# What deterministic mode costs

Seconds of a training step, SOCKET with a ResNet-18 at 112 px, 32 images and 32 pairs, uncompiled,
on made-up images: {steps} steps with deterministic algorithms alone and {steps} with any, by turns,
in one training; medians. The time of processors is that of this process: where the clock shows much
more, the machine had other work, and only the last column means something.
Measured on {where},
by `python benchmarks/determinism.py --write`.

"""
TAIL = """
On CUDA it has **not been measured**: this machine has none. There the mode also does without
`torch.compile` and without cuDNN's search for the fastest algorithm; what compiling gains is in
[speed.md](speed.md).

## What was looked at

All methods were trained on a CPU with `torch.use_deterministic_algorithms(True)`: no operation
refused, and all weights were those without it, bit for bit. On a CPU the mode changes nothing that
we compute: the same number of threads gives the same numbers anyway, another number other ones.

Of the operations that torch refuses or replaces on CUDA in this mode (its documentation lists them)
these are ours, by reading and by listing every operation of a training of every method
(tests/training/test_deterministic.py):

| operation | where | in this mode, on CUDA |
| --- | --- | --- |
| convolutions | all networks | cuDNN's deterministic algorithms |
| products of matrices | all | `CUBLAS_WORKSPACE_CONFIG=:4096:8`, set before CUDA starts |
| backward of bilinear `interpolate` | translator `residual` | torch computes it by `index_put` |
| backward of `replicate` padding | translators, odd sizes | torch computes it by `index_put` |
| `index_add` | centroids of pseudo-labels | not used on CUDA: a product does it, in any mode |
| `index_copy`, `scatter` of one value | banks, neighbours | deterministic: places are distinct |
| adaptive average pooling | to one value per channel | a mean, which is deterministic |
| `median` of all values | guards of statistics | deterministic: only that with places is not |

An encoder of somebody's own may hold others (adaptive pooling to more than one value, 3-D pooling,
`grid_sample`): torch then stops with an error that names the operation. Several devices add their
gradients in an order that the library chooses; that was not examined.
"""


def measure(case: Case, steps: int) -> list[dict[str, str]]:
    """A row for each mode: the median of its steps, and the ratio to any algorithms."""
    training = Training(case, 2 * steps + 3)
    taken = training.steps()
    next(taken)
    clock: dict[bool, list[float]] = {False: [], True: []}
    processors: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * steps + 2):
        mode = bool(number % 2)
        replace(training.precision, deterministic=mode).enforce()
        began, used = time.perf_counter(), time.process_time()
        next(taken)
        wait(training.precision.device)
        if number > 1:  # the first of each warm up
            clock[mode].append(time.perf_counter() - began)
            processors[mode].append(time.process_time() - used)
    training.precision.enforce()
    rows = []
    for mode, name in ((False, "any"), (True, "deterministic")):
        row = {"algorithms": name}
        for what, found in (("clock", clock), ("processors", processors)):
            mine, base = statistics.median(found[mode]), statistics.median(found[False])
            row |= {f"{what}, s": f"{mine:.3f}", f"{what}, of any": f"{mine / base:.2f}"}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="of each mode")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="float32")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    given = parser.parse_args()
    case = Case("resnet18", 112, "socket", device=given.device, dtype=given.dtype)
    rows = measure(case, given.steps)
    about = machine(given.device)
    where = (
        f"{case.precision().name}: {about['cpu']} ({about['instructions']}), {about['threads']} "
        f"thread(s), {given.dtype}, torch {torch.__version__}"
    )
    page = f"{HEAD.format(steps=given.steps, where=where)}{markdown(pd.DataFrame(rows))}\n{TAIL}"
    print(page)
    if given.write:
        replace_file(PAGE, page.encode())


if __name__ == "__main__":
    main()
