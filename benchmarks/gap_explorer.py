"""What the explorer of a joint map costs: to build, to colour, to select, and a preview.

`python benchmarks/gap_explorer.py --write` prints the table and writes
docs/results/gap_explorer.md. Every size is measured in a process of its own, without a browser.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

SIZES = (2_000, 20_000)
SIDE = 64
PREVIEWS = 200
REPEATS = 3


class Drawn:
    """Pictures that are drawn when one is asked for, as a store would read them."""

    def picture(self, row: int) -> npt.NDArray[np.uint8]:
        """Noise of the row's own, uint8 [64, 64, 3]."""
        return np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def main() -> None:
    """Measure every size, print the table, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/results/gap_explorer.md")
    parser.add_argument("--points", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", type=int, metavar="POINTS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    import pandas as pd
    from quality import RESULTS, markdown

    load = os.getloadavg()[0]
    rows = []
    for points in given.points:
        command = [sys.executable, __file__, "--measure", str(points)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = markdown(pd.DataFrame(rows))
    page = f"""# The explorer

{table}

Two linked maps, two images per pair. Times are the shortest of {REPEATS}, but for the first two,
which are the first in a process. Building reads no picture: a preview (image and partner, one
JPEG) is made when the browser asks for it; here it is noise, which compresses worst. "sent at
first" are the points of both maps. A selection of all pairs draws 300 lines, 24 cards and 100 rows
of the table.
Python {platform.python_version()}, jupyter-scatter {version("jupyter-scatter")},
{os.cpu_count()} cores, load {load:.1f} at the start. Made by `benchmarks/gap_explorer.py`.
"""
    print(page)
    if given.write:
        (RESULTS / "gap_explorer.md").write_text(page)


def measure(n: int) -> dict[str, Any]:
    """One row of the table: an explorer of `n` points."""
    from socketlab.figures.style import to_png
    from socketlab.widgets.explorer import Explorer
    from socketlab.widgets.thumbnails import preview

    points = table(n)
    loading = seconds(lambda: __import__("jscatter"), 1)
    before = peak()
    explorer = Explorer(points)
    building = seconds(lambda: explorer.widget, 1)
    added = peak() - before
    sent = sum(widget_bytes(explorer))
    far = points.farthest(n, "after").reshape(-1)

    def select() -> None:
        explorer.selection = []
        explorer.selection = far

    chosen = points.farthest(24, "after").reshape(-1)
    rows = range(PREVIEWS)
    sizes = [len(preview(points, row)) for row in rows]
    one = seconds(lambda: [preview(points, row) for row in rows]) / PREVIEWS
    still = seconds(lambda: to_png(explorer.figure(chosen)))
    sheet = seconds(lambda: to_png(explorer.sheet(chosen)))
    return {
        "points": f"{n:,}",
        "import, s": f"{loading:.1f}",
        "build, s": f"{building:.2f}",
        "memory of build, MB": f"{added:.0f}",
        "sent at first, MB": f"{sent / 1e6:.1f}",
        "select all pairs, s": f"{seconds(select):.2f}",
        "preview, ms": f"{1000 * one:.1f}",
        "preview, kB": f"{np.mean(sizes) / 1000:.1f}",
        "still map, s": f"{still:.2f}",
        "still sheet, s": f"{sheet:.2f}",
    }


def widget_bytes(explorer: Any) -> list[int]:
    """The bytes of the points that each map is given at first."""
    from ipywidgets import Widget

    def inside(widget: Any) -> list[Any]:
        children = getattr(widget, "children", ())
        return [widget, *(part for child in children for part in inside(child))]

    found = [w for w in inside(explorer.widget) if isinstance(w, Widget) and hasattr(w, "points")]
    return [w.points.astype(np.float32).nbytes for w in found]


def table(n: int) -> Any:
    """`n` points of two modalities at two moments, drawn from a fixed seed."""
    import pandas as pd

    from socketlab.gap.points import PointTable

    half, draw = n // 2, np.random.default_rng(0)
    values: dict[str, Any] = {
        "id": [f"a/{row % half:05d}" for row in range(2 * half)],
        "set": "TI",
        "modality": np.repeat(["rgb", "depth"], half),
        "partner": np.concatenate([np.arange(half) + half, np.arange(half)]),
        "class": np.array(["bed_room", "lab", "office", "kitchen"])[np.arange(2 * half) % 4],
    }
    for moment in ("before", "after"):
        values[f"x {moment}"], values[f"y {moment}"] = draw.normal(size=(2, 2 * half))
        values[f"distance {moment}"] = np.tile(draw.uniform(0, 2, half), 2)
        values[f"prediction {moment}"] = values["class"]
        values[f"confidence {moment}"] = draw.uniform(0.2, 1.0, 2 * half)
    return PointTable(("before", "after"), pd.DataFrame(values), Drawn())


def seconds(function: Callable[[], Any], times: int = REPEATS) -> float:
    """The shortest time of `times` calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def peak() -> float:
    """Most memory that this process had so far, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
