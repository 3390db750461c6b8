"""The tables of speed.py's page: a line for each row that was measured."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from quality import markdown
from speed_figures import parts_of_step

Row = Mapping[str, Any]


def summary(row: Row) -> dict[str, float]:
    """What a page says of a row of steps or epochs.

    `share` is the median over turns of bare / step, `low` and `high` its quartiles; `times` is its
    inverse; `images/s` are images / (median seconds of a step).
    """
    seconds = row["seconds"]
    bare, step = np.array(seconds["bare"]), np.array(seconds["step"])
    low, share, high = np.quantile(bare / step, (0.25, 0.5, 0.75))
    return {
        "step": median(seconds["step"]),
        "bare": median(seconds["bare"]),
        "step_low": float(np.quantile(step, 0.25)),
        "step_high": float(np.quantile(step, 0.75)),
        "images/s": row["images"] / median(seconds["step"]),
        "share": float(share),
        "low": float(low),
        "high": float(high),
        "times": float(1 / share),
    }


def sections(rows: Sequence[Row]) -> list[str]:
    """The tables of one machine."""
    rate = matrix_rate(rows)
    lines: list[str] = []
    steps = pd.DataFrame([row["case"] | {"row": row} for row in rows if row["kind"] == "step"])
    if len(steps):
        keys = ["network", "crop", "batch", "dtype", "compiler"]
        for (network, crop, batch, dtype, compiler), part in steps.groupby(keys, sort=False):
            how = _format(part["row"], str(dtype), str(compiler))
            lines += [f"### {network} at {crop} px, batches of {batch}, {how}", ""]
            lines += [_table([step_line(row, rate) for row in part["row"]])]
    tables = {
        "Whole epochs": [epoch_line(row) for row in rows if row["kind"] == "epoch"],
        "Besides training": [part_line(row) for row in rows if row["kind"] == "part"],
        "How cost grows": [growth_line(row) for row in rows if row["kind"] == "growth"],
    }
    for title, table in tables.items():
        if table:
            lines += [f"### {title}", "", WORDS[title], "", _table(table)]
    return lines


WORDS = {
    "Whole epochs": (
        "All that happens from one epoch to the next, pseudo-labels of all target images and "
        "scoring on as many included, against the bare steps alone; as many TI pairs."
    ),
    "Besides training": (
        "Medians of repetitions in one process. Preparing is of made-up pairs of 640 x 480 "
        "([against decoding alone](preparing.md)); a map's start is importing and compiling in a "
        "new process ([more about maps](gap_maps.md)); gap numbers are the default five "
        "([all of them](gap_numbers.md))."
    ),
    "How cost grows": (
        "resnet_small. What it says of all target images, once an epoch, is made up here, for that "
        "grows with the images and nothing else (features, above). Pseudo-labels are those of all "
        "images, once an epoch; neighbours are one step's search. With several sources bare is of "
        "all networks, of which each has its own."
    ),
}


def _format(rows: Iterable[Row], dtype: str, compiler: str) -> str:
    said = next((row["precision"] for row in rows if "precision" in row), dtype)
    name = "bfloat16" if dtype == "auto" and "bfloat16" in said else "float32"
    return name if compiler == "off" else f"{name}, compiled ({compiler})"


def matrix_rate(rows: Iterable[Row]) -> float | None:
    """Operations a second of large matrix products in the format that was chosen, if measured."""
    for row in rows:
        if row.get("part") == "matrix products":
            return float(row["operations"] / median(row["seconds"]["all"]))
    return None


def step_line(row: Row, rate: float | None) -> dict[str, str]:
    """A row's line in the table of a network."""
    name = {"method": row["case"]["method"]}
    if "failed" in row:
        return name | {"images/s": f"failed: {row['failed']}"}
    found, shares = summary(row), parts_of_step(row)
    line = name | {
        "images/s": f"{found['images/s']:,.0f}",
        "step, ms": milliseconds(found["step"], found["step_low"], found["step_high"]),
        "bare, ms": milliseconds(found["bare"]),
        "share": f"{found['share']:.0%} ({found['low']:.0%} to {found['high']:.0%})",
    }
    line |= {part: f"{shares[part]:.0%}" for part in shares if part != "bare"}
    line |= {"first step, s": f"{row['first_step']:.1f}", "memory": f"{row['peak_memory']:,.0f}"}
    if row.get("estimated_memory"):
        line["estimated"] = f"{row['estimated_memory']:,.0f}"
    if rate is not None and row["case"]["dtype"] == "auto":
        line["of the rate"] = f"{row['operations'] / found['step'] / rate:.0%}"
    if row.get("compiling"):
        line["compiling"] = row["compiling"]
    return line


def epoch_line(row: Row) -> dict[str, str]:
    """A row's line in the table of epochs."""
    case = row["case"]
    name = {
        "network": f"{case['network']}, {case['crop']} px",
        "method": case["method"],
        "images": f"{case['images']:,}",
    }
    if "failed" in row:
        return name | {"epoch, s": f"failed: {row['failed']}"}
    found = summary(row)
    return name | {
        "steps": str(row["steps"]),
        "epoch, s": f"{found['step']:.1f}",
        "bare, s": f"{found['bare']:.1f}",
        "epoch / bare": f"{found['times']:.2f}",
        "images/s": f"{found['images/s']:,.0f}",
    }


def part_line(row: Row) -> dict[str, str]:
    """A row's line in the table of what is done besides training."""
    case, about = row["case"], row["about"]
    size = {"features": f", {case['network']} at {case['crop']} px", "preparing": ", to 224 px"}
    name = {"what": about + size.get(about, "")}
    if "failed" in row:
        return name | {"of": f"failed: {row['failed']}"}
    seconds = median(row["seconds"]["all"])
    line = name | {
        "of": f"{row['amount']:,} {row['unit']}",
        "seconds": f"{seconds:.2f}",
        "a second": f"{row['amount'] / seconds:,.0f}",
        "besides": "",
    }
    if "start" in row["seconds"]:
        line["besides"] = f"start {row['seconds']['start'][0]:.1f} s"
    if "operations" in row:
        line["besides"] = f"{row['operations'] / seconds / 1e12:,.2f} TFLOP/s"
    return line


def growth_line(row: Row) -> dict[str, str]:
    """A row's line in the table of growth."""
    case, axis = row["case"], row["about"]
    name = {"what grows": axis, "to": f"{case[axis]:,}", "method": case["method"]}
    if "failed" in row:
        return name | {"step, ms": f"failed: {row['failed']}"}
    found = summary(row)
    line = name | {
        "step, ms": milliseconds(found["step"], found["step_low"], found["step_high"]),
        "bare, ms": milliseconds(found["bare"]),
        "share": f"{found['share']:.0%}",
    }
    for part in ("neighbours", "pseudo-labels"):
        each = row["seconds"].get(part)
        line[f"{part}, ms"] = milliseconds(median(each)) if each else ""
    return line | {"memory": f"{row['peak_memory']:,.0f}"}


def milliseconds(value: float, low: float | None = None, high: float | None = None) -> str:
    """Seconds as milliseconds, in brackets their quartiles."""
    digits = 0 if value >= 0.1 else 1
    text = f"{1000 * value:,.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} ({1000 * low:,.{digits}f} to {1000 * high:,.{digits}f})"


def _table(lines: Sequence[Mapping[str, str]]) -> str:
    return markdown(pd.DataFrame([*lines]).fillna("")) + "\n"
