"""How long one waits for a map of the feature space: cold, warm and from the cache, by method.

`python benchmarks/gap_maps.py --write` prints the table and writes docs/results/gap_maps.md. Every
line is measured in processes of its own.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

POINTS = (2_000, 10_000)
PROCESSES = 2
WIDTH = 256
CASES: dict[str, dict[str, Any]] = {
    "UMAP": {"method": "umap"},
    "UMAP, fast": {"method": "umap", "fast": True},
    "PCA": {"method": "pca"},
    "PaCMAP": {"method": "pacmap"},
    "t-SNE": {"method": "tsne"},
}
LIBRARIES = ("umap-learn", "scikit-learn", "pacmap", "openTSNE", "numba")


def main() -> None:
    """Measure every case, print the table, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/results/gap_maps.md")
    parser.add_argument("--points", type=int, nargs="+", default=POINTS)
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "POINTS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        case, points = given.measure
        print(json.dumps(measure(case, int(points))))
        return
    # Here, for a process that measures must not have loaded what a map imports.
    import pandas as pd
    from quality import RESULTS, markdown

    load = os.getloadavg()
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as compiled:
            # An empty folder, for numba keeps what it compiled there: the first time ever.
            first = in_new_process(case, 500, compiled)
            for points in given.points:
                tries = [in_new_process(case, points, compiled) for _ in range(PROCESSES)]
                # Other programs can only make a time longer.
                found = {name: min(found[name] for found in tries) for name in tries[0]}
                rows.append(row(case, points, first["start"], found))
                print(rows[-1], flush=True)
    text = page(markdown(pd.DataFrame(rows)), load, os.getloadavg())
    print(text)
    if given.write:
        (RESULTS / "gap_maps.md").write_text(text)


def in_new_process(case: str, points: int, compiled: str) -> dict[str, float]:
    """What `measure` finds in a fresh process that keeps compiled code in the folder `compiled`."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", case, str(points)],
        env=os.environ | {"NUMBA_CACHE_DIR": compiled},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{case} with {points} points failed: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(case: str, points: int) -> dict[str, float]:
    """Seconds of a first fit, of a second with other data, and of reading that from the cache."""
    from socketlab.gap.projection import project

    loaded = {"sklearn", "umap", "pacmap", "openTSNE"} & set(sys.modules)
    if loaded:
        raise RuntimeError(f"{loaded} are loaded before the first map: the start would look short.")
    settings = dict(CASES[case])
    with tempfile.TemporaryDirectory() as folder:
        settings |= {"most": points, "cache": Path(folder), "paired": [("rgb", "depth")]}
        cold = project(clouds(points, seed=0), **settings)
        groups = clouds(points, seed=1)
        begun = time.perf_counter()
        warm = project(groups, **settings)
        warm_done = time.perf_counter()
        again = project(groups, **settings)
        again_done = time.perf_counter()
    if warm.cached or not again.cached:
        raise RuntimeError("The second map must be fitted and the third read from the cache.")
    return {
        "start": cold.start_seconds,
        "cold": cold.seconds,
        "warm": warm.seconds,
        "warm_call": warm_done - begun,
        "cached_call": again_done - warm_done,
        "trustworthiness": warm.trustworthiness,
        "agreement": warm.neighbour_agreement,
    }


def clouds(points: int, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Two clouds of partners, [points / 2, 256] each: ten classes, an offset and noise between."""
    draw = np.random.default_rng(seed)
    n = points // 2
    rgb = draw.standard_normal((10, WIDTH))[np.arange(n) % 10] + draw.standard_normal((n, WIDTH))
    depth = rgb + 0.5 * draw.standard_normal(WIDTH) + 0.5 * draw.standard_normal((n, WIDTH))
    return {"rgb": rgb.astype(np.float32), "depth": depth.astype(np.float32)}


def row(case: str, points: int, first_ever: float, found: dict[str, float]) -> dict[str, str]:
    """A line of the table."""
    return {
        "method": case,
        "points": f"{points:,}",
        "start, first ever": f"{first_ever:.1f}",
        "start, new process": f"{found['start']:.1f}",
        "first fit": f"{found['cold']:.1f}",
        "second fit": f"{found['warm']:.1f}",
        "second call": f"{found['warm_call']:.1f}",
        "from the cache": f"{found['cached_call']:.2f}",
        "trustworthiness": f"{found['trustworthiness']:.3f}",
        "neighbours kept": f"{found['agreement']:.0%}",
    }


def page(table: str, before: tuple[float, ...], after: tuple[float, ...]) -> str:
    """The table, with what is in it and on what it was measured."""
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    loads = [" ".join(f"{value:.1f}" for value in load) for load in (before, after)]
    return f"""\
# How long a map takes

Seconds for one joint map of two clouds of {WIDTH}-d features, ten classes, half of the points each.

{table}

- A start is importing and compiling. *First ever*: numba has kept nothing on the disk yet, as after
  an installation. *New process*: as in a notebook that is opened again. Loading torch is not in it.
- The first fit is what comes after the start; the second is of other data in the same process. The
  second call is the whole of it as a reader waits for it: checks, fit, quality figures, writing to
  the cache. From the cache: the same call once more.
- Each number is the smaller of two processes (the first start ever of one), for other programs can
  only make it longer.
- Trustworthiness (of 1000 points) and the share of the 15 nearest neighbours that are kept are of
  the second map. Noise in 256 dimensions has no neighbourhoods that a plane could keep: read them
  between methods.
- `UMAP, fast` has no seed and uses all cores; all others repeat themselves bit for bit.

Made by `python benchmarks/gap_maps.py --write` on {os.cpu_count()} cores ({platform.machine()},
OMP_NUM_THREADS {threads}), processes of its own for each line. Other programs were at work: load
average (1, 5, 15 minutes) {loads[0]} before and {loads[1]} after, of which this program is up to
{os.cpu_count()}. Read the seconds as what a busy machine needs, and compare lines
coarsely.

{libraries}.
"""


if __name__ == "__main__":
    main()
